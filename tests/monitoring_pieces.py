"""Pieces of an endpoint's view: the flights of the pictures, drawn from seeds."""

from __future__ import annotations

import datetime as dt
import math
import random
from typing import Any

from mlinfra_lab.schema.monitoring import (
    Chart,
    DriftRow,
    Recent,
    Series,
    Span,
    Tile,
)

UTC = dt.UTC
NOW = dt.datetime(2026, 11, 22, 18, 42, 7, tzinfo=UTC)
FIRST = dt.datetime(2013, 3, 1, tzinfo=UTC)
WEEK = dt.timedelta(days=7)
DAY = dt.timedelta(days=1)

PREDICTION = [
    0.01,
    0.02,
    0.01,
    0.01,
    0.18,
    0.27,
    0.33,
    0.57,
    0.66,
    1.2,
    0.42,
    0.69,
    0.41,
    1.3,
    0.79,
    1.1,
    2.1,
    1.5,
    2.3,
    0.16,
    0.07,
    0.13,
]
LOSSES = [
    0.45,
    0.52,
    0.52,
    0.57,
    0.37,
    0.44,
    0.6,
    0.75,
    0.71,
    0.39,
    0.56,
    0.48,
    0.63,
    0.56,
    0.52,
    0.71,
    0.66,
    1.06,
    0.72,
]
FEATURES: dict[str, tuple[float, float]] = {
    "temp": (2.0, 5.7),
    "dewp": (1.8, 4.4),
    "pressure": (1.6, 1.6),
    "humid": (0.7, 0.6),
    "wind_speed": (0.3, 0.3),
    "visib": (0.12, 0.3),
    "precip": (0.01, 0.01),
    "sched": (0.02, 0.01),
    "built": (0.01, 0.02),
    "distance": (0.01, 0.01),
    "seats": (0.01, 0.01),
    "dest": (0.03, 0.02),
    "carrier": (0.02, 0.03),
    "origin": (0.01, 0.01),
}
CATEGORIES = {
    "dest": ("ORD", "ATL", "LAX", "BOS", "MCO", "CLT", "SFO", "FLL", "MIA", "DCA"),
    "carrier": ("UA", "B6", "EV", "DL", "AA", "MQ", "US", "9E", "WN"),
    "origin": ("EWR", "JFK", "LGA"),
}


def at(month: int, day: int) -> dt.datetime:
    return dt.datetime(2013, month, day, tzinfo=UTC)


def windows(end: dt.datetime, promoted: dt.datetime | None = None) -> list[Span]:
    """Weeks counted from 1 January; the first one has begun before the traffic."""
    start = at(2, 26)
    spans = []
    while start < end:
        revision = 2 if promoted and start >= promoted else 1
        spans.append(Span(start=start, end=start + WEEK, rows=6_400, revision=revision))
        start += WEEK
    return spans


def bell(centre: float, wide: float, edges: list[float]) -> list[int]:
    """6,400 rows counted into cells; nothing is missing."""
    below = [0.5 * (1 + math.erf((edge - centre) / (wide * math.sqrt(2)))) for edge in edges]
    shares = [b - a for a, b in zip([0.0, *below], [*below, 1.0], strict=True)]
    return [*(round(6_400 * share) for share in shares), 0]


def feature(name: str, spans: list[Span], rng: random.Random) -> DriftRow:
    early, late = FEATURES[name]
    calm = early < 0.1
    values: list[float | None] = [
        round((early + (late - early) * min(max(index - 3, 0) / 5, 1)) * rng.uniform(0.4, 1.5), 3)
        for index in range(len(spans))
    ]
    share = {"temp": 0.52, "dewp": 0.23, "pressure": 0.09, "sched": 0.05, "humid": 0.04}.get(name, 0.005)
    if name in CATEGORIES:
        labels: tuple[Any, ...] = CATEGORIES[name]
        weights = [1 / (index + 1.5) for index in range(len(labels))]
        base = [round(6_400 * weight / sum(weights)) for weight in weights] + [20, 0]
        counts = [tuple(max(round(n * rng.uniform(0.9, 1.1)), 0) for n in base) for _ in spans]
    else:
        edges = [14 + 3.5 * index for index in range(1, 24)]
        labels = tuple(edges)
        base = bell(38, 10, edges)
        counts = [
            tuple(bell(38 + min(index, 12) * (late if not calm else 0), 8, edges))
            for index in range(len(spans))
        ]
    total = sum(base)
    shares = tuple(n / total for n in base)
    return DriftRow(
        name=name,
        kind="category" if name in CATEGORIES else "number",
        metric="PSI",
        values=tuple(values),
        drifted=tuple(value is not None and value > 0.1 for value in values),
        calm=calm,
        labels={"1": labels, "2": labels},
        baseline={"1": shares, "2": shares},
        counts=tuple(counts),
        shares=tuple(share * rng.uniform(0.97, 1.03) if index != 6 else share for index in range(len(spans))),
    )


