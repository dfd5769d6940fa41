"""Everything one look at an endpoint reads, put in order for the page and the rules."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mlinfra_lab.counters import Counts as Traffic
from mlinfra_lab.monitoring import store, windows
from mlinfra_lab.monitoring.store import Bucket, Sums
from mlinfra_lab.monitoring.windows import Cut, Window
from mlinfra_lab.schema.endpoints import HistoryEntry, Revision
from mlinfra_lab.schema.monitoring import Alert, Baseline, Counts, Range
from mlinfra_lab.settings import EndpointSettings

if TYPE_CHECKING:
    from sqlalchemy import Connection


def together(held: Sequence[Bucket]) -> Bucket:
    """Several buckets of one revision as one."""
    first, *rest = held
    if not rest:
        return first
    return Bucket(
        rows=sum(one.rows for one in held),
        columns=[_sum(column) for column in zip(*(one.columns for one in held), strict=True)],
        predicted=_sum([one.predicted for one in held]),
        first=min(one.first for one in held),
        last=max(one.last for one in held),
    )


def _sum(counts: Sequence[Counts]) -> Counts:
    sums = np.array([one.sums for one in counts]).sum(axis=0)
    return Counts(
        cells=tuple(np.array([one.cells for one in counts]).sum(axis=0).tolist()),
        missing=sum(one.missing for one in counts),
        sums=tuple(np.nan_to_num(sums).tolist()) if sums.ndim else (),
    )


class Seen:
    """An endpoint's sums at one moment.

    Parameters
    ----------
    range
        How far back from the newest row is looked.
    clock
        The present, seconds since the epoch.
    only
        A revision whose rows alone are read: for the rules.

    Attributes
    ----------
    number
        Revision of the change feed it was read at.
    since
        Start of the range, ``None`` where it begins with the earliest row; the window it lies in is there
        as a whole.
    """

    def __init__(
        self,
        connection: Connection,
        watched: store.Watched,
        settings: EndpointSettings,
        clock: float,
        range: Range = "all",
        only: int | None = None,
    ) -> None:
        name = watched.endpoint.name
        self.name = name
        self.endpoint = watched.endpoint
        self.revisions = watched.revisions
        self.rollout = watched.rollout
        self.settings = settings
        self.cut: Cut = windows.cut_of(settings.window)
        self.clock = clock
        self.number = store.changes(connection)
        everything = store.buckets_of(connection, name, only)
        self.rows = sum(one.rows for held in everything.values() for one in held.values())
        spans = [(one.first, one.last, one.rows) for held in everything.values() for one in held.values()]
        self.newest = windows.newest(((first, last) for first, last, _ in spans), clock)
        self.since = None if self.newest is None else windows.start_of_range(self.newest, range)
        if self.since is None and only is None:
            # Only what is drawn: the rules pass over windows that hold too little in any case.
            self.since = windows.believed(span for span in spans if span[0] <= clock + windows.DAY)
        since = self.since
        if since is not None and self.cut.seconds:
            since = self.cut.span(since)[0]
        self.buckets = {
            number: {
                key: one
                for key, one in held.items()
                if one.first <= clock + windows.DAY and (since is None or one.last >= since)
            }
            for number, held in everything.items()
        }
        self.quality = store.quality_of(connection, name, only)
        yesterday = moment(clock - windows.DAY)
        self.minutes: dict[tuple[int, dt.datetime], Traffic] = {}
        self.traffic: dict[int, Traffic] = {}
        self.history: list[HistoryEntry] = []
        if only is None:
            self.minutes, self.traffic = store.traffic_of(connection, name, yesterday)
            self.history = store.history_of(connection, name)
        self.alerts: list[Alert] = store.alerts_of(connection, name)
        numbers = {*everything, watched.endpoint.serving, watched.endpoint.wanted} - {None}
        found = ((number, store.baseline_of(connection, name, number)) for number in numbers if number)
        self.baselines: dict[int, Baseline] = {number: one for number, one in found if one is not None}

    @property
    def clocked(self) -> bool:
        """Whether rows are of the present, so that event time is the clock's."""
        return self.newest is not None and abs(self.clock - self.newest) < windows.DAY

    def is_whole(self, window: Window, rows: int) -> bool:
        """Whether a window is over: a later row came, or, where rows follow the clock, time went by."""
        if self.newest is None:
            return False
        if self.cut.rows:
            return rows >= self.cut.rows
        return self.newest >= window.end or (self.clocked and self.clock >= window.end)

    def windows_of(self, number: int) -> list[Window]:
        """The windows in which a revision answered, whatever else did."""
        held = self.buckets.get(number, {})
        return self.cut.windows({name: (one.first, one.last) for name, one in held.items()})

    def held(self, number: int, window: Window) -> Bucket | None:
        """A revision's rows in a window; ``None`` when it answered nothing in it."""
        found = [one for name in window.buckets if (one := self.buckets.get(number, {}).get(name))]
        return together(found) if found else None

    def sums(self, number: int, buckets: Iterable[str], column: str = "", value: str = "") -> Sums:
        """What is known of a revision's quality in some buckets."""
        total: Sums = {}
        for name in buckets:
            if (more := self.quality.get((number, name, column, value))) is not None:
                total = store.plus(total, more)
        return total

    @cached_property
    def labels(self) -> dict[int, str]:
        """What a revision is called: ``v2``, by its model's version."""
        serving = self.revisions.get(self.endpoint.serving or self.endpoint.wanted)
        plain = {number: _label(one, serving) for number, one in self.revisions.items()}
        shown = [plain[number] for number in self.buckets if number in plain]
        return {
            number: f"{label} (r{number})" if shown.count(label) > 1 else label
            for number, label in plain.items()
        }

    def label(self, number: int) -> str:
        """See `labels`."""
        return self.labels.get(number, f"r{number}")


def _label(revision: Revision, serving: Revision | None) -> str:
    version = f"v{revision.version}"
    return version if serving is None or serving.model == revision.model else f"{revision.model} {version}"


def moment(seconds: float) -> dt.datetime:
    """A moment from seconds since the epoch."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
