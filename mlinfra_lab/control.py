"""The controller as faces see it: is it there, start it, take the project down.

The controller is the one process a face may start. It is found by its heartbeat file; the process
itself lives in ``controller/``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from mlinfra_lab.errors import Conflict, ControllerDown
from mlinfra_lab.schema.common import now
from mlinfra_lab.schema.control import ControllerBeat
from mlinfra_lab.storage import Storage, launches, meta
from mlinfra_lab.storage.database import known_versions
from mlinfra_lab.version import __version__

BEAT_FILE = "controller.json"
LOG_FILE = "controller.log"
LAUNCHED = "MLINFRA_LAUNCHED"
"""Variable that is set in every process the controller launched, and in what those start."""
STALE_SECONDS = 10.0
MOST_DEATHS = 3
"""Restarts of the controller that one waiting face tries."""
_START_SECONDS = 30.0
_LOOK_SECONDS = 0.05


def code_version() -> str:
    """What tells an old controller from one of this code."""
    return f"{__version__}+{known_versions()[-1]}"


class Control:
    """Starting and asking after the controller of one project.

    Parameters
    ----------
    root, state
        The project's folder and its state folder.
    actor
        Who asks.
    """

    def __init__(self, root: Path, state: Path, storage: Storage, actor: str) -> None:
        self._root = root
        self._state = state
        self._storage = storage
        self._actor = actor
        self._checked = 0.0
        self._deaths = 0

    @property
    def log(self) -> Path:
        """The controller's log file."""
        return self._state / "logs" / LOG_FILE

    def beat(self) -> ControllerBeat | None:
        """The last heartbeat, alive or not."""
        try:
            return msgspec.json.decode((self._state / "run" / BEAT_FILE).read_bytes(), type=ControllerBeat)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def alive(self) -> ControllerBeat | None:
        """The heartbeat, if the process that wrote it lives on this machine."""
        beat = self.beat()
        if beat is None or beat.host != launches.host() or beat.boot != launches.boot():
            return None
        if beat.root != str(self._root):
            return None  # this folder is a copy, or was moved: that controller is not ours
        return beat if launches.process_alive(beat.pid, beat.started) else None

    def is_down(self) -> bool:
        """Whether somebody took the project down."""
        return meta.get(self._storage, "down") is not None

    # -- starting ---------------------------------------------------------------------------------

    def ensure(self) -> None:
        """Make sure that a controller of this code is there, and that the project is up.

        Raises
        ------
        Conflict
            In a process of the project itself, when the project is being taken down: what is to end must
            not bring everything up again.
        ControllerDown
            With the tail of its log, when none could be started.
        """
        if self.is_down():
            if os.environ.get(LAUNCHED):
                raise Conflict("The project is being taken down.", "Run `mlinfra up` to go on.")
            with self._storage.unit(self._actor) as unit:
                meta.put(unit, "down", None)
                unit.audit("up", "project", "project")
        self._start_unless_alive()

    def wake(self) -> None:
        """Have a controller started where there is none, and do not wait for it."""
        if not self.is_down() and self.alive() is None:
            self._popen()

    def check(self) -> None:
        """While waiting: put a lost controller back, and say so when there is nothing to wait for.

        Raises
        ------
        Conflict
            When the project was taken down.
        ControllerDown
            When the controller lives but has missed its heartbeat for `STALE_SECONDS`.
        """
        if time.monotonic() - self._checked < 1.0:
            return
        self._checked = time.monotonic()
        if self.is_down():
            raise Conflict("The project was taken down.", "Run `mlinfra up` to go on.")
        beat = self.alive()
        if beat is None:
            self._deaths += 1
            if self._deaths > MOST_DEATHS:
                raise ControllerDown(
                    f"The controller has died {MOST_DEATHS} times.\n{self._tail()}", f"Its log is {self.log}."
                )
            self._start_unless_alive()
        elif self.silent_for(beat) > STALE_SECONDS:
            raise ControllerDown(
                f"The controller (process {beat.pid}) is silent for {STALE_SECONDS:g} s.\n{self._tail()}",
                f"Its log is {self.log}. End the process and run `mlinfra up`.",
            )

    @staticmethod
    def silent_for(beat: ControllerBeat) -> float:
        """Seconds since the heartbeat."""
        return (now() - beat.at).total_seconds()

    def _start_unless_alive(self) -> None:
        beat = self.alive()
        if beat is not None and beat.version != code_version():
            self.hand_over()
            beat = None
        if beat is not None and beat.leaving is None:
            return
        self._spawn()

    def _spawn(self) -> None:
        end = time.monotonic() + _START_SECONDS
        process: subprocess.Popen[bytes] | None = None
        while time.monotonic() < end:
            beat = self.alive()
            if beat is not None and beat.leaving is None:
                return
            # Exit code 0: another one held the lock. It is about to beat, or is leaving and its place
            # will be free in a moment.
            if process is not None and process.poll() not in (None, 0):
                break
            if beat is None and (process is None or process.poll() == 0):
                process = self._popen()
            time.sleep(_LOOK_SECONDS)
        raise ControllerDown(
            f"The controller could not be started.\n{self._tail()}", f"Its log is {self.log}."
        )

    def _popen(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "mlinfra_lab.controller", "--project", str(self._root)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._root,
                env=launches.environment(),
                start_new_session=True,
            )

    def _tail(self, lines: int = 15) -> str:
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return "(it wrote no log)"
        return "\n".join(text.splitlines()[-lines:])

    # -- ending -----------------------------------------------------------------------------------

    def hand_over(self) -> None:
        """Ask the controller to leave and wait for it; what it started lives on and is adopted."""
        import psutil

        beat = self.alive()
        if beat is None:
            return
        try:
            process = psutil.Process(beat.pid)
            process.terminate()
            process.wait(STALE_SECONDS)
        except psutil.NoSuchProcess:
            return
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(STALE_SECONDS)

    def down(self, timeout: float = 60.0) -> None:
        """Stop everything that runs and wait for it; what is desired stays written down for `up`.

        Raises
        ------
        ControllerDown
            When something is still there after ``timeout`` seconds.
        """
        with self._storage.unit(self._actor) as unit:
            meta.put(unit, "down", now().isoformat())
            unit.audit("down", "project", "project")
        if self.alive() is None:
            with self._storage.read() as connection:
                if not launches.opened(connection):
                    return
            # Somebody has to stop what a dead controller left behind.
            self._spawn()
        end = time.monotonic() + timeout
        while self.alive() is not None:
            if time.monotonic() > end:
                raise ControllerDown(
                    f"Not everything has stopped.\n{self._tail()}", f"Its log is {self.log}."
                )
            time.sleep(_LOOK_SECONDS)
