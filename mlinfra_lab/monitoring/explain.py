"""Which features explain that the prediction moved."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlinfra_lab.monitoring.drift import jensen_shannon
from mlinfra_lab.schema.monitoring import Baseline, Counts

__all__ = ["moves", "shares", "top"]


def moves(baseline: Baseline, counts: Sequence[Counts]) -> list[float | None]:
    """By how much each feature's own change should have moved the mean prediction.

    ``sum((q - p) * effect)`` over a feature's cells: ``p`` and ``q`` are the shares of the baseline's and
    of the window's rows in a cell, and ``effect`` is the mean prediction of the baseline's rows there. It
    is the composition part of a Oaxaca-Blinder decomposition (Oaxaca 1973, Blinder 1973; Kitagawa,
    "Components of a difference between two rates", 1955), taken for one feature at a time.

    Parameters
    ----------
    counts
        Of a window, one for each of the baseline's columns.

    Returns
    -------
    list of float or None
        In the prediction's unit; ``None`` where the baseline has no effects or one side no rows.

    Notes
    -----
    What is assumed: rows of one cell are predicted alike whatever else has changed, and features change
    apart from each other. Where two go together (warm days are humid days) both get the move, so that the
    parts do not add up to the whole and `shares` are to be read as an order, not as a sum. A cell without an
    effect, because the baseline had no row in it, is taken to be predicted like the nearest one that has
    (a number), or like the mean (a category, or a missing value).
    """
    found: list[float | None] = []
    for cells, effects, base, window in zip(
        baseline.columns, baseline.effects, baseline.counts, counts, strict=True
    ):
        p = np.array([*base.cells, base.missing], dtype=np.float64)
        q = np.array([*window.cells, window.missing], dtype=np.float64)
        known = np.array([effect is not None for effect in effects], dtype=bool)
        if not p.sum() or not q.sum() or not (known & (p > 0)).any():
            found.append(None)
            continue
        effect = np.array([0.0 if value is None else value for value in effects])
        effect[~known] = np.sum(p[known] * effect[known]) / p[known].sum()
        if cells.kind == "number" and known[:-1].any():
            places = np.flatnonzero(known[:-1])
            for place in np.flatnonzero(~known[:-1]):
                effect[place] = effect[places[np.argmin(np.abs(places - place))]]
        found.append(float((q / q.sum() - p / p.sum()) @ effect))
    return found


def shares(baseline: Baseline, counts: Sequence[Counts]) -> list[float]:
    """How much of the prediction's move each feature explains, 0 … 1, together 1.

    The sizes of the `moves`, divided by their sum. Where the baseline has no effects (a model that names
    classes and gives no number) they are the Jensen-Shannon distances instead: how far each feature is
    from the baseline, whether it matters or not. All 0 when nothing moved.
    """
    known = moves(baseline, counts)
    if all(move is None for move in known):
        sizes = [jensen_shannon(base, window) for base, window in zip(baseline.counts, counts, strict=True)]
    else:
        sizes = [abs(move) if move is not None else 0.0 for move in known]
    whole = sum(sizes)
    return [size / whole for size in sizes] if whole > 0 else [0.0] * len(sizes)


def top(baseline: Baseline, counts: Sequence[Counts], most: int = 5) -> list[tuple[str, float]]:
    """The features that explain most, with their shares, largest first; none that explains nothing."""
    named = zip((cells.name for cells in baseline.columns), shares(baseline, counts), strict=True)
    return sorted((pair for pair in named if pair[1] > 0), key=lambda pair: (-pair[1], pair[0]))[:most]
