"""`kill -9` of every process: nothing acknowledged is lost, nothing runs twice to success.

`make test` kills each process once, at a moment drawn from a seed that is printed; `make faults`
(``MLINFRA_FAULTS=all``) goes through the whole matrix of process and step.
"""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from support import ALL, SEED, eventually, kill, process, write_notebook

from mlinfra_lab.jobs import JobRef
from mlinfra_lab.project import Project
from mlinfra_lab.schema.jobs import JOB_ENDED
from mlinfra_lab.storage import launches

pytestmark = [pytest.mark.faults, pytest.mark.slow]

POINTS = [
    "controller.committed",
    "controller.spawned",
    "child.before-claim",
    "child.claimed",
    "runner.started",
    "runner.executed",
]
LOSES_THE_JOB = {"runner.started", "runner.executed"}


def counting(project: Project, seconds: float = 0) -> tuple[Path, Path]:
    """A notebook that leaves a line each time it runs to its end, and where it leaves it."""
    lines = project.root / "lines"
    notebook = write_notebook(
        project.root / "count.ipynb",
        [
            f"import time; time.sleep({seconds})",
            f"with open({str(lines)!r}, 'a') as file: file.write('ran\\n')",
        ],
    )
    return notebook, lines


def check_true(job: JobRef, lines: Path) -> None:
    """The job's state tells what really happened, and it ran to its end at most once."""
    ran = lines.read_text().count("ran") if lines.exists() else 0
    state = job.state
    assert state in JOB_ENDED
    assert ran <= 1
    if state == "succeeded":
        assert ran == 1


@pytest.mark.parametrize(
    "point", POINTS if ALL else [random.Random(SEED).choice(POINTS), "controller.spawned"]
)
def test_a_process_that_dies_at_the_worst_moment(
    project: Project, point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller between commit, spawn and claim; the runner between claim, start and end."""
    notebook, lines = counting(project)
    once = tmp_path / "died"
    faulty = {"MLINFRA_FAULT": point, "MLINFRA_FAULT_ONCE": str(once)}
    if point.startswith("controller"):
        with subprocess.Popen(
            [sys.executable, "-m", "mlinfra_lab.controller", "--project", str(project.root)],
            env=launches.environment(faulty),
        ) as controller:
            eventually(lambda: project.controller.alive() is not None)
            job = project.jobs.submit(notebook)
            assert controller.wait(60) == -9
    else:
        # A child inherits an allow-list only, so the fault comes in through the interpreter's start-up.
        site = tmp_path / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(f"import os; os.environ.update({faulty!r})")
        monkeypatch.setenv("PYTHONPATH", str(site))
        job = project.jobs.submit(notebook)
        eventually(once.exists, 60)
    assert once.exists()
    state = job.wait(120).job.state
    check_true(job, lines)
    assert state == ("lost" if point in LOSES_THE_JOB else "succeeded")


KILLED_IN_A_JOB = ["controller", "runner", "kernel"]


@pytest.mark.parametrize("victim", KILLED_IN_A_JOB)
@pytest.mark.parametrize("step", ["starting", "running"] if ALL else ["random"])
def test_killed_during_a_job(project: Project, victim: str, step: str) -> None:
    """Whoever dies, the state of the job is true within seconds."""
    chance = random.Random(f"{SEED}-{victim}")
    notebook, lines = counting(project, seconds=3)
    job = project.jobs.submit(notebook)
    eventually(lambda: process(project, "runner"), 60)
    in_cell = step == "running" or (step == "random" and chance.random() < 0.7)
    if in_cell or victim == "kernel":
        eventually(lambda: (progress := job.detail.progress) and progress.current is not None, 60)
    if step == "random":
        threading.Event().wait(chance.random() * 2)
    if victim == "controller":
        beat = project.controller.alive()
        assert beat is not None
        kill(psutil.Process(beat.pid))
    elif victim == "runner":
        kill(process(project, "runner"))
    else:
        runner = process(project, "runner")
        assert runner is not None
        kernels = [one for one in runner.children(recursive=True) if "ipykernel" in " ".join(one.cmdline())]
        kill(kernels[0])
    ended = job.wait(120).job
    check_true(job, lines)
    expected = {"controller": "succeeded", "runner": "lost", "kernel": "failed"}[victim]
    assert ended.state == expected
    if victim == "kernel":
        assert ended.exit_code == 138
    kernels_left = [one for one in psutil.process_iter() if _is_kernel_of(one, project)]
    eventually(lambda: not any(one.is_running() for one in kernels_left), 20)


@pytest.mark.parametrize("moment", [0.0, 0.3, 0.6, 0.9, 1.5] if ALL else [random.Random(SEED + 1).random()])
def test_a_worker_killed_during_a_snapshot_makes_one_version(project: Project, moment: float) -> None:
    """One version, one commit, whenever the worker dies; DVC and git find nothing half done."""
    folder = project.root / "data" / "rows"
    folder.mkdir(parents=True)
    for number in range(200):
        (folder / f"{number}.csv").write_text("a,b\n" + "1,2\n" * 50)
    task = project.data.snapshot(folder)
    worker = eventually(lambda: process(project, "worker"), 60)
    eventually(lambda: task.task.state == "running", 60)
    threading.Event().wait(moment)
    kill(worker)
    version = task.wait(120)
    assert (version.version, version.rows, version.files) == (1, 10_000, 200)
    assert [one.version for one in project.data.log("rows")] == [1]
    log = subprocess.run(
        ["git", "-C", str(project.root), "log", "--oneline", "--", "data/rows.dvc"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert len(log.stdout.splitlines()) == 1
    status = subprocess.run(
        [sys.executable, "-m", "dvc", "status"], cwd=project.root, capture_output=True, text=True, check=True
    )
    assert "up to date" in status.stdout


def _is_kernel_of(one: psutil.Process, project: Project) -> bool:
    try:
        return "ipykernel" in " ".join(one.cmdline()) and one.environ().get("MLINFRA_PROJECT") == str(
            project.root
        )
    except psutil.Error:
        return False


def test_a_database_that_somebody_locks_for_long(project: Project) -> None:
    """The controller cannot write meanwhile; it neither dies nor forgets what was asked."""
    notebook, lines = counting(project)
    project.controller.ensure()
    before = project.controller.alive()
    job = project.jobs.submit(notebook)
    assert project.storage.path is not None
    somebody = sqlite3.connect(project.storage.path, isolation_level=None, timeout=60)
    somebody.execute("BEGIN IMMEDIATE")
    eventually(lambda: "a round failed" in project.controller.log.read_text(), 90)
    somebody.execute("ROLLBACK")
    somebody.close()
    job.wait(120)
    check_true(job, lines)
    now = project.controller.alive()
    assert before is not None
    assert now is not None
    assert now.pid == before.pid
