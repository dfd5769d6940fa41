"""Lines that are printed to be pasted."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cli_samples import NOW

from mlinfra_lab.cli import paste
from mlinfra_lab.schema.endpoints import InputColumn, Revision

SPLIT = {"columns": ["a"], "data": [[1], [2]]}
FIRST = {"dataframe_split": {"columns": ["a"], "data": [[1]]}}
ROW = {"carrier": "UA", "what": 'it\'s "quoted" $(rm) `x` \\ é', "n": None}


def revision(example=None, columns=()):
    return Revision(
        endpoint="delay", number=1, model="m", version=1, run=None, alias=None, state="up", example=example,
        columns=columns, created=NOW, created_by="ada",
    )  # fmt: skip


def body_of(line):
    """What a shell would hand to curl behind ``-d``, the shell itself being asked."""
    script = 'curl() { while [ "$1" != -d ]; do shift; done; printf %s "$2"; }\n' + line
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("example", "body"),
    [
        ({"dataframe_split": SPLIT}, FIRST),
        ({"index": [0, 1], **SPLIT}, FIRST),
        ({"dataframe_records": [ROW, ROW]}, {"dataframe_records": [ROW]}),
        ({"instances": [[1, 2], [3, 4]]}, {"instances": [[1, 2]]}),
        ({"inputs": [[1, 2], [3, 4]]}, {"inputs": [[1, 2]]}),
        ({"inputs": {"a": [1, 2], "b": 3}}, {"inputs": {"a": [1], "b": 3}}),
        (ROW, {"dataframe_records": [ROW]}),
    ],
)  # fmt: skip
def test_the_request_has_one_row_of_the_models_own_example(example, body, tmp_path):
    line = paste.curl("http://127.0.0.1:1/delay/invocations", "delay", tmp_path, revision(example))
    assert body_of(line) == body


def test_without_an_example_the_row_is_made_from_the_columns(tmp_path):
    columns = (InputColumn(name="hour", type="long"), InputColumn(name="carrier", type="string"))
    line = paste.curl("http://127.0.0.1:1/delay/invocations", "delay", tmp_path, revision(columns=columns))
    assert body_of(line) == {"dataframe_records": [{"hour": 0, "carrier": ""}]}


def test_the_token_is_asked_for_and_not_printed(tmp_path):
    words = shlex.split(paste.curl("http://127.0.0.1:1/delay/invocations", "delay", tmp_path, revision(ROW)))
    assert words[:3] == ["curl", "-sS", "http://127.0.0.1:1/delay/invocations"]
    assert words[4] == f"Authorization: Bearer $({paste.command(tmp_path, 'endpoint', 'token', 'delay')})"


def test_the_command_in_it_runs_and_finds_the_project(project):
    line = paste.command(project.root, "status", "--json")
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["root"] == str(project.root)


def test_awkward_folders_are_quoted(tmp_path):
    odd = tmp_path / "it's mine $HOME"
    words = shlex.split(paste.command(odd, "endpoint", "token", "delay"))
    assert words[-5:] == ["--project", str(odd), "endpoint", "token", "delay"]


def test_the_program_goes_by_its_name_only_where_path_has_this_very_one(tmp_path, monkeypatch):
    mine = Path(sys.executable).with_name("mlinfra")
    other = tmp_path / "mlinfra"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert paste.program() == shlex.quote(paste.near(mine))
    monkeypatch.setenv("PATH", str(mine.parent))
    assert paste.program() == "mlinfra"


def test_paths_are_said_relative_below_the_working_directory_and_absolute_elsewhere(tmp_path):
    assert paste.near(tmp_path / "a" / "b", tmp_path) == "a/b"
    assert paste.near(tmp_path / "a", tmp_path) == "./a"
    assert paste.near(tmp_path / "a", tmp_path / "b") == str(tmp_path / "a")
