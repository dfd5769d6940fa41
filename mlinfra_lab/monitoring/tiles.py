"""The four figures on top of the page."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from mlinfra_lab import humane
from mlinfra_lab.counters import Counts, quantile
from mlinfra_lab.monitoring.heat import Column
from mlinfra_lab.monitoring.seen import Seen
from mlinfra_lab.schema.monitoring import Tile

_MINUTES = 60
"""How many minutes a sparkline goes back, those without traffic left out of latency's."""
_NOW = 120.0
"""Seconds that “now” is told from: the present minute alone is too short to say anything."""


def tiles(seen: Seen, columns: Sequence[Column]) -> tuple[Tile, ...]:
    """Requests, latency, errors and the prediction's drift."""
    minutes: dict[dt.datetime, Counts] = {}
    for (_, minute), one in seen.minutes.items():
        minutes[minute] = minutes[minute] + one if minute in minutes else one
    return (_requests(seen, minutes), _latency(minutes), _errors(seen, minutes), _drift(seen, columns))


def _requests(seen: Seen, minutes: dict[dt.datetime, Counts]) -> Tile:
    present = dt.datetime.fromtimestamp(seen.clock // 60 * 60, dt.UTC)
    spark = [
        minutes[at].requests / 60 if (at := present - dt.timedelta(minutes=back)) in minutes else 0.0
        for back in range(_MINUTES, 0, -1)
    ]
    since = present - dt.timedelta(seconds=60)
    recent = sum(one.requests for minute, one in minutes.items() if minute >= since)
    # The minute before, whole, and so much of this one as has passed.
    value = recent / (60 + seen.clock % 60)
    most = max((one.requests / 60 for one in minutes.values()), default=0.0)
    note = f"now; {humane.number(round(most, 1))} at most" if minutes else ""
    return Tile(
        id="requests", title="Requests/s", value=value if minutes else None, unit="", note=note,
        spark=tuple(spark) if minutes else (),
    )  # fmt: skip


def _latency(minutes: dict[dt.datetime, Counts]) -> Tile:
    last = sorted(minutes)[-_MINUTES:]
    newest = last[-5:]
    together: list[int] = []
    for at in newest:
        cells = minutes[at].latency
        together = [a + b for a, b in zip(together, cells, strict=True)] if together else list(cells)
    half, p95 = quantile(together, 0.5), quantile(together, 0.95)
    return Tile(
        id="latency",
        title="p95",
        value=None if p95 is None else p95 * 1000,
        unit="ms",
        note="" if half is None else f"half under {humane.duration(half)}",
        spark=tuple(
            None if (found := quantile(minutes[at].latency, 0.95)) is None else found * 1000 for at in last
        ),
    )


def _errors(seen: Seen, minutes: dict[dt.datetime, Counts]) -> Tile:
    limit = seen.settings.gate_errors
    last = sorted(minutes)[-_MINUTES:]
    requests = sum(one.requests for one in seen.traffic.values())
    failed = sum(one.failed for one in seen.traffic.values())
    # A rule is about the present: errors of last week do not keep the tile red.
    asked = sum(minutes[at].requests for at in last[-5:])
    wrong = sum(minutes[at].failed for at in last[-5:])
    share = wrong / asked if asked else None
    by = {number for number, one in seen.traffic.items() if one.failed}
    whose = f", in {seen.label(min(by))}" if len(by) == 1 and len(seen.buckets) > 1 else ""
    return Tile(
        id="errors",
        title="Errors",
        value=None if share is None else 100 * share,
        unit="%",
        rule=f"under {100 * limit:g} %",
        broken=share is not None and wrong > 0 and share > limit and asked >= seen.settings.gate_requests,
        note=f"{failed:,} of {requests:,}{whose}" if requests else "",
        spark=tuple(
            100 * minutes[at].failed / minutes[at].requests if minutes[at].requests else None for at in last
        ),
        limit=100 * limit,
    )


def _drift(seen: Seen, columns: Sequence[Column]) -> Tile:
    limit = seen.settings.prediction_drift
    known = [one for one in columns if one.prediction is not None]
    last = known[-1] if known else None
    going = [
        one
        for one in seen.alerts
        if one.state != "closed" and "prediction_drift" in _rules(one.detail, one.rule)
    ]
    note = ""
    if last is not None:
        note = f"{last.drifting} of {humane.plural(len(last.drifts), 'feature')} drifted"
    return Tile(
        id="drift",
        title="Prediction drift",
        value=None if last is None or last.prediction is None else last.prediction.value,
        unit="PSI",
        rule=f"under {limit:g}",
        broken=bool(going) and going[0].revision == seen.endpoint.serving,
        note=note,
        spark=tuple(None if one.prediction is None else one.prediction.value for one in columns),
        limit=limit,
    )


def _rules(detail: dict[str, object], rule: str) -> set[str]:
    found = detail.get("rules")
    return {rule, *found} if isinstance(found, dict) else {rule}
