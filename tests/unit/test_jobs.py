"""Notebooks as jobs: what is checked before, what happens while, how they end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import eventually, outputs, process, write_notebook

from mlinfra_lab import git
from mlinfra_lab.errors import Conflict, Invalid, InvalidNotebook, InvalidParameter, NotFound
from mlinfra_lab.jobs import JobRef
from mlinfra_lab.project import Project

pytestmark = pytest.mark.slow


def running_cell(job: JobRef) -> Callable[[], bool]:
    def look() -> bool:
        progress = job.detail.progress
        return progress is not None and progress.current is not None and job.state == "running"

    return look


def test_a_job_runs_in_its_notebook_s_folder_with_its_parameters(project: Project) -> None:
    folder = project.root / "some folder"
    notebook = write_notebook(
        folder / "ünïcode.ipynb",
        ["import os; print('cwd', os.getcwd())", "print('alpha', alpha, 'n', n)"],
        "alpha = 0.5  # how much\nn: int = 3",
    )
    seen: list[tuple[str, int]] = []
    job = project.jobs.submit(notebook, {"alpha": 2})
    detail = job.wait(120, lambda job, progress: seen.append((job.state, progress.done if progress else 0)))
    assert detail.job.state == "succeeded"
    assert detail.job.exit_code == 0
    printed = outputs(project.root / detail.job.output)
    assert f"cwd {folder}" in printed
    assert "alpha 2 n 3" in printed
    assert detail.progress is not None
    assert detail.progress.done == detail.progress.cells == 4
    assert seen[0][0] == "queued"
    assert ("running", 0) in seen
    assert seen[-1] == ("succeeded", 4)
    assert detail.job.environment is not None
    record = project.lineage.environment(detail.job.environment)
    assert any(package.startswith("papermill==") for package in record.packages)
    assert list(record.packages) == sorted(record.packages)
    edges = {(edge.source_kind, edge.relation) for edge in project.lineage.show(job.id).edges}
    assert {("notebook", "ran"), ("commit", "at"), ("environment", "in")} <= edges


def test_a_failed_cell_is_failed_and_named(project: Project) -> None:
    output = project.root / "out.ipynb"
    notebook = write_notebook(project.root / "a.ipynb", ["x = 1", "1 / 0", "print('never')"])
    job = project.jobs.submit(notebook, output=output).wait(120).job
    assert (job.state, job.exit_code) == ("failed", 1)
    assert job.error is not None
    assert "Cell 2" in job.error.message
    assert "ZeroDivisionError" in job.error.message
    assert job.error.detail is not None
    assert job.error.detail["source"] == "1 / 0"
    assert "never" not in outputs(output)


@pytest.mark.parametrize(
    ("cells", "state", "code"),
    [
        (["import sys; sys.exit(0)", "1 / 0"], "succeeded", 0),
        (["import sys; sys.exit(3)"], "failed", 1),
        (["import os; os._exit(7)"], "failed", 138),
        (["%no_such_magic"], "failed", 1),
    ],
    ids=["exit-0", "exit-3", "dead-kernel", "unknown-magic"],
)
def test_a_job_ends_as_papermill_s_command_would(
    project: Project, cells: list[str], state: str, code: int
) -> None:
    job = project.jobs.submit(write_notebook(project.root / "a.ipynb", cells)).wait(120).job
    assert (job.state, job.exit_code) == (state, code)


def test_cancelling_ends_the_kernel_and_says_cancelled(project: Project) -> None:
    notebook = write_notebook(project.root / "a.ipynb", ["import time; time.sleep(300)"])
    job = project.jobs.submit(notebook)
    eventually(running_cell(job), 60)
    kernel = _kernel(project)
    job.cancel()
    ended = job.wait(30).job
    assert ended.state == "cancelled"
    assert ended.error is None
    eventually(lambda: not kernel.is_running(), 10)


def test_a_cell_that_ignores_the_interrupt_is_killed(make_project: Callable[..., Project]) -> None:
    project = make_project(toml="[jobs]\ngrace = 1\n")
    stubborn = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: time.sleep(1)"
    job = project.jobs.submit(write_notebook(project.root / "a.ipynb", [stubborn]))
    eventually(running_cell(job), 60)
    job.cancel()
    assert job.wait(30).job.state == "cancelled"


def test_a_job_over_its_time_is_timed_out(project: Project) -> None:
    notebook = write_notebook(project.root / "a.ipynb", ["import time; time.sleep(300)"])
    job = project.jobs.submit(notebook, timeout=6).wait(60).job
    assert job.state == "timed_out"
    assert job.error is not None
    assert "6 s" in job.error.message


def test_a_queued_job_waits_its_turn_and_is_cancelled_at_once(make_project: Callable[..., Project]) -> None:
    project = make_project(toml="[jobs]\nat_once = 1\n")
    notebook = write_notebook(project.root / "a.ipynb", ["import time; time.sleep(300)"])
    first, second = project.jobs.submit(notebook), project.jobs.submit(notebook)
    eventually(running_cell(first), 60)
    assert second.state == "queued"
    assert any("1 of 1" in (line.why or "") for line in project.status().lines)
    second.cancel()
    assert second.state == "cancelled"
    first.cancel()
    assert first.wait(30).job.state == "cancelled"


def test_variables_given_to_a_job_reach_it_and_no_row(project: Project) -> None:
    secret = "correct horse battery staple"
    notebook = write_notebook(
        project.root / "a.ipynb",
        ["import os, hashlib", "print(len(os.environ['TOKEN']), os.environ.get('LEAK'))"],
    )
    os.environ["LEAK"] = "from the shell"
    try:
        job = project.jobs.submit(notebook, env={"TOKEN": secret})
        detail = job.wait(120)
    finally:
        del os.environ["LEAK"]
    assert f"{len(secret)} None" in outputs(project.root / detail.job.output)
    for file in project.state.rglob("*"):
        if file.is_file():
            assert secret.encode() not in file.read_bytes(), file


def test_variables_wait_in_a_file_only_their_owner_can_read(make_project: Callable[..., Project]) -> None:
    project = make_project(toml="[jobs]\nat_once = 1\n")
    blocker = project.jobs.submit(write_notebook(project.root / "b.ipynb", ["import time; time.sleep(300)"]))
    job = project.jobs.submit(write_notebook(project.root / "a.ipynb", ["1"]), env={"TOKEN": "secret"})
    kept = project.jobs.folder(job.id) / "env"
    assert kept.stat().st_mode & 0o777 == 0o600
    job.cancel()
    assert not kept.exists()
    blocker.cancel()


def test_the_kernel_mlinfra_knows_the_magics(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernelspec of ``kernels/``, found as Jupyter finds one that is installed."""
    monkeypatch.setenv("JUPYTER_PATH", str(Path(__file__).parents[2]))
    notebook = write_notebook(
        project.root / "a.ipynb", ["jobs = %job list", "print(len(jobs))"], kernel="mlinfra"
    )
    detail = project.jobs.submit(notebook).wait(120)
    assert detail.job.state == "succeeded", detail
    assert outputs(project.root / detail.job.output).split() == ["1"]


