"""Runs side by side."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence

from mlinfra_lab.errors import NotFound
from mlinfra_lab.schema.runs import Difference, Run, RunComparison

# Words in a metric's name that mean that less is better.
_LESS = {
    "brier", "cost", "crossentropy", "deviance", "distance", "ece", "entropy", "err", "error", "errors",
    "fnr", "fpr", "latency", "logloss", "loss", "mae", "mape", "maxerror", "mse", "msle", "perplexity",
    "rmse", "rmsle", "rmspe", "seconds", "time", "wer",
}  # fmt: skip


def compare(runs: Sequence[Run], metric: str | None = None) -> RunComparison:
    """Line runs up by parameter, metric and tag.

    Parameters
    ----------
    metric
        Names the better run: the one with the smallest value when the metric's name speaks of a loss, an
        error, a distance or a time (`less_is_better`), else the one with the largest. Nobody is better
        where the best value is shared.

    Raises
    ------
    NotFound
        None of the runs has that metric.
    """
    if metric is not None:
        names = {name for run in runs for name in run.metrics}
        if metric not in names:
            near = difflib.get_close_matches(metric, names, n=1, cutoff=0.5)
            there = ", ".join(sorted(names)) or "none"
            raise NotFound(
                f"None of these runs has a metric “{metric}”.",
                f"Did you mean “{near[0]}”?" if near else f"Their metrics: {there}.",
            )
    return RunComparison(
        runs=tuple(runs),
        metrics=_differences(runs, lambda run: run.metrics),
        params=_differences(runs, lambda run: run.params),
        tags=_differences(runs, _told_tags),
        metric=metric,
        better=None if metric is None else _better(runs, metric),
    )


def less_is_better(metric: str) -> bool:
    """Whether a smaller value of a metric is the better one, judging by its name."""
    words = re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", metric).lower())
    return not _LESS.isdisjoint(words)


def _better(runs: Sequence[Run], metric: str) -> str | None:
    have = [run for run in runs if not math.isnan(run.metrics.get(metric, math.nan))]
    if not have:
        return None
    values = [run.metrics[metric] for run in have]
    best = min(values) if less_is_better(metric) else max(values)
    return have[values.index(best)].id if values.count(best) == 1 else None


def _told_tags(run: Run) -> dict[str, str]:
    # What MLflow notes for itself (user, source, version of the logged models' index) compares nothing.
    return {name: value for name, value in run.tags.items() if not name.startswith("mlflow.")}


def _differences(
    runs: Sequence[Run], part: Callable[[Run], Mapping[str, str | float]]
) -> tuple[Difference, ...]:
    names = sorted({name for run in runs for name in part(run)})
    lines = []
    for name in names:
        values = tuple(part(run).get(name) for run in runs)
        lines.append(
            Difference(name=name, values=values, differs=any(_unequal(values[0], v) for v in values))
        )
    return tuple(lines)


def _unequal(one: str | float | None, other: str | float | None) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return not math.isnan(other)
    return one != other
