"""The drift map: the prediction, which alarms, and the features, which explain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlinfra_lab.monitoring import drift, explain, rules
from mlinfra_lab.monitoring.seen import Seen, moment
from mlinfra_lab.monitoring.store import Bucket
from mlinfra_lab.monitoring.windows import Window
from mlinfra_lab.schema.monitoring import Baseline, Cells, Counts, DriftMap, DriftRow, Span

_CALM = 0.1
"""PSI that a feature stayed below to be called calm all along: Siddiqi's “no change”."""


class Column:
    """One window of the map: the revision that answered most in it, and what it was asked.

    Attributes
    ----------
    held
        Its rows; ``None`` in place of the figures where they are too few to say anything.
    """

    def __init__(self, seen: Seen, window: Window, revision: int, held: Bucket) -> None:
        self.window, self.revision, self.held = window, revision, held
        self.baseline: Baseline = seen.baselines[revision]
        least = seen.settings.least
        self.prediction = rules.drift_of(self.baseline, held, least)
        self.drifts: list[drift.Drift | None] = [
            drift.drift(cells, base, counts, least=least)
            for cells, base, counts in zip(
                self.baseline.columns, self.baseline.counts, held.columns, strict=True
            )
        ]
        self.drifted = drift.drifted(self.drifts)
        self.shares = explain.shares(self.baseline, held.columns) if held.rows >= least else None
        self.places = {cells.name: place for place, cells in enumerate(self.baseline.columns)}

    @property
    def drifting(self) -> int:
        """How many features drifted."""
        return sum(self.drifted)


def columns_of(seen: Seen) -> list[Column]:
    """The windows of the map, in order; one whose revision has no baseline yet is left out."""
    best: dict[tuple[float, float], tuple[Window, int, Bucket]] = {}
    for number in seen.buckets:
        if number not in seen.baselines:
            continue
        for window in seen.windows_of(number):
            held = seen.held(number, window)
            key = (window.start, window.end)
            if held is not None and (key not in best or held.rows > best[key][2].rows):
                best[key] = (window, number, held)
    return [Column(seen, *one) for _, one in sorted(best.items())]


def drift_map(seen: Seen, columns: Sequence[Column]) -> DriftMap:
    """The map of some windows."""
    spans = tuple(
        Span(
            start=moment(one.window.start),
            end=moment(one.window.end),
            rows=one.held.rows,
            revision=one.revision,
        )
        for one in columns
    )
    names = list(dict.fromkeys(name for one in columns for name in one.places))
    features = [_feature(name, columns) for name in names]
    features.sort(key=lambda row: (row.calm, -_height(row)))
    settings = seen.settings
    return DriftMap(
        windows=spans,
        prediction=_prediction(seen, columns),
        features=tuple(features),
        limit=settings.prediction_drift,
        running=settings.running,
    )


def _height(row: DriftRow) -> float:
    known = [value for value in row.values if value is not None]
    return sum(known) / len(known) if known else 0.0


def _feature(name: str, columns: Sequence[Column]) -> DriftRow:
    values: list[float | None] = []
    drifted: list[bool] = []
    counts: list[tuple[int, ...]] = []
    shares: list[float | None] = []
    labels: dict[str, tuple[Any, ...]] = {}
    baseline: dict[str, tuple[float, ...]] = {}
    kind = "number"
    for one in columns:
        place = one.places.get(name)
        if place is None:
            values.append(None)
            drifted.append(False)
            counts.append(())
            shares.append(None)
            continue
        found = one.drifts[place]
        values.append(None if found is None else found.value)
        drifted.append(one.drifted[place])
        counts.append(_cells(one.held.columns[place]))
        shares.append(None if one.shares is None else one.shares[place])
        key = str(one.revision)
        cells = one.baseline.columns[place]
        kind = cells.kind
        labels[key], baseline[key] = _labels(cells), _share(one.baseline.counts[place])
    return DriftRow(
        name=name,
        kind="category" if kind == "category" else "number",
        metric="psi",
        values=tuple(values),
        drifted=tuple(drifted),
        calm=all(value is None or value < _CALM for value in values),
        labels=labels,
        baseline=baseline,
        counts=tuple(counts),
        shares=tuple(shares),
    )


def _prediction(seen: Seen, columns: Sequence[Column]) -> DriftRow | None:
    if not columns:
        return None
    limit = seen.settings.prediction_drift
    last = columns[-1].baseline.prediction
    values = tuple(None if one.prediction is None else one.prediction.value for one in columns)
    return DriftRow(
        name="prediction",
        kind=last.kind,
        metric="psi",
        values=values,
        drifted=tuple(value is not None and value > limit for value in values),
        labels={str(one.revision): _labels(one.baseline.prediction) for one in columns},
        baseline={str(one.revision): _share(one.baseline.predicted) for one in columns},
        counts=tuple(_cells(one.held.predicted) for one in columns),
    )


def _labels(cells: Cells) -> tuple[Any, ...]:
    return cells.edges if cells.kind == "number" else cells.categories


def _cells(counts: Counts) -> tuple[int, ...]:
    return (*counts.cells, counts.missing)


def _share(counts: Counts) -> tuple[float, ...]:
    rows = sum(counts.cells) + counts.missing
    return tuple(one / rows if rows else 0.0 for one in _cells(counts))
