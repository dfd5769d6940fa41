"""Jobs from the shell, run for real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from support import outputs, write_notebook

from mlinfra_lab.cli.shell import run

pytestmark = pytest.mark.slow


def mlinfra(project, *arguments, **more):
    """Run a command in a process of its own."""
    env = os.environ | {"MLINFRA_PROJECT": str(project.root)} | more
    command = [sys.executable, "-m", "mlinfra_lab", *arguments]
    return subprocess.run(command, env=env, cwd=project.root, capture_output=True, text=True, check=False)


def test_a_job_is_waited_for_cell_by_cell_and_looked_at_afterwards(project, tmp_path):
    write_notebook(
        project.root / "nb" / "add.ipynb",
        ["# comment\nimport os", "print(a + b, kind, os.environ['SOME_PROFILE'])"],
        "a: int = 1  # the first\nb = 2.5\nkind = 'x'\nthings = []",
    )
    out = tmp_path / "out.ipynb"
    done = mlinfra(
        project, "job", "run", "nb/add.ipynb", "-p", "a", "40", "-p", "things", "[1, 2]", "-r", "kind", "07",
        "--env", "SOME_PROFILE", "--output", str(out), "--timeout", "120", "--wait", "--json",
        SOME_PROFILE="lab",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("cell 1 of 4 ") and lines[0].endswith("a: int = 1  # the first")
    assert lines[1].endswith("(the given parameters)")
    assert lines[2].endswith("import os")
    assert "42.5 07 lab" in outputs(out)
    job = json.loads(done.stdout)["job"]
    assert job["parameters"] == {"a": 40, "things": [1, 2], "kind": "07"}
    assert "lab" not in json.dumps(job)

    shown = mlinfra(project, "job", "show", job["id"][:4])
    assert "state\tsucceeded" in shown.stdout and "cells\t4" in shown.stdout
    assert mlinfra(project, "job", "list", "--json").stdout.startswith(f'[{{"id":"{job["id"]}"')
    asked = mlinfra(project, "job", "parameters", "nb/add.ipynb").stdout.splitlines()
    assert asked[1] == "a\tint\t1\tthe first"


def test_a_failed_job_ends_the_command_with_its_own_code(project, capsys):
    write_notebook(project.root / "bad.ipynb", ["1 / 0"])
    done = mlinfra(project, "job", "run", "bad.ipynb", "--wait")
    assert done.returncode == 1
    assert "failed  1 / 0" in done.stderr
    assert "ZeroDivisionError" in done.stdout
    job = project.jobs.list()[0]
    assert run(["--project", str(project.root), "job", "show", job.id]) == 0
    assert run(["--project", str(project.root), "job", "show", job.id, "--exit-code"]) == 1


def test_ctrl_c_leaves_the_job_running_and_cancel_stops_it(project):
    write_notebook(project.root / "long.ipynb", ["print('begun')", "import time; time.sleep(120)"])
    command = [sys.executable, "-m", "mlinfra_lab", "job", "run", "long.ipynb", "--wait"]
    waiting = subprocess.Popen(
        command, cwd=project.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert waiting.stderr is not None
    assert waiting.stderr.readline().startswith("cell 1 of 2")
    waiting.send_signal(signal.SIGINT)
    out, said = waiting.communicate(timeout=30)
    job = project.jobs.list()[0]
    assert (waiting.returncode, out) == (130, "")
    assert f"job {job.id} goes on" in said and f"mlinfra job cancel {job.id}" in said
    assert job.state == "running"

    refused = mlinfra(project, "job", "cancel", job.id)
    assert refused.returncode == 4 and "--yes" in refused.stderr
    assert mlinfra(project, "job", "show", job.id, "--exit-code").returncode == 5
    assert mlinfra(project, "job", "cancel", job.id, "--yes").returncode == 0
    assert project.jobs.ref(job.id).wait(timeout=60).job.state == "cancelled"
    assert mlinfra(project, "job", "show", job.id, "--exit-code").returncode != 0


def test_mistakes_are_said_before_anything_runs(project):
    write_notebook(project.root / "typed.ipynb", ["print(a)"], "a: int = 1")
    for arguments, code, word in (
        (["typed.ipynb", "-p", "b", "1"], 4, "b"),
        (["typed.ipynb", "-p", "a", "many"], 4, "a"),
        (["nope.ipynb"], 3, "nope.ipynb"),
        (["typed.ipynb", "--env", "NOT_SET_AT_ALL"], 4, "NOT_SET_AT_ALL"),
        (["typed.ipynb", "--timeout", "0"], 2, "timeout"),
    ):
        done = mlinfra(project, "job", "run", *arguments)
        assert done.returncode == code, done.stderr
        assert word in done.stderr and "hint:" in done.stderr
    assert project.jobs.list() == []
