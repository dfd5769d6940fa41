"""`kill -9` of the monitor: what was captured is counted once, as a full recount has it."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from monitor_support import Line, baseline, publish, recount, sums
from support import ALL, SEED, eventually, kill

from mlinfra_lab.monitoring.process import GivenUp, Monitor
from mlinfra_lab.project import Project
from mlinfra_lab.schema.common import JSON
from mlinfra_lab.storage import launches

pytestmark = [pytest.mark.faults, pytest.mark.slow]

POINTS = ["monitor.before-commit", "monitor.in-unit", "monitor.committed"]
KNOWN = baseline()


def launch(project: Project, extra: JSON | None = None) -> tuple[subprocess.Popen[bytes], str]:
    """A monitor as the controller starts it."""
    with project.storage.unit() as unit:
        token = launches.commit(unit, "monitor", "monitors")
    log = (project.state / "logs" / "monitor-monitors.log").open("ab")
    with log:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "mlinfra_lab.monitoring.process", "--project", str(project.root),
                "--launch", token,
            ],
            env=launches.environment(extra), stdout=log, stderr=log,
        )  # fmt: skip
    return process, token


def over(project: Project, process: subprocess.Popen[bytes], token: str) -> None:
    """It is gone, and the controller has seen that."""
    process.wait(60)
    with project.storage.unit() as unit:
        launches.give_up(unit, token, "running")
        launches.give_up(unit, token, "launching")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to leave; one that is still being imported has nothing to leave in good order."""
    process.terminate()
    assert process.wait(60) in (0, -signal.SIGTERM)


def exact(project: Project) -> bool:
    """The sums are those of a full recount."""
    mine, judged = sums(project)
    theirs, right = recount(project)
    close = judged.keys() == right.keys() and all(
        judged[key] == pytest.approx(total, abs=1e-6) for key, total in right.items()
    )
    return mine == theirs and close


class Traffic(threading.Thread):
    """Requests and truths while a test does its worst; some truths are said twice, and otherwise."""

    def __init__(self, project: Project, number: int, seed: object, days: int = 40) -> None:
        super().__init__()
        self._line = Line(project, number, limit=40_000)
        self._chance = random.Random(f"{seed}")
        self._days = days
        self._pause = threading.Event()

    def run(self) -> None:
        for day in range(self._days):
            truths = self._line.days(day, 1, self._chance)
            self._line.true(truths)
            self._line.true([(id, 1 - truth) for id, truth in self._chance.sample(truths, 5)])
            self._line.writer.sync()
            self._pause.wait(0.05)
        self._line.close()


@pytest.mark.parametrize("point", POINTS if ALL else [random.Random(f"{SEED}monitor").choice(POINTS)])
def test_killed_around_its_unit(project: Project, point: str, tmp_path: Path) -> None:
    number = publish(project, known=KNOWN)
    traffic = Traffic(project, number, SEED)
    traffic.start()
    once = tmp_path / "died"
    process, token = launch(project, {"MLINFRA_FAULT": point, "MLINFRA_FAULT_ONCE": str(once)})
    over(project, process, token)
    assert once.exists()
    before, _ = sums(project)
    assert bool(before) == (point == "monitor.committed")
    process, token = launch(project)
    traffic.join()
    eventually(lambda: exact(project), 60)
    stop(process)
    assert sum(one[0] for one in sums(project)[0].values()) == 40 * 60


@pytest.mark.parametrize("draw", range(4 if ALL else 1))
def test_killed_at_any_moment(project: Project, draw: int) -> None:
    """Three times in a row, while rows and truths come."""
    chance = random.Random(f"{SEED}-{draw}")
    number = publish(project, known=KNOWN)
    traffic = Traffic(project, number, f"{SEED}-{draw}", days=80)
    traffic.start()
    for _ in range(3):
        process, token = launch(project)
        eventually(lambda: sums(project)[0], 60)
        threading.Event().wait(chance.random() * 1.5)
        kill(psutil.Process(process.pid))
        over(project, process, token)
    process, _ = launch(project)
    traffic.join()
    eventually(lambda: exact(project), 60)
    stop(process)


def test_one_that_was_given_up_counts_no_more(project: Project) -> None:
    """It hung, another one was started: what it has read and not written it does not write."""
    number = publish(project, known=KNOWN)
    with project.storage.unit() as unit:
        token = launches.commit(unit, "monitor", "monitors")
    assert launches.claim(project.storage, token) is not None
    old = Monitor(project, token)
    line = Line(project, number)
    line.true(line.days(0, 2, random.Random(SEED)))
    with project.storage.unit() as unit:
        launches.give_up(unit, token, "running")
    process, _ = launch(project)
    eventually(lambda: exact(project), 60)
    with pytest.raises(GivenUp):
        while True:
            old.turn()
    assert exact(project)
    stop(process)
    line.close()


def test_a_database_that_is_locked_meanwhile(project: Project) -> None:
    """What cannot be written is neither lost nor read over."""
    number = publish(project, known=KNOWN)
    line = Line(project, number)
    process, _ = launch(project)
    line.true(line.days(0, 2, random.Random(SEED)))
    eventually(lambda: exact(project), 60)
    assert project.storage.path is not None
    somebody = sqlite3.connect(project.storage.path, isolation_level=None, timeout=60)
    somebody.execute("BEGIN IMMEDIATE")
    line.true(line.days(2, 2, random.Random(SEED + 1)))
    threading.Event().wait(1)
    somebody.execute("ROLLBACK")
    somebody.close()
    eventually(lambda: exact(project) and len(sums(project)[0]) == 4, 90)
    stop(process)
    line.close()
