"""What a person sees on a real terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading

import pytest

MLINFRA = [sys.executable, "-m", "mlinfra_lab"]
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command on a pseudo-terminal, and somebody who types."""

    def __init__(self, project, *arguments, typed="", **more):
        mine, theirs = pty.openpty()
        ours = {"MLINFRA_PROJECT": str(project.root), "TERM": "xterm", "COLUMNS": "90"}
        env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")} | ours | more
        process = subprocess.Popen(
            [*MLINFRA, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=env, close_fds=True
        )
        os.close(theirs)
        os.write(mine, typed.encode())
        chunks = []

        def read():
            try:
                while chunk := os.read(mine, 4096):
                    chunks.append(chunk)
            except OSError:  # EIO: the last process has closed the other end
                return

        reader = threading.Thread(target=read)
        reader.start()
        self.code = process.wait(timeout=120)
        reader.join(timeout=10)
        os.close(mine)
        self.raw = b"".join(chunks).decode()
        self.text = ESCAPES.sub("", self.raw).replace("\r\n", "\n")


def test_a_table_is_aligned_and_coloured(project):
    seen = Terminal(project, "cluster", "list")
    assert seen.code == 0
    head, row = seen.text.splitlines()
    assert head.split() == ["Cluster", "State", "Backend", "Workers", "Changed"]
    assert row.startswith("local    – stopped")
    assert head.index("State") == row.index("–")
    assert "\x1b[2m" in seen.raw


def test_no_color_is_honoured(project):
    seen = Terminal(project, "cluster", "list", NO_COLOR="1")
    assert "\x1b[" not in seen.raw


def test_an_empty_list_says_how_to_fill_it(project):
    assert Terminal(project, "job", "list").text == "No jobs yet. Run a notebook: mlinfra job run NOTEBOOK\n"


def test_json_on_a_terminal_is_indented(project):
    assert Terminal(project, "cluster", "list", "--json").text.startswith('[\n  {\n    "name": "local"')


@pytest.mark.parametrize(("answer", "code", "desired"), [("n\n", 1, True), ("y\n", 0, False)])
def test_a_question_names_what_stops_and_is_obeyed(project, answer, code, desired):
    project.clusters.start("local")
    seen = Terminal(project, "cluster", "stop", "local", typed=answer)
    assert "Stop cluster local (" in seen.text and "What they hold in memory is lost. [y/N]" in seen.text
    assert seen.code == code
    assert project.clusters.get("local").desired is desired


@pytest.mark.slow
def test_long_work_shows_a_bar_and_leaves_only_the_result(project):
    (project.root / "rows.csv").write_text("a,b\n1,2\n")
    seen = Terminal(project, "data", "snapshot", str(project.root / "rows.csv"))
    assert seen.code == 0, seen.text
    assert "━" in seen.text and "snapshot of" in seen.text
    # The bar's line is wiped before the card is written.
    assert re.search(r"\x1b\[2K[^\n]*Dataset version", seen.raw)
    assert "Traceback" not in seen.text