def test_the_source_is_kept_as_it_was_submitted(make_project: Callable[..., Project]) -> None:
    project = make_project(toml="[jobs]\nat_once = 1\n")
    blocker = project.jobs.submit(write_notebook(project.root / "b.ipynb", ["import time; time.sleep(300)"]))
    notebook = write_notebook(project.root / "a.ipynb", ["print('as submitted')"])
    job = project.jobs.submit(notebook)
    write_notebook(notebook, ["print('changed since')"])
    notebook.unlink()
    blocker.cancel()
    detail = job.wait(120)
    assert "as submitted" in outputs(project.root / detail.job.output)


# -- what is answered before anything is queued ---------------------------------------------------


def test_a_missing_notebook_is_named_with_the_nearest(project: Project) -> None:
    write_notebook(project.root / "train.ipynb", [])
    with pytest.raises(NotFound, match=r"trian\.ipynb") as error:
        project.jobs.submit(project.root / "trian.ipynb")
    assert "train.ipynb" in str(error.value.hint)


@pytest.mark.parametrize(
    "text",
    ["", "not json", "[]", '{"cells": 1}', '{"nbformat": 4, "cells": [{}]}', '{"nbformat": 2, "cells": []}'],
)
def test_a_corrupt_notebook_is_refused(project: Project, text: str) -> None:
    path = project.root / "bad.ipynb"
    path.write_text(text)
    with pytest.raises(InvalidNotebook, match=r"bad\.ipynb"):
        project.jobs.submit(path)
    assert project.jobs.list() == []


def test_an_unknown_parameter_is_named_with_the_nearest(project: Project) -> None:
    notebook = write_notebook(project.root / "a.ipynb", [], "alpha = 0.5\nseed = 1")
    with pytest.raises(InvalidParameter, match="alhpa") as error:
        project.jobs.submit(notebook, {"alhpa": 1})
    assert "alpha" in str(error.value.hint)


@pytest.mark.parametrize(
    ("given", "right"),
    [({"n": "three"}, False), ({"n": True}, False), ({"n": 1.5}, False), ({"n": 4}, True), ({"x": 1}, True),
     ({"names": ["a"]}, True), ({"names": "a"}, False), ({"none": "anything"}, True), ({"ok": 1}, False)],
)  # fmt: skip
def test_types_are_held_against_the_defaults(project: Project, given: dict[str, object], right: bool) -> None:
    notebook = write_notebook(
        project.root / "a.ipynb", [], "n = 3\nx: float = 0.5\nnames = ['b']\nnone = None\nok = True"
    )
    if right:
        project.jobs.check(notebook, given)
    else:
        with pytest.raises(InvalidParameter, match=next(iter(given))):
            project.jobs.check(notebook, given)


