"""What the front has counted: requests, errors and latencies by revision.

Each second the front writes its counters, beside and renamed, to ``run/front-stats.json``. They are
cumulative since that front began: whoever adds them up goes by the launch's token, and begins at 0 with a
new one.
"""

from __future__ import annotations

import bisect
import math
from pathlib import Path

import msgspec

__all__ = ["FILE", "LATENCY_EDGES", "Counts", "FrontStats", "Sides", "above", "quantile", "read", "write"]

FILE = "front-stats.json"
"""In the folder ``run`` of the project's state."""
LATENCY_EDGES: tuple[float, ...] = tuple(1e-4 * 2 ** (k / 2) for k in range(40))
"""Seconds, from 0.1 ms in steps of √2 to beyond a minute; cell ``i`` holds ``edges[i-1] <= x < edges[i]``."""


class Counts(msgspec.Struct):
    """What one revision was asked and how it answered; two are merged by adding.

    Attributes
    ----------
    requests
        All that it got: answered, refused and failed.
    rows
        Rows that were answered.
    refused, failed
        Requests that were answered 4xx and 5xx.
    uncaptured
        Rows that were answered but could not be kept.
    latency
        Answered requests by cell of `LATENCY_EDGES`, the last one open.
    """

    requests: int = 0
    rows: int = 0
    refused: int = 0
    failed: int = 0
    uncaptured: int = 0
    latency: list[int] = msgspec.field(default_factory=lambda: [0] * (len(LATENCY_EDGES) + 1))

    def answered(self, rows: int, seconds: float) -> None:
        """Count a request that was answered."""
        self.requests += 1
        self.rows += rows
        self.latency[bisect.bisect_right(LATENCY_EDGES, seconds)] += 1

    def __add__(self, other: Counts) -> Counts:
        return self._with(other, 1)

    def __sub__(self, other: Counts) -> Counts:
        return self._with(other, -1)

    def _with(self, other: Counts, sign: int) -> Counts:
        return Counts(
            self.requests + sign * other.requests,
            self.rows + sign * other.rows,
            self.refused + sign * other.refused,
            self.failed + sign * other.failed,
            self.uncaptured + sign * other.uncaptured,
            [mine + sign * theirs for mine, theirs in zip(self.latency, other.latency, strict=True)],
        )


class Sides(msgspec.Struct):
    """A rollout's two sides, counted since this front first sent the candidate anything."""

    candidate: Counts = msgspec.field(default_factory=Counts)
    stable: Counts = msgspec.field(default_factory=Counts)

    def __add__(self, other: Sides) -> Sides:
        return Sides(self.candidate + other.candidate, self.stable + other.stable)

    def __sub__(self, other: Sides) -> Sides:
        return Sides(self.candidate - other.candidate, self.stable - other.stable)


class FrontStats(msgspec.Struct):
    """The file's content.

    Attributes
    ----------
    token
        The front's launch.
    at
        Seconds since the epoch.
    targets
        By revision, ``NAME.NUMBER``.
    rollouts
        By a rollout's id.
    """

    token: str
    at: float
    targets: dict[str, Counts]
    rollouts: dict[str, Sides] = {}


def quantile(latency: list[int], share: float) -> float | None:
    """Seconds within which such a share of the requests was answered; ``None`` without any.

    Within a cell it is interpolated, evenly in the logarithm as the cells themselves are made.
    """
    total = sum(latency)
    if not total:
        return None
    before, wanted = 0, share * total
    for cell, count in enumerate(latency):
        if count and before + count >= wanted:
            low = LATENCY_EDGES[cell - 1] if cell else LATENCY_EDGES[0] / 2
            high = LATENCY_EDGES[cell] if cell < len(LATENCY_EDGES) else low
            return float(low * (high / low) ** ((wanted - before) / count))
        before += count
    return LATENCY_EDGES[-1]


def above(latency: list[int], seconds: float) -> int:
    """How many requests took longer; within a cell reckoned as `quantile` does."""
    cell = bisect.bisect_left(LATENCY_EDGES, seconds)
    over = sum(latency[cell + 1 :])
    if 0 < cell < len(LATENCY_EDGES):
        low, high = LATENCY_EDGES[cell - 1], LATENCY_EDGES[cell]
        over += int(latency[cell] * math.log(high / seconds) / math.log(high / low))
    return over


def write(state: Path, stats: FrontStats) -> None:
    """Put the file in place, whole."""
    path = state / "run" / FILE
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(stats))
    fresh.replace(path)


def read(state: Path) -> FrontStats | None:
    """What the front wrote last; ``None`` before it ever did."""
    try:
        return msgspec.json.decode((state / "run" / FILE).read_bytes(), type=FrontStats)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
