"""How far a task is: a small file, written by the worker, read by whoever waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from mlinfra_lab.schema.tasks import Progress


class Cancelled(Exception):
    """Raised inside a task when somebody asked for its end."""


class Report:
    """Given to a work function: ``report("files", done, total)``.

    Parameters
    ----------
    path
        The progress file.
    cancelled
        Asked at most a few times a second whether to stop.
    """

    def __init__(self, path: Path, cancelled: Callable[[], bool]) -> None:
        self._path = path
        self._cancelled = cancelled
        self._asked = 0.0

    def __call__(self, label: str, done: float = 0, total: float | None = None) -> None:
        """Say how far the work is; raises `Cancelled` when it should end."""
        moment = time.monotonic()
        if moment - self._asked > 0.2 or done == total:
            self._asked = moment
            write(self._path, Progress(label=label, done=done, total=total))
            if self._cancelled():
                raise Cancelled


def write(path: Path, struct: msgspec.Struct) -> None:
    """Replace a small JSON file in one step, so that a reader sees the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(msgspec.json.encode(struct))
    beside.replace(path)


def read(path: Path) -> Progress | None:
    """The last progress, if any was written."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Progress)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