def test_parameters_are_read_with_type_default_and_help(project: Project) -> None:
    notebook = write_notebook(
        project.root / "a.ipynb",
        [],
        'C = 1.0  # inverse "strength"\nmonths: list[int] = [1, 2]\npath = "a#b"',
    )
    found = [(one.name, one.type, one.default, one.help) for one in project.jobs.parameters(notebook)]
    assert found == [
        ("C", "float", "1.0", 'inverse "strength"'),
        ("months", "list[int]", "[1, 2]", ""),
        ("path", "str", '"a#b"', ""),
    ]


def test_a_notebook_without_a_kernel_is_refused_unless_one_is_named(project: Project) -> None:
    notebook = write_notebook(project.root / "a.ipynb", ["1"], kernel=None)
    with pytest.raises(InvalidNotebook, match="kernel"):
        project.jobs.submit(notebook)
    assert project.jobs.submit(notebook, kernel="python3").wait(120).job.state == "succeeded"


def test_an_unknown_kernel_is_refused_with_those_there_are(project: Project) -> None:
    with pytest.raises(NotFound, match="julia-9") as error:
        project.jobs.submit(write_notebook(project.root / "a.ipynb", ["1"], kernel="julia-9"))
    assert "python3" in str(error.value.hint)
    assert project.jobs.list() == []


def test_numbers_of_numpy_are_numbers(project: Project) -> None:
    notebook = write_notebook(project.root / "a.ipynb", [], "n = 3\nx = 0.5\nnames = ['a']")
    given = {"n": np.int64(4), "x": np.float32(0.25), "names": ("b", "c")}
    assert project.jobs.check(notebook, given)[2] == {"n": 4, "x": 0.25, "names": ["b", "c"]}
    for wrong in (float("nan"), object(), {1: 2}, np.zeros(2)):
        with pytest.raises(InvalidParameter, match="“x”"):
            project.jobs.check(notebook, {"x": wrong})


@pytest.mark.parametrize(
    "options",
    [{"timeout": "x"}, {"timeout": -1}, {"timeout": float("nan")}, {"env": ["A"]}, {"env": {"A": 1}}],
    ids=repr,
)
def test_options_that_are_none_are_refused(project: Project, options: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        project.jobs.submit(write_notebook(project.root / "a.ipynb", ["1"]), **options)
    assert project.jobs.list() == []


def test_a_notebook_git_does_not_have_as_it_runs_is_said_to_differ(project: Project) -> None:
    notebook = write_notebook(project.root / "a.ipynb", ["1"])
    assert project.jobs.submit(notebook).job.dirty
    git.commit_only(project.root, [notebook], "A notebook", {})
    assert not project.jobs.submit(notebook).job.dirty
    write_notebook(notebook, ["2"])
    assert project.jobs.submit(notebook).job.dirty


def test_two_jobs_may_not_write_one_output(make_project: Callable[..., Project]) -> None:
    project = make_project(toml="[jobs]\nat_once = 1\n")
    notebook = write_notebook(project.root / "a.ipynb", ["import time; time.sleep(300)"])
    first = project.jobs.submit(notebook, output=project.root / "out.ipynb")
    with pytest.raises(Conflict, match=first.id):
        project.jobs.submit(notebook, output="out.ipynb")
    first.cancel()


def test_a_secret_is_in_nothing_that_is_written(project: Project) -> None:
    secret = "correct horse battery staple"
    cells = [
        "import os; print('before', os.environ['TOKEN'], 'after')",
        "raise RuntimeError(os.environ['TOKEN'])",
    ]
    job = project.jobs.submit(write_notebook(project.root / "a.ipynb", cells), env={"TOKEN": secret})
    detail = job.wait(120)
    assert detail.job.error is not None
    assert "‹TOKEN›" in detail.job.error.message
    assert "before ‹TOKEN› after" in outputs(project.root / detail.job.output)
    for file in project.state.rglob("*"):
        if file.is_file():
            assert secret.encode() not in file.read_bytes(), file


def test_the_output_may_not_be_the_notebook_and_needs_a_folder(project: Project) -> None:
    notebook = write_notebook(project.root / "a.ipynb", ["1"])
    with pytest.raises(Invalid, match="overwrite"):
        project.jobs.submit(notebook, output=notebook)
    with pytest.raises(Invalid, match="is a folder"):
        project.jobs.submit(notebook, output=project.root)
    with pytest.raises(NotFound, match="no folder"):
        project.jobs.submit(notebook, output=project.root / "nowhere" / "out.ipynb")


def test_an_unknown_job_is_answered_with_those_that_begin_alike(project: Project) -> None:
    job = project.jobs.submit(write_notebook(project.root / "a.ipynb", ["1"]))
    assert project.jobs.get(job.id[:6]).id == job.id
    with pytest.raises(NotFound, match="jzzz"):
        project.jobs.get("jzzz")


def _kernel(project: Project):  # type: ignore[no-untyped-def]
    runner = process(project, "runner")
    assert runner is not None
    return next(
        child for child in runner.children(recursive=True) if "ipykernel" in " ".join(child.cmdline())
    )
