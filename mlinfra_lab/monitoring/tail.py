"""Reading on where one stopped: segments that grow, one folder of them a stream.

Nothing is read twice, but for the one record that was not whole when it was looked at. A segment that its
writer has sealed (mode 0400) and that gives no more whole records is done with, torn tail or not. One that
is not sealed and not the newest is looked at beside the newest: for a moment, when a front hands over,
two are written to.
"""

from __future__ import annotations

import logging
import math
import os
import stat
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from mlinfra_lab.segments import FORMAT, FRAME, Header, segments

log = logging.getLogger(__name__)
CHUNK = 2**20
"""Bytes that are read at a time, unless one record is longer."""
_LONGEST = 2**30
T = TypeVar("T")

_header = msgspec.msgpack.Decoder(Header)


class Position(msgspec.Struct, kw_only=True):
    """How far a stream was read.

    Attributes
    ----------
    segment, offset
        The newest segment that was begun, and what was read of it.
    behind
        Offsets of older segments that are still written to.
    """

    segment: int = 0
    offset: int = 0
    behind: dict[int, int] = {}


class Piece(msgspec.Struct, Generic[T]):
    """Some whole records of one segment that follow each other."""

    header: Header
    segment: int
    start: int
    end: int
    records: list[T]


class Tail(Generic[T]):
    """Reads on in the segments of one folder.

    Parameters
    ----------
    folder
        Where the segments lie; it need not be there yet.
    kind
        What a record is decoded as.
    position
        Where to go on.
    until
        Where to stop, for reading again what was read before.
    """

    def __init__(
        self, folder: Path, kind: Any, position: Position | None = None, until: Position | None = None
    ) -> None:
        self._until = until
        self._folder = folder
        self._decode = msgspec.msgpack.Decoder(kind).decode
        position = position or Position()
        self._newest = position.segment
        self._offsets: dict[int, int] = dict(position.behind)
        if position.segment:
            self._offsets[position.segment] = position.offset
        self._headers: dict[int, Header | None] = {}
        self._listed: list[tuple[int, Path]] = []
        self._seen = -1

    @property
    def position(self) -> Position:
        """How far it was read; valid together with everything that `read` has given so far."""
        behind = {number: offset for number, offset in self._offsets.items() if number != self._newest}
        return Position(segment=self._newest, offset=self._offsets.get(self._newest, 0), behind=behind)

    def read(self) -> Iterator[Piece[T]]:
        """What came since, a piece at a time, in the order of the segments."""
        self._list()
        for number, path in self._listed:
            if number not in self._offsets:
                if number <= self._newest or (self._until and number > self._until.segment):
                    continue
                self._newest = number
                self._offsets[number] = 0
            yield from self._segment(number, path)
        for number in self._offsets.keys() - {one for one, _ in self._listed} - {self._newest}:
            del self._offsets[number]  # somebody removed it

    def _list(self) -> None:
        try:
            changed = self._folder.stat().st_mtime_ns
        except FileNotFoundError:
            self._listed = []
            return
        # A file that was made in the same tick as the folder was listed is there at the next look.
        if changed != self._seen or len(self._listed) == 0:
            listed = segments(self._folder)
            self._listed = [one for one in listed if one[0] in self._offsets or one[0] >= self._newest]
            self._seen = changed if _is_old(changed) else -1

    def _segment(self, number: int, path: Path) -> Iterator[Piece[T]]:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._offsets.pop(number, None)
            return
        try:
            # Asked before it is read: what is sealed by then does not grow any more.
            before = os.fstat(descriptor)
            size = min(before.st_size, self._end(number))
            while piece := self._piece(descriptor, number, size):
                if piece.records:
                    yield piece
        finally:
            os.close(descriptor)
        sealed = not stat.S_IMODE(before.st_mode) & 0o200
        if sealed and number != self._newest:
            if self._offsets.pop(number, 0) < before.st_size:
                log.warning("%s is torn; what stands behind the tear is not counted", path)
            self._headers.pop(number, None)

    def _end(self, number: int) -> float:
        if self._until is None:
            return math.inf
        if number == self._until.segment:
            return self._until.offset
        return self._until.behind.get(number, math.inf)

    def _piece(self, descriptor: int, number: int, size: float) -> Piece[T] | None:
        start = self._offsets[number]
        if start >= size:
            return None
        header = self._headers.get(number)
        if header is None and start > 0:
            header = self._first(descriptor, number)
            if header is None:
                return None
        data = os.pread(descriptor, int(min(CHUNK, size - start)), start)
        if len(data) >= FRAME.size:
            whole = FRAME.size + FRAME.unpack_from(data)[0]
            if len(data) < whole <= min(size - start, _LONGEST):
                data = os.pread(descriptor, whole, start)
        records: list[T] = []
        end = start
        for payload in frames(data):
            try:
                if header is None:
                    header = self._keep(number, payload)
                    if header is None:
                        return None
                else:
                    records.append(self._decode(payload))
            except msgspec.DecodeError:
                log.exception("segment %d in %s holds what cannot be read", number, self._folder)
                break
            end += FRAME.size + len(payload)
        if header is None or end == start:
            return None
        self._offsets[number] = end
        return Piece(header, number, start, end, records)

    def _first(self, descriptor: int, number: int) -> Header | None:
        for payload in frames(os.pread(descriptor, CHUNK, 0)):
            return self._keep(number, payload)
        return None

    def _keep(self, number: int, payload: bytes) -> Header | None:
        header = _header.decode(payload)
        if header.format != FORMAT:
            log.warning("segment %d in %s has format %d: passed over", number, self._folder, header.format)
            return None
        self._headers[number] = header
        return header


def frames(data: bytes) -> Iterator[bytes]:
    """The payload of each whole and undamaged record."""
    at, size, unpack = 0, len(data), FRAME.unpack_from
    while at + FRAME.size <= size:
        length, crc = unpack(data, at)
        begin = at + FRAME.size
        at = begin + length
        if at > size or not length:
            return
        payload = data[begin:at]
        if zlib.crc32(payload) != crc:
            return
        yield payload


def _is_old(stamp: int) -> bool:
    # Coarse clocks of file systems: names can appear without the folder's time moving on.
    return time.time_ns() - stamp > 2_000_000_000