def prediction(spans: list[Span]) -> DriftRow:
    edges = [0.05 * index for index in range(1, 20)]
    base = bell(0.24, 0.13, edges)
    shares = tuple(n / sum(base) for n in base)
    values = tuple(PREDICTION[: len(spans)])
    counts = tuple(tuple(bell(0.24 - 0.06 * min(value, 2), 0.1, edges)) for value in values)
    return DriftRow(
        name="prediction",
        kind="number",
        metric="PSI",
        values=values,
        drifted=tuple(value > 0.1 for value in values),
        labels={"1": tuple(edges), "2": tuple(edges)},
        baseline={"1": shares, "2": shares},
        counts=counts,
    )


def traffic(end: dt.datetime, story: bool, rng: random.Random) -> Chart:
    times = tuple(FIRST + DAY * index for index in range((end - FIRST).days))
    one, two, three = [], [], []
    for time in times:
        rows = round((760 if time.weekday() == 5 else 975) * rng.uniform(0.98, 1.015))
        late = 0.0
        if story and time >= at(7, 2):
            late = 1.0 if time >= at(7, 9) else 0.2 if time < at(7, 5) else 0.5
        bad = 200 if story and time == at(7, 23) else 0
        two.append(round((rows - bad) * late))
        one.append(rows - bad - two[-1])
        three.append(bad)
    series = [
        Series(revision=1, label="v1", tone="older", values=tuple(one)),
        Series(revision=2, label="v2", tone="now", values=tuple(two)),
        Series(revision=3, label="v3", tone="failed", values=tuple(three)),
    ]
    return Chart(times=times, step=86_400, series=tuple(series if story else series[:1]), unit="predictions")


def quality(spans: list[Span], story: bool) -> Chart:
    n = len(spans)
    first: list[float | None] = [*LOSSES[:n], *([None] * (n - len(LOSSES)))]
    series = [Series(revision=1, label="v1", tone="older", values=tuple(first), estimated=tuple([False] * n))]
    if not story:
        first[n - 1] = 0.70
        estimated = tuple(index == n - 1 for index in range(n))
        series = [Series(revision=1, label="v1", tone="older", values=tuple(first), estimated=estimated)]
    else:
        second: list[float | None] = [None] * (n - 4) + [0.54, 0.57, 0.55, 0.60]
        third: list[float | None] = [None] * (n - 1) + [1.0]
        estimated = tuple(index == n - 1 for index in range(n))
        series += [
            Series(revision=2, label="v2", tone="now", values=tuple(second), estimated=estimated),
            Series(revision=3, label="v3", tone="failed", values=tuple(third), estimated=tuple([False] * n)),
        ]
    return Chart(
        times=tuple(span.start for span in spans),
        step=7 * 86_400,
        series=tuple(series),
        unit="log loss",
        better="lower",
        limit=0.64 if story else 0.625,
        held_out=0.51 if story else 0.5,
    )


def recent(label: str, n: int = 30) -> tuple[Recent, ...]:
    rows = [
        ("B6", "JFK", "PWM", "17:16", 75.9, 0.37),
        ("UA", "EWR", "MCO", "15:05", 79.0, 0.24),
        ("DL", "JFK", "SJU", "06:55", 71.1, 0.10),
        ("DL", "JFK", "SAN", "08:25", 73.4, 0.10),
        ("EV", "EWR", "CVG", "17:15", 77.0, 0.50),
        ("US", "EWR", "PHX", "06:55", 71.1, 0.12),
    ]
    revision = int(label[1:])
    return tuple(
        Recent(
            id=f"delay.{revision}.5b.{0x2A41 - 7 * index:05x}",
            at=NOW - dt.timedelta(seconds=3 + 4 * index),
            event_time=at(7, 28) - dt.timedelta(minutes=index),
            row=dict(zip(("carrier", "origin", "dest", "sched", "temp"), rows[index % 6][:5], strict=True)),
            prediction=[1 - rows[index % 6][5], rows[index % 6][5]],
            score=rows[index % 6][5],
            label=label,
            truth=None if index < 2 else ("late" if index % 2 == 0 else "in time"),
            latency=0.0016 + 0.0001 * index,
        )
        for index in range(n)
    )


def spark(base: float, noise: float, rng: random.Random, n: int = 60) -> tuple[float, ...]:
    return tuple(base + rng.uniform(-noise, noise) for _ in range(n))


def tiles(story: bool, rng: random.Random) -> tuple[Tile, ...]:
    drift = PREDICTION if story else PREDICTION[:8]
    errors = tuple(0.02 if index == 42 and story else 0.0 for index in range(60))
    return (
        Tile(
            id="requests",
            title="Requests/s",
            value=42,
            unit="",
            note="now; 61 at most",
            spark=spark(42, 4, rng),
        ),
        Tile(
            id="latency",
            title="p95",
            value=2.1,
            unit="ms",
            rule="under 50 ms",
            note="half under 0.9 ms",
            spark=spark(2.1, 0.25, rng),
            limit=50,
        ),
        Tile(
            id="errors",
            title="Errors",
            value=0.0,
            unit="%",
            rule="under 1 %",
            note="2 of 140,112, both in v3" if story else "0 of 44,911",
            spark=errors,
            limit=1,
        ),
        Tile(
            id="drift",
            title="Prediction drift",
            value=drift[-1],
            unit="PSI",
            rule="under 0.25",
            broken=not story,
            note=f"{6 if story else 5} of 14 features drifted",
            spark=tuple(drift),
            limit=0.25,
        ),
    )
