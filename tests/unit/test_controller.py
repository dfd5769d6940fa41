"""One controller a project: started by whoever needs it, replaced, handed over, and leaving by itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa
from support import eventually, process, processes_of, write_notebook

from mlinfra_lab.control import BEAT_FILE
from mlinfra_lab.controller.loops.jobs import JobsLoop
from mlinfra_lab.errors import Conflict, ControllerDown, DatabaseTooNew, Unavailable
from mlinfra_lab.jobs import store as job_store
from mlinfra_lab.project import Project
from mlinfra_lab.schema.tasks import Progress
from mlinfra_lab.storage import launches
from mlinfra_lab.storage.database import filesystem, refuse_network

pytestmark = pytest.mark.slow


def controllers(project: Project) -> list[psutil.Process]:
    return [one for one in processes_of(project.root) if "mlinfra_lab.controller" in one.cmdline()]


def test_several_faces_at_once_start_one_controller(project: Project) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: Project(project.root).controller.ensure(), range(4)))
    eventually(lambda: len(controllers(project)) == 1)
    beat = project.controller.alive()
    assert beat is not None
    assert controllers(project)[0].pid == beat.pid


def test_a_second_controller_leaves_the_first_alone(project: Project) -> None:
    project.controller.ensure()
    first = project.controller.alive()
    second = subprocess.run(
        [sys.executable, "-m", "mlinfra_lab.controller", "--project", str(project.root)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert second.returncode == 0
    assert "another controller" in second.stderr
    now = project.controller.alive()
    assert first is not None
    assert now is not None
    assert now.pid == first.pid


def test_a_job_goes_on_when_its_controller_is_killed_and_is_adopted(project: Project) -> None:
    flag = project.root / "flag"
    notebook = write_notebook(
        project.root / "a.ipynb",
        [f"import os, time\nwhile not os.path.exists({str(flag)!r}): time.sleep(0.1)"],
    )
    job = project.jobs.submit(notebook)
    eventually(lambda: (progress := job.detail.progress) and progress.current is not None, 60)
    runner = process(project, "runner")
    beat = project.controller.alive()
    assert beat is not None
    psutil.Process(beat.pid).kill()
    eventually(lambda: project.controller.alive() is None)
    assert project.status().controller == "down"
    project.controller.ensure()
    assert process(project, "runner") == runner
    flag.touch()
    assert job.wait(60).job.state == "succeeded"


def test_an_older_controller_hands_over_and_its_job_goes_on(project: Project) -> None:
    flag = project.root / "flag"
    notebook = write_notebook(
        project.root / "a.ipynb",
        [f"import os, time\nwhile not os.path.exists({str(flag)!r}): time.sleep(0.1)"],
    )
    job = project.jobs.submit(notebook)
    eventually(lambda: process(project, "runner"), 60)
    old = project.controller.alive()
    assert old is not None
    # It says of itself that it is older; SIGSTOP keeps it from saying otherwise a second later.
    psutil.Process(old.pid).suspend()
    path = project.state / "run" / BEAT_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": "0.0.1+0000"}))
    resumed = psutil.Process(old.pid)
    with ThreadPoolExecutor(1) as pool:
        ensured = pool.submit(project.controller.ensure)
        resumed.resume()
        ensured.result(60)
    new = project.controller.alive()
    assert new is not None
    assert new.pid != old.pid
    flag.touch()
    assert job.wait(60).job.state == "succeeded"


def suspend_between_writes(project: Project, process: psutil.Process) -> None:
    """Stop a process where it does not hold the database: that would be another failure than this one."""

    def stopped_outside_of_a_unit() -> bool:
        process.suspend()
        with closing(sqlite3.connect(project.state / "mlinfra.db", timeout=0.5)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.rollback()
            except sqlite3.OperationalError:
                process.resume()
                return False
        return True

    eventually(stopped_outside_of_a_unit)


def test_waiting_for_a_stuck_controller_ends_with_its_log(project: Project) -> None:
    project.controller.ensure()
    beat = project.controller.alive()
    assert beat is not None
    stuck = psutil.Process(beat.pid)
    suspend_between_writes(project, stuck)
    try:
        eventually(lambda: project.status().controller == "stale", 30)
        task = project.tasks.submit("mlinfra_lab.data.work:snapshot", "x", {}, Progress)
        with pytest.raises(ControllerDown, match="is up"):
            task.wait(60)
    finally:
        stuck.resume()


def test_down_stops_what_runs_keeps_what_waits_and_up_goes_on(make_project: Callable[..., Project]) -> None:
    project = make_project(toml="[jobs]\nat_once = 1\n")
    long = project.jobs.submit(write_notebook(project.root / "a.ipynb", ["import time; time.sleep(300)"]))
    short = project.jobs.submit(write_notebook(project.root / "b.ipynb", ["1"]))
    eventually(lambda: (progress := long.detail.progress) and progress.current is not None, 60)
    project.controller.down()
    eventually(lambda: processes_of(project.root) == [], 5)
    assert long.state == "cancelled"
    assert short.state == "queued"
    assert "taken down" in " ".join(project.status().notes)
    with pytest.raises(Conflict, match="taken down"):
        short.wait(30)
    project.controller.ensure()
    assert short.wait(60).job.state == "succeeded"


def test_a_job_that_is_taken_while_the_loop_looks_keeps_its_runner(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project.controller, "ensure", lambda: None)
    job = project.jobs.submit(write_notebook(project.root / "a.ipynb", ["1"])).id
    read = project.storage.read

    @contextmanager
    def and_then_it_is_taken() -> Iterator[sa.Connection]:
        with read() as connection:
            yield connection
        job_store.start(project.storage, job, "launch")

    monkeypatch.setattr(project.storage, "read", and_then_it_is_taken)
    assert [one.owner for one in JobsLoop(project).wanted()] == [job]
    assert project.jobs.get(job).state == "running"


def test_a_job_that_asks_for_more_while_everything_ends_brings_nothing_up(project: Project) -> None:
    """Taken down in its first moments, in which a runner still asks for MLflow's store to be made."""
    asking = "from mlinfra_lab import Project\nwhile True: Project.current().controller.ensure()"
    job = project.jobs.submit(write_notebook(project.root / "a.ipynb", [asking]))
    eventually(lambda: (progress := job.detail.progress) and progress.current is not None, 60)
    project.controller.down(timeout=60)
    assert project.controller.is_down()
    assert job.state in ("cancelled", "failed")
    assert project.controller.alive() is None


