"""The controller's process: one per project and user, its heartbeat, and when it leaves."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec
import psutil
import sqlalchemy as sa

from mlinfra_lab.control import BEAT_FILE, code_version
from mlinfra_lab.controller.engine import Engine
from mlinfra_lab.controller.loops import loops_of
from mlinfra_lab.project import Project
from mlinfra_lab.schema.common import now
from mlinfra_lab.schema.control import ControllerBeat
from mlinfra_lab.storage import Watcher, launches
from mlinfra_lab.storage.watch import LOOK_SECONDS

log = logging.getLogger("mlinfra_lab.controller")
BEAT_SECONDS = 1.0
PATIENCE = 3.0
"""Seconds to wait for a locked database before the round is given up and the heart beats again."""
KEPT = dt.timedelta(days=7)
"""How long the rows of processes that have ended are kept."""


class Beat:
    """Writes the heartbeat file."""

    def __init__(self, project: Project) -> None:
        self._path = project.state / "run" / BEAT_FILE
        self._root = str(project.root)
        self._started = psutil.Process().create_time()
        self._last = 0.0

    def write(self, leaving: str | None = None) -> None:
        """Write it, at most once a second unless the controller is leaving."""
        if leaving is None and time.monotonic() - self._last < BEAT_SECONDS:
            return
        self._last = time.monotonic()
        beat = ControllerBeat(
            pid=os.getpid(),
            boot=launches.boot(),
            host=launches.host(),
            started=self._started,
            version=code_version(),
            root=self._root,
            at=now(),
            leaving=leaving,
        )
        beside = self._path.with_suffix(".new")
        beside.write_bytes(msgspec.json.encode(beat))
        beside.replace(self._path)


def take_lock(state: Path) -> IO[bytes] | None:
    """The lock a controller holds as long as it lives; ``None`` when another one has it."""
    file = (state / "controller.lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


@contextlib.contextmanager
def team_lock(project: Project) -> Iterator[bool]:
    """On PostgreSQL, the lock that keeps a second machine's controller out."""
    if project.storage.dialect != "postgresql":
        yield True
        return
    with project.storage.read() as connection:
        yield bool(connection.execute(sa.select(sa.func.pg_try_advisory_lock(0x6D6C6374))).scalar())


def main() -> None:
    """Run until nothing is desired any more, or somebody says so."""
    parser = argparse.ArgumentParser(prog="mlinfra controller")
    parser.add_argument("--project", required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    project = Project(options.project)
    project.storage.wait_at_most(PATIENCE)
    lock = take_lock(project.state)
    if lock is None:
        log.info("another controller is up")
        sys.exit(0)
    with lock, team_lock(project) as alone:
        if not alone:
            log.info("a controller on another machine is up")
            sys.exit(0)
        reason = control(project)
    log.info("left: %s", reason)


def control(project: Project) -> str:
    """The loop itself; returns why it ended."""
    told: list[str] = []
    signal.signal(signal.SIGTERM, lambda *_: told.append("handed over"))
    signal.signal(signal.SIGINT, lambda *_: told.append("interrupted"))
    beat = Beat(project)
    beat.write()
    log.info("controller of %s is up (process %d, %s)", project.root, os.getpid(), code_version())
    with project.storage.unit() as unit:
        launches.prune(unit, now() - KEPT)
    engine = Engine(project, loops_of(project))
    watcher = project.storage.watcher()
    quiet_since, trouble = time.monotonic(), ""
    try:
        while not told:
            beat.write()
            trouble = _turn(engine, watcher, trouble)
            if engine.busy:
                quiet_since = time.monotonic()
            elif project.controller.is_down():
                told.append("the project was taken down")
            elif time.monotonic() - quiet_since > project.settings.controller.idle:
                told.append("nothing is desired")
            if not project.state.exists():
                told.append("the project's folder is gone")
                return told[0]
            time.sleep(LOOK_SECONDS)
    finally:
        watcher.close()
    beat.write(leaving=told[0])
    return told[0]


def _turn(engine: Engine, watcher: Watcher, trouble: str) -> str:
    """One round of the engine; what fails now (a locked database, a full disk) is tried again."""
    try:
        engine.turn(watcher.changed())
    except Exception as problem:
        if repr(problem) != trouble:
            log.exception("a round failed; the next one tries again")
        return repr(problem)
    return ""
