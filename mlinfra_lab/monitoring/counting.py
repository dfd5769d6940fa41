"""From captured rows to sums: what one unit adds, and a segment's answers kept for the truth that follows."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from mlinfra_lab.counters import Counts as Traffic
from mlinfra_lab.monitoring import store
from mlinfra_lab.monitoring.cells import Counter, Floats, is_missing, merge, text
from mlinfra_lab.monitoring.loss import Answers
from mlinfra_lab.monitoring.store import Bucket, QualityKey, Sums
from mlinfra_lab.monitoring.tail import Piece
from mlinfra_lab.monitoring.windows import Cut
from mlinfra_lab.schema.common import JSON
from mlinfra_lab.schema.monitoring import Baseline
from mlinfra_lab.segments import Record
from mlinfra_lab.storage import Unit

MISSING, OTHER = "(missing)", "(other)"
"""How a slice is called whose column has no value, and one of a value that came too late to get its own."""
_EARLIEST, _LATEST = -62135596800.0, 253402300799.0  # years 1 and 9999: beyond, no calendar names a day

Ints = npt.NDArray[np.int64]


class Added:
    """What is written in one unit: sums to add, and how far was read for them."""

    def __init__(self) -> None:
        self.buckets: dict[tuple[str, int, str], Bucket] = {}
        self.quality: dict[str, dict[QualityKey, Sums]] = {}
        self.traffic: dict[tuple[str, int, dt.datetime], Traffic] = {}
        self.positions: dict[tuple[str, str], tuple[int, int, JSON]] = {}

    def __bool__(self) -> bool:
        return bool(self.buckets or self.quality or self.traffic or self.positions)

    @property
    def endpoints(self) -> set[str]:
        """Whose sums change."""
        found = {endpoint for endpoint, _, _ in self.buckets} | {endpoint for endpoint, _, _ in self.traffic}
        return found | {endpoint for endpoint, sums in self.quality.items() if sums}

    def bucket(self, endpoint: str, revision: int, name: str, more: Bucket) -> None:
        """Add rows to a bucket."""
        key = (endpoint, revision, name)
        known = self.buckets.get(key)
        self.buckets[key] = more if known is None else plus(known, more)

    def judged(self, endpoint: str, key: QualityKey, more: Sums) -> None:
        """Add to a row of quality."""
        sums = self.quality.setdefault(endpoint, {})
        sums[key] = store.plus(sums[key], more) if key in sums else more

    def write(self, unit: Unit) -> None:
        """Add it all to what is there."""
        for (endpoint, revision, name), more in self.buckets.items():
            known = store.bucket(unit.connection, endpoint, revision, name)
            total = more if known is None else plus(known, more)
            store.put_bucket(unit, endpoint, revision, name, total)
        for endpoint, sums in self.quality.items():
            store.add_quality(unit, endpoint, sums)
        for (endpoint, revision, minute), counts in self.traffic.items():
            store.add_traffic(unit, endpoint, revision, minute, counts)
        for (endpoint, stream), position in self.positions.items():
            store.put_position(unit, endpoint, stream, *position)


def plus(one: Bucket, other: Bucket) -> Bucket:
    """Two buckets of one revision together."""
    return Bucket(
        rows=one.rows + other.rows,
        columns=[merge(a, b) for a, b in zip(one.columns, other.columns, strict=True)],
        predicted=merge(one.predicted, other.predicted),
        first=min(one.first, other.first),
        last=max(one.last, other.last),
    )


class Slicing:
    """What a row's slices are called; only so many values of a column get a name of their own.

    Parameters
    ----------
    columns
        That are sliced.
    known
        Names that have been given before, by column.
    """

    MOST = 100

    def __init__(self, columns: Sequence[str], known: dict[str, set[str]]) -> None:
        self.columns = tuple(columns)
        self._known = {column: known.get(column, set()) for column in columns}

    def name(self, column: str, value: Any) -> str:
        """The slice of a value."""
        if is_missing(value):
            return MISSING
        name = text(value)[:200]
        known = self._known[column]
        if name not in known:
            if len(known) >= self.MOST:
                return OTHER
            known.add(name)
        return name


class Rows(msgspec.Struct, kw_only=True):
    """Some rows of a segment, as truth will want them: predictions, times, and values of slicing columns."""

    predictions: Any
    times: Floats
    slices: dict[str, list[Any]]


class Unpacked:
    """A piece's rows, put side by side.

    Attributes
    ----------
    times
        When each row happened, see `times_of`.
    predictions
        What was answered, by row.
    groups
        Rows that follow each other and have the same columns, with the names of those.
    """

    def __init__(self, piece: Piece[Record]) -> None:
        self.segment = piece.segment
        self.first_row = piece.records[0].first_row
        self.times = times_of(piece)
        self.predictions = [value for record in piece.records for value in record.predictions]
        self.groups = [([row for one in group for row in one.rows], names) for group, names in groups(piece)]

    def kept(self, slices: Sequence[str]) -> Rows:
        """What truth will want of it."""
        columns: dict[str, list[Any]] = {name: [] for name in slices}
        for rows, names in self.groups if slices else ():
            place = {name: index for index, name in enumerate(names)}
            for name in slices:
                at = place.get(name)
                columns[name] += [None] * len(rows) if at is None else [row[at] for row in rows]
        return Rows(predictions=as_array(self.predictions), times=self.times, slices=columns)


def as_array(predictions: list[Any]) -> Any:
    """Predictions that are numbers, or lists of as many, as an array: it takes a tenth of the memory."""
    if predictions and all(type(one) is float for one in predictions):
        return np.array(predictions)
    if predictions and isinstance(predictions[0], list):
        try:
            found = np.array(predictions, dtype=np.float64)
        except (TypeError, ValueError):
            return predictions
        return found if found.ndim == 2 else predictions
    return predictions


def times_of(piece: Piece[Record]) -> Floats:
    """When each row happened: its event time where it has one that is a time, else the clock's."""
    if all(record.event_times is None for record in piece.records):
        times = _clock(piece)
    else:
        # None becomes NaN, which is no time.
        said = [record.event_times or [None] * record.n for record in piece.records]
        times = np.array(list(itertools.chain.from_iterable(said)), dtype=np.float64)
    wild = ~((times >= _EARLIEST) & (times <= _LATEST))
    if wild.any():
        times[wild] = _clock(piece)[wild]
    return times