def test_a_controller_with_nothing_to_do_leaves(make_project: Callable[..., Project]) -> None:
    project = make_project(toml="[controller]\nidle = 1\n")
    project.controller.ensure()
    eventually(lambda: project.controller.alive() is None, 20)
    assert project.controller.log.read_text().rstrip().endswith("nothing is desired")


def test_what_was_asked_for_while_the_controller_left_is_done(make_project: Callable[..., Project]) -> None:
    project = make_project(toml="[controller]\nidle = 0.5\n")
    project.controller.ensure()
    eventually(lambda: (beat := project.controller.beat()) and beat.leaving, 20)
    job = project.jobs.submit(write_notebook(project.root / "a.ipynb", ["1"]))
    assert job.wait(60).job.state == "succeeded"


def test_a_pid_that_is_somebody_else_s_now_is_neither_adopted_nor_killed(project: Project) -> None:
    """The pid of a launch given to another process since: here to this very one, which must live on."""
    me = psutil.Process()
    with project.storage.unit() as unit:
        token = launches.commit(unit, "worker", "1")
        unit.connection.execute(
            sa.text(
                "UPDATE launches SET state='running', pid=:pid, started=:started, boot=:boot "
                "WHERE token=:token"
            ),
            {"pid": me.pid, "started": me.create_time() - 100, "boot": launches.boot(), "token": token},
        )
    project.controller.ensure()

    def gone() -> bool:
        with project.storage.read() as connection:
            launch = launches.get(connection, token)
        return launch is not None and launch.state == "lost"

    eventually(gone)
    assert me.is_running()


