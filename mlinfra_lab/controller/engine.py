"""Makes the processes that run those that are wanted: starts, adopts, restarts, stops.

The engine knows launches and nothing else; what is wanted, each loop says (``loops/``). It decides by
rows and by what the kernel says of processes, never by what it remembers, so that a controller that was
just started does the same as one that was there all the time. Memory is only used to wait longer
between the restarts of something that keeps failing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

import msgspec
import psutil

from mlinfra_lab import faults
from mlinfra_lab.control import LAUNCHED
from mlinfra_lab.project import Project
from mlinfra_lab.schema.common import now
from mlinfra_lab.schema.control import Launch, Wanted
from mlinfra_lab.storage import launches, meta

log = logging.getLogger(__name__)
CLAIM_SECONDS = 60.0
"""How long a process may take to claim its launch before it is given up."""
HEALTHY_SECONDS = 60.0
LONGEST_PAUSE = 30.0
FULL_LOOK_SECONDS = 1.0
MOST_STARTING = max(8, 2 * (os.cpu_count() or 1))
"""Processes that are being started at one time."""
_LOG_BYTES = 5 * 2**20


class Loop(Protocol):
    """One domain's share of reconciling."""

    kinds: frozenset[str]

    def observe(self) -> None:
        """Bring the domain's rows in line with what is (states, outcomes)."""

    def wanted(self) -> list[Wanted]:
        """The processes that should be there now."""

    def ended(self, launch: Launch) -> None:
        """A process of this loop's kinds is over; called for those that ended while we watched."""


class Pause(msgspec.Struct):
    """How often something failed in a row, and when it may be tried again."""

    failures: int = 0
    until: float = 0.0


