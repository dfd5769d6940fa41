"""How event time is cut: buckets, in which rows are counted, and windows, which are judged.

A bucket is a day in UTC (``2013-04-09``), an hour where windows are shorter than days or no whole number
of them (``2013-04-09T13``), or so many rows (``#000012``). Windows of a week are counted from 1 January of
their year, so that they are the same for whoever looks; the days left over at its end belong to the last
one. Other windows are counted from the epoch.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping

import msgspec

from mlinfra_lab.schema.monitoring import Range
from mlinfra_lab.settings import parse_span

DAY, HOUR = 86400, 3600
WEEK = 7 * DAY
_YEAR = 365 * DAY
_FEW = 0.01
"""Share of all rows below which those from long before the others are not believed, see `believed`."""
_RANGES: dict[Range, int] = {"day": DAY, "week": WEEK, "month": 30 * DAY}


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of event time that is judged as one; ``buckets`` are those that were counted in it."""

    start: float
    end: float
    buckets: tuple[str, ...]


class Cut(msgspec.Struct, frozen=True):
    """How an endpoint's rows are cut.

    Attributes
    ----------
    seconds
        Length of a window of event time.
    rows
        Length of a window in rows, where it is cut by count.
    """

    seconds: int = 0
    rows: int = 0

    @property
    def bucket_seconds(self) -> int:
        """Length of a bucket; 0 where rows are counted."""
        if self.rows:
            return 0
        return HOUR if self.seconds % DAY else DAY

    @property
    def text(self) -> str:
        """``week``, ``day``, ``12 hours``, ``500 rows``."""
        if self.rows:
            return f"{self.rows:,} rows"
        for name, length in (("week", WEEK), ("day", DAY), ("hour", HOUR)):
            if self.seconds % length == 0:
                many = self.seconds // length
                return name if many == 1 else f"{many} {name}s"
        return f"{self.seconds} s"

    def bucket(self, number: int) -> str:
        """Name of a bucket by its number: whole bucket lengths since the epoch, or since the first row."""
        if self.rows:
            return f"#{number:06d}"
        start = dt.datetime.fromtimestamp(number * self.bucket_seconds, dt.UTC)
        return start.isoformat()[: len("2013-04-09" if self.bucket_seconds == DAY else "2013-04-09T13")]

    def holds(self, bucket: str) -> bool:
        """Whether a bucket was cut this way; the setting can have been changed since."""
        if self.rows:
            return bucket.startswith("#")
        return not bucket.startswith("#") and (("T" in bucket) or self.bucket_seconds == DAY)

    def span(self, at: float) -> tuple[float, float]:
        """Start and end of the window of event time that a moment lies in."""
        if self.seconds != WEEK:
            start = at // self.seconds * self.seconds
            return start, start + self.seconds
        year = dt.datetime.fromtimestamp(at, dt.UTC).year
        first = dt.datetime(year, 1, 1, tzinfo=dt.UTC).timestamp()
        following = dt.datetime(year + 1, 1, 1, tzinfo=dt.UTC).timestamp()
        start = first + min((at - first) // WEEK, 51) * WEEK
        end = start + WEEK
        return start, following if following - end < WEEK else end

    def windows(self, buckets: Mapping[str, tuple[float, float]]) -> list[Window]:
        """The windows of some buckets, in order of event time.

        Parameters
        ----------
        buckets
            Event times of the earliest and the latest row by bucket.
        """
        held = sorted(name for name in buckets if self.holds(name))
        if self.rows:
            found = [Window(start=buckets[one][0], end=buckets[one][1], buckets=(one,)) for one in held]
            return sorted(found, key=lambda window: window.start)
        by_span: dict[tuple[float, float], list[str]] = {}
        for name in held:
            by_span.setdefault(self.span(start_of(name)), []).append(name)
        return [
            Window(start=start, end=end, buckets=tuple(names))
            for (start, end), names in sorted(by_span.items())
        ]


def cut_of(window: int | str) -> Cut:
    """The cut that the setting ``window`` asks for; it was checked when it was read."""
    return Cut(rows=window) if isinstance(window, int) else Cut(seconds=int(parse_span(window)))


def start_of(bucket: str) -> float:
    """Start of a bucket of event time, in seconds since the epoch."""
    form = "%Y-%m-%dT%H" if "T" in bucket else "%Y-%m-%d"
    return dt.datetime.strptime(bucket, form).replace(tzinfo=dt.UTC).timestamp()


def start_of_range(newest: float, range: Range) -> float | None:
    """Where a page's range begins that ends with the newest row; ``None`` for all of it."""
    if range == "all":
        return None
    return (newest - _RANGES[range]) // HOUR * HOUR


def newest(spans: Iterable[tuple[float, float]], clock: float) -> float | None:
    """The newest event time that can be believed.

    A row from the future (a clock that jumped, a wrong unit) is counted where it says it belongs, but it
    ends no window: else everything until then would be judged as if it were whole.
    """
    return max((last for _, last in spans if last <= clock + DAY), default=None)


def believed(spans: Iterable[tuple[float, float, int]]) -> float | None:
    """Where the event times begin that can be believed; ``None`` when that is with the earliest.

    Rows that say 1970 (a time that is 0, a wrong unit) are counted where they say they belong, but would
    stretch the page over half a century: fewer than one in a hundred rows, which end more than a year before
    the next one begins, are left out of what is drawn.

    Parameters
    ----------
    spans
        Event times of the earliest and the latest row, and how many rows, by bucket.
    """
    ordered = sorted(spans)
    total = sum(rows for _, _, rows in ordered)
    begin, before, end = None, 0, -math.inf
    for first, last, rows in ordered:
        if before and before < _FEW * total and first - end > _YEAR:
            begin = first
        before += rows
        end = max(end, last)
    return begin