def test_a_runner_that_never_gets_as_far_as_its_job_is_not_started_for_ever(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'mlinfra_lab.jobs.runner' in sys.orig_argv: os._exit(9)"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    job = project.jobs.submit(write_notebook(project.root / "a.ipynb", ["1"])).wait(120).job
    assert job.state == "failed"
    assert job.error is not None
    assert "before it began" in job.error.message


def test_a_task_that_no_work_module_has_fails_by_name(project: Project) -> None:
    task = project.tasks.submit("os:system", "x", {"command": "touch /tmp/x"}, Progress)
    with pytest.raises(Exception, match="os:system"):
        task.wait(60)


# -- copies, moves, and places a project cannot live in -------------------------------------------


def test_a_copy_and_its_original_live_on_apart(project: Project, tmp_path: Path) -> None:
    notebook = write_notebook(project.root / "a.ipynb", ["import time; time.sleep(300)"])
    job = project.jobs.submit(notebook)
    eventually(lambda: process(project, "runner"), 60)
    runner = process(project, "runner")
    assert runner is not None
    folder = tmp_path / "copy"
    shutil.copytree(project.root, folder, ignore=shutil.ignore_patterns("*.lock"))
    copy = Project(folder)
    try:
        assert copy.id != project.id
        assert copy.jobs.get(job.id).state == "lost"
        copy.controller.ensure()
        mine = copy.jobs.submit(write_notebook(folder / "b.ipynb", ["1"]))
        assert mine.wait(60).job.state == "succeeded"
        copy.controller.down()
        assert runner.is_running()
        assert job.state == "running"
        assert project.controller.alive() is not None
        assert Project(folder).id == copy.id
    finally:
        copy.controller.down()
        copy.close()


def test_a_moved_project_keeps_its_name_and_goes_on(project: Project, tmp_path: Path) -> None:
    job = project.jobs.submit(write_notebook(project.root / "a.ipynb", ["1"]))
    job.wait(60)
    project.controller.down()
    project.close()
    folder = tmp_path / "moved"
    project.root.rename(folder)
    moved = Project(folder)
    try:
        assert moved.id == project.id
        assert moved.jobs.get(job.id).state == "succeeded"
        assert moved.jobs.submit(folder / "a.ipynb").wait(60).job.state == "succeeded"
    finally:
        moved.controller.down()
        moved.close()


def test_a_symbolic_link_to_a_project_is_the_project(project: Project, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(project.root)
    assert Project(link).id == project.id
    assert Project(link).root == project.root


def test_a_newer_database_is_named_and_nothing_is_touched(project: Project) -> None:
    with project.storage.unit() as unit:
        unit.connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    before = {path: path.stat().st_mtime_ns for path in project.state.rglob("*.db")}
    with pytest.raises(DatabaseTooNew, match="9999") as error:
        Project(project.root)
    assert "pip install -U" in str(error.value.hint)
    assert {path: path.stat().st_mtime_ns for path in project.state.rglob("*.db")} == before
    with project.storage.unit() as unit:
        unit.connection.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))


def test_sqlite_on_a_network_file_system_is_refused_with_the_ways_out(tmp_path: Path) -> None:
    mounts = [("/", "ext4"), ("/home", "nfs4"), ("/home/ada/local", "xfs")]
    assert filesystem(Path("/home/ada/project"), mounts) == "nfs4"
    assert filesystem(Path("/home/ada/local/x"), mounts) == "xfs"
    assert filesystem(Path("/homework"), mounts) == "ext4"
    with pytest.raises(Unavailable, match="nfs4") as error:
        refuse_network(Path("/home/ada/project"), mounts)
    assert "state_dir" in str(error.value.hint)
    assert "PostgreSQL" in str(error.value.hint)
    refuse_network(tmp_path)


def test_the_state_is_nobody_else_s_to_read(project: Project) -> None:
    assert project.state.stat().st_mode & 0o777 == 0o700


def test_sigterm_hands_over(project: Project) -> None:
    project.controller.ensure()
    beat = project.controller.alive()
    assert beat is not None
    os.kill(beat.pid, signal.SIGTERM)
    eventually(lambda: project.controller.alive() is None)
    assert "handed over" in project.controller.log.read_text()