class Engine:
    """Turns what is wanted into processes."""

    def __init__(self, project: Project, loops: list[Loop]) -> None:
        self._project = project
        self._loops = loops
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._open: dict[str, Launch] = {}
        self._pauses: dict[tuple[str, str], Pause] = {}
        self._stopping: dict[str, float] = {}
        self._troubles: dict[str, str] = {}
        self._looked = 0.0
        self._misplaced = self._take_moved()
        self.busy = True

    def _take_moved(self) -> set[str]:
        """Launches from before the folder was moved: they hold on to the old path and start anew.

        Jobs are left to end by themselves: their work is in memory and in files they have open.
        """
        storage = self._project.storage
        if meta.get(storage, "moved") is None:
            return set()
        with storage.unit() as unit:
            meta.put(unit, "moved", None)
            return {one.token for one in launches.opened(unit.connection) if one.kind != "runner"}

    def turn(self, changed: bool) -> None:
        """One round; cheap when nothing changed."""
        reaped = self._reap()
        due = time.monotonic() - self._looked > FULL_LOOK_SECONDS
        if not (changed or reaped or due):
            return
        self._looked = time.monotonic()
        self._look_after_launches()
        down = self._project.controller.is_down()
        wanted: dict[tuple[str, str], Wanted] = {}
        for loop in self._loops:
            asked = self._ask(loop)
            if not down:
                wanted |= {(one.kind, one.owner): one for one in asked}
        self._stop_surplus(wanted)
        self._start_missing(wanted)
        with self._project.storage.read() as connection:
            self._open = {one.token: one for one in launches.opened(connection)}
        # A process that has written its outcome may still be on its way out.
        self.busy = bool(self._open or wanted or self._children)

    def _ask(self, loop: Loop) -> list[Wanted]:
        """What a loop wants; one that fails keeps what it has, and the other loops go on."""
        name = type(loop).__name__
        try:
            loop.observe()
            found = loop.wanted()
        except Exception as problem:
            if self._troubles.get(name) != repr(problem):
                log.exception("%s failed; what it started is left as it is", name)
            self._troubles[name] = repr(problem)
            kept = [one for one in self._open.values() if one.kind in loop.kinds]
            return [Wanted(kind=one.kind, owner=one.owner, module="") for one in kept]
        self._troubles.pop(name, None)
        return found

    def _reap(self) -> bool:
        gone = [token for token, child in self._children.items() if child.poll() is not None]
        for token in gone:
            code = self._children.pop(token).returncode
            log.info("process of launch %s ended with %s", token, code)
        return bool(gone)

    # -- what is ----------------------------------------------------------------------------------

    def _look_after_launches(self) -> None:
        with self._project.storage.read() as connection:
            current = {one.token: one for one in launches.opened(connection)}
        for launch in current.values():
            if self._is_gone(launch):
                with self._project.storage.unit() as unit:
                    launches.give_up(unit, launch.token, launch.state)
                end_remains(launch)
        with self._project.storage.read() as connection:
            still = {one.token: one for one in launches.opened(connection)}
            over = [launches.get(connection, token) for token in (self._open | current) if token not in still]
        for ended in over:
            if ended is not None:
                self._note_end(ended)

    def _is_gone(self, launch: Launch) -> bool:
        if launch.state == "running":
            return launches.alive(launch) is False
        age = (now() - launch.created).total_seconds()
        if launch.host != launches.host():
            return False
        child = self._children.get(launch.token)
        if child is None:
            # Spawned, or about to be, by a controller that is gone. If its process lives, it claims
            # within a moment; if it comes later than this, its claim fails and it does nothing.
            return age > CLAIM_SECONDS / 6
        if age > CLAIM_SECONDS:
            child.kill()
        return child.poll() is not None

    def _note_end(self, launch: Launch) -> None:
        self._stopping.pop(launch.token, None)
        self._open.pop(launch.token, None)
        key = (launch.kind, launch.owner)
        failed = launch.state in ("lost", "void") or "error" in (launch.outcome or {})
        pause = self._pauses.setdefault(key, Pause())
        lived = ((launch.ended or now()) - (launch.claimed or launch.created)).total_seconds()
        if lived > HEALTHY_SECONDS or not failed:
            pause.failures = 0
        if failed:
            # The first restart is at once: a single crash should cost nobody a wait.
            pause.until = time.monotonic() + min(LONGEST_PAUSE, (2**pause.failures - 1) / 2)
            pause.failures += 1
        log.info("%s %s: %s after %.1f s", launch.kind, launch.owner, launch.state, lived)
        for loop in self._loops:
            if launch.kind in loop.kinds:
                loop.ended(launch)

    # -- what should be ---------------------------------------------------------------------------

    def _stop_surplus(self, wanted: dict[tuple[str, str], Wanted]) -> None:
        with self._project.storage.read() as connection:
            current = launches.opened(connection)
        seen: set[tuple[str, str]] = set()
        for launch in current:
            key = (launch.kind, launch.owner)
            if key in wanted and key not in seen and launch.token not in self._misplaced:
                seen.add(key)
                continue
            if launch.host == launches.host():
                self._stop(launch)

    def _stop(self, launch: Launch) -> None:
        pid = launch.pid or (child.pid if (child := self._children.get(launch.token)) else None)
        if pid is None:
            return
        asked = self._stopping.get(launch.token)
        if asked is None:
            log.info("stopping %s %s (process %d)", launch.kind, launch.owner, pid)
            self._stopping[launch.token] = time.monotonic()
            send(pid, launch.started, signal.SIGTERM)
        elif time.monotonic() - asked > self._grace(launch):
            log.warning("killing %s %s (process %d)", launch.kind, launch.owner, pid)
            send(pid, launch.started, signal.SIGKILL, group=True)

    def _grace(self, launch: Launch) -> float:
        return self._project.settings.jobs.grace * 3 if launch.kind == "runner" else 10.0

    def _start_missing(self, wanted: dict[tuple[str, str], Wanted]) -> None:
        with self._project.storage.read() as connection:
            current = launches.opened(connection)
        present = {(one.kind, one.owner) for one in current}
        # Starting is the dearest moment of a process; many at once would keep each from claiming in time.
        room = MOST_STARTING - sum(1 for one in current if one.state == "launching")
        for key, one in wanted.items():
            pause = self._pauses.get(key)
            paused = pause is not None and time.monotonic() < pause.until
            if key in present or paused or not one.module:
                continue
            if room <= 0:
                return  # the others at a later turn
            room -= 1
            self._launch(one)

    def _launch(self, one: Wanted) -> None:
        with self._project.storage.unit() as unit:
            token = launches.commit(unit, one.kind, one.owner)
        faults.point("controller.committed")
        log_file = self._project.state / "logs" / f"{one.kind}-{one.owner}.log"
        ours = {"MLINFRA_PROJECT": str(self._project.root), LAUNCHED: "1"}
        with open_log(log_file) as output:
            child = subprocess.Popen(
                [
                    sys.executable, "-m", one.module,
                    "--project", str(self._project.root), "--launch", token,
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._project.root,
                env=launches.environment(ours | one.env),
                start_new_session=True,
            )  # fmt: skip
        self._children[token] = child
        log.info("started %s %s (process %d, launch %s)", one.kind, one.owner, child.pid, token)
        faults.point("controller.spawned")


def open_log(path: Path) -> contextlib.closing:  # type: ignore[type-arg]
    """A process's log file to append to; a long one is put aside first."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > _LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
    return contextlib.closing(path.open("ab"))


def send(pid: int, started: float | None, what: signal.Signals, group: bool = False) -> None:
    """Signal this very process (and its group), unless the pid belongs to somebody else by now."""
    if started is not None and not launches.process_alive(pid, started):
        return
    with contextlib.suppress(ProcessLookupError):
        if group and os.getpgid(pid) == pid:
            os.killpg(pid, what)
        else:
            os.kill(pid, what)


def end_remains(launch: Launch) -> None:
    """Kill what a lost process left behind: its group, and the processes it said it had."""
    for pid, started in launch.info.get("children", []):
        send(int(pid), float(started), signal.SIGKILL)
    if launch.pid is None or launch.host != launches.host() or launch.boot != launches.boot():
        return
    if psutil.pid_exists(launch.pid) and not launches.is_zombie(launch.pid):
        return  # the pid is somebody else's now, so no group of ours can have that number
    for process in psutil.process_iter(["pid"]):
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            # Only members of the dead process's own session: it led one, so nobody else is in it.
            if os.getpgid(process.pid) == launch.pid and os.getsid(process.pid) == launch.pid:
                process.kill()
