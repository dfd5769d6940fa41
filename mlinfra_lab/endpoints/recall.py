"""Reading captured requests back, see `segments`."""

from __future__ import annotations

import bisect
import datetime as dt
import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from mlinfra_lab.errors import NotFound
from mlinfra_lab.schema.endpoints import Prediction
from mlinfra_lab.segments import ENTRY, FORMAT, FRAME, Header, Record, parse_id, path_of, segments

__all__ = ["Reader", "find", "newest", "newest_event"]


class _Place(msgspec.Struct, array_like=True, gc=False):
    # The first fields of a Record: enough to find a row without building all the others.
    first_row: int
    n: int


_record = msgspec.msgpack.Decoder(Record)
_place = msgspec.msgpack.Decoder(_Place)
_header = msgspec.msgpack.Decoder(Header)


class Reader:
    """Reads one segment, also while it is written; stops at a torn or damaged record.

    Parameters
    ----------
    path
        The ``.seg`` file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header: Header | None = None
        self._start = 0
        with path.open("rb") as file:
            for offset, payload in _frames(file.read(2**20)):
                header = _header.decode(payload)
                if header.format != FORMAT:
                    raise NotFound(f"{path} has format {header.format}, which this version does not know.")
                self.header, self._start = header, offset + 8 + len(payload)
                break

    def __iter__(self) -> Iterator[Record]:
        if self.header is None:
            return
        with self.path.open("rb") as file:
            file.seek(self._start)
            while len(frame := file.read(8)) == 8:
                length, crc = FRAME.unpack(frame)
                payload = file.read(length)
                if not length or len(payload) != length or zlib.crc32(payload) != crc:
                    return
                yield _record.decode(payload)

    def _index(self) -> tuple[list[int], list[int]]:
        """Offsets and first rows of some records, the segment's first one always among them."""
        offsets, firsts = [self._start], [0]
        try:
            data = self.path.with_suffix(".idx").read_bytes()
        except FileNotFoundError:
            return offsets, firsts
        size = self.path.stat().st_size
        for offset, first in ENTRY.iter_unpack(data[: len(data) // 16 * 16]):
            if offsets[-1] < offset < size and first > firsts[-1]:
                offsets.append(offset)
                firsts.append(first)
        return offsets, firsts

    def rows(self) -> int:
        """How many rows it holds whole."""
        if self.header is None:
            return 0
        offsets, _ = self._index()
        for start in (offsets[-1], self._start):  # an index that points nowhere only costs reading
            with self.path.open("rb") as file:
                file.seek(start)
                payloads = [payload for _, payload in _frames(file.read())]
            if payloads:
                last = _place.decode(payloads[-1])
                return last.first_row + last.n
        return 0

    def find(self, row: int) -> Prediction | None:
        """One row; ``None`` when the segment does not hold it whole."""
        if self.header is None:
            return None
        offsets, firsts = self._index()
        at = bisect.bisect_right(firsts, row) - 1
        end = offsets[at + 1] if at + 1 < len(offsets) else None
        found = self._find_between(offsets[at], end, row)
        # An index that was left behind by something else must not hide a row.
        return found if found is not None or at == 0 else self._find_between(self._start, None, row)

    def _find_between(self, start: int, end: int | None, row: int) -> Prediction | None:
        with self.path.open("rb") as file:
            file.seek(start)
            data = file.read(-1 if end is None else end - start)
        places = list(_skip(data))
        try:
            at = bisect.bisect_right(
                places, row, key=lambda place: _place.decode(data[place[0] : place[1]]).first_row
            )
            if at == 0:
                return None
            begin, stop = places[at - 1]
            payload = data[begin:stop]
            if zlib.crc32(payload) != FRAME.unpack_from(data, begin - 8)[1]:
                return None
            record = _record.decode(payload)
        except msgspec.DecodeError:
            return None
        inside = 0 <= row - record.first_row < record.n
        return self._prediction(record, row - record.first_row) if inside else None

    def last(self, limit: int) -> list[Prediction]:
        """The last ``limit`` rows, newest first."""
        if self.header is None:
            return []
        offsets, _ = self._index()
        # From the last indexed place backwards, ever further, until there are enough rows.
        back = 1
        while True:
            with self.path.open("rb") as file:
                file.seek(offsets[max(len(offsets) - back, 0)])
                records = [_record.decode(payload) for _, payload in _frames(file.read())]
            if back >= len(offsets) or sum(record.n for record in records) >= limit:
                break
            back *= 2
        rows = (
            self._prediction(record, i) for record in reversed(records) for i in reversed(range(record.n))
        )
        return list(itertools.islice(rows, limit))

    def _prediction(self, record: Record, i: int) -> Prediction:
        assert self.header is not None
        head = self.header
        columns = record.columns if record.columns is not None else head.columns
        value = record.rows[i]
        event = record.event_times[i] if record.event_times is not None else None
        return Prediction(
            id=f"{head.endpoint}.{head.revision}.{head.segment}.{record.first_row + i}",
            endpoint=head.endpoint,
            revision=head.revision,
            at=dt.datetime.fromtimestamp(record.at, dt.UTC),
            event_time=None if event is None else _moment(event),
            row=dict(zip(columns, value, strict=True)) if columns else value,
            prediction=record.predictions[i],
            latency=record.latency,
            request=record.request,
        )


def _moment(seconds: float) -> dt.datetime | None:
    try:
        return dt.datetime.fromtimestamp(seconds, dt.UTC)
    except (ValueError, OverflowError, OSError):
        return None  # no calendar has it


def _skip(data: bytes) -> Iterator[tuple[int, int]]:
    """Begin and end of each whole payload, told from the lengths alone."""
    at, size, unpack = 0, len(data), FRAME.unpack_from
    while at + 8 <= size:
        begin = at + 8
        at = begin + unpack(data, at)[0]
        if at > size or at == begin:
            return
        yield begin, at


def _frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Offset and payload of each whole and undamaged record."""
    for begin, end in _skip(data):
        payload = data[begin:end]
        if zlib.crc32(payload) != FRAME.unpack_from(data, begin - 8)[1]:
            return
        yield begin - 8, payload


def find(captures: Path, id: str) -> Prediction:
    """The captured row with this id.

    Raises
    ------
    NotFound
        When there is none, saying how far it was found.
    """
    place = parse_id(id)
    if place is None:
        raise NotFound(f"“{id}” is no prediction's id.", "It looks like ENDPOINT.REVISION.SEGMENT.ROW.")
    path = path_of(captures, place.endpoint, place.revision, place.segment)
    if not path.exists():
        raise NotFound(f"There is no prediction {id}: nothing was captured in its segment.")
    found = Reader(path).find(place.row)
    if found is None:
        raise NotFound(f"There is no prediction {id}: its segment holds no such row.")
    return found


def newest(captures: Path, endpoint: str, limit: int) -> list[Prediction]:
    """The newest captured rows of an endpoint over all its revisions, newest first."""
    folders = [path for path in (captures / endpoint).glob("*") if path.name.isdigit()]
    paths = [path for folder in folders for _, path in segments(folder)]
    paths.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    found: list[Prediction] = []
    for path in paths:
        # Segments of two revisions overlap in time only around a switch; one more covers that.
        enough = len(found) >= limit
        found += Reader(path).last(limit)
        if enough:
            break
    found.sort(key=lambda prediction: prediction.at, reverse=True)
    return found[:limit]


def newest_event(captures: Path, endpoint: str) -> dt.datetime | None:
    """The event time of the newest captured row, where it has one."""
    try:
        found = newest(captures, endpoint, 1)
    except (OSError, NotFound, msgspec.DecodeError):
        return None
    return found[0].event_time if found else None