def _clock(piece: Piece[Record]) -> Floats:
    return np.repeat(
        np.array([record.at for record in piece.records]), [record.n for record in piece.records]
    )


def groups(piece: Piece[Record]) -> Iterator[tuple[list[Record], tuple[str, ...]]]:
    """Records that follow each other and have the same columns."""
    group: list[Record] = []
    names: tuple[str, ...] = piece.header.columns
    for record in piece.records:
        own = piece.header.columns if record.columns is None else tuple(record.columns)
        if own != names and group:
            yield group, names
            group = []
        names = own
        group.append(record)
    if group:
        yield group, names


class Counting:
    """Counts one revision's rows.

    Parameters
    ----------
    starts
        Rows before each segment, for windows that are cut by count.
    rows
        Rows that have been counted.
    """

    def __init__(
        self, endpoint: str, revision: int, baseline: Baseline, cut: Cut, starts: dict[int, int], rows: int
    ) -> None:
        self._endpoint, self._revision = endpoint, revision
        self._counter = Counter(baseline)
        self.answers = Answers(baseline)
        self._cut = cut
        self.starts = starts
        self.rows = rows

    def count(self, unpacked: Unpacked, added: Added) -> None:
        """Count a piece into its buckets."""
        times = unpacked.times
        numbers = self.numbers(unpacked.segment, unpacked.first_row, times)
        done = 0
        for rows, names in unpacked.groups:
            part = slice(done, done + len(rows))
            self._group(rows, unpacked.predictions[part], names, times[part], numbers[part], added)
            done += len(rows)
        self.rows += done

    def numbers(self, segment: int, first_row: int, times: Floats) -> Ints:
        """Which bucket each of some rows of a segment is in, which follow each other."""
        rows = np.arange(first_row, first_row + len(times), dtype=np.int64)
        return self.numbers_at(segment, rows, times)

    def numbers_at(self, segment: int, rows: Ints, times: Floats) -> Ints:
        """Which bucket some rows of a segment are in."""
        start = self.starts.setdefault(segment, self.rows)
        if self._cut.rows:
            return (rows + start) // self._cut.rows
        return np.floor(times / self._cut.bucket_seconds).astype(np.int64)

    def bucket(self, number: int) -> str:
        """A bucket's name."""
        return self._cut.bucket(number)

    def _group(
        self,
        rows: list[Any],
        predictions: list[Any],
        names: tuple[str, ...],
        times: Floats,
        numbers: Ints,
        added: Added,
    ) -> None:
        if not rows:
            return
        if int(numbers.min()) == int(numbers.max()):
            self._bucket(rows, predictions, names, times, int(numbers[0]), added)
            return
        order = np.argsort(numbers, kind="stable")
        numbers, times = numbers[order], times[order]
        rows = [rows[place] for place in order]
        predictions = [predictions[place] for place in order]
        edges = np.flatnonzero(np.diff(numbers)) + 1
        for start, end in zip([0, *edges], [*edges, len(rows)], strict=True):
            part = slice(start, end)
            self._bucket(rows[part], predictions[part], names, times[part], int(numbers[start]), added)

    def _bucket(
        self,
        rows: list[Any],
        predictions: list[Any],
        names: tuple[str, ...],
        times: Floats,
        number: int,
        added: Added,
    ) -> None:
        counts = self._counter.count_rows(rows, names) if names else self._counter.count({}, len(rows))
        held = Bucket(
            rows=len(rows),
            columns=counts,
            predicted=self._counter.predicted(self.answers.scores(predictions)),
            first=float(times.min()),
            last=float(times.max()),
        )
        added.bucket(self._endpoint, self._revision, self._cut.bucket(number), held)
