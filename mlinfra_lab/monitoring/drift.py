"""How far a window's values are from the baseline's, told from counts over the same cells.

=================  ==========================================================================
population         Siddiqi, *Credit Risk Scorecards* (2006): sum of (q - p) ln(q / p). The symmetric
stability index    divergence of Jeffreys (1946) and of Kullback and Leibler (1951).
Jensen-Shannon     Lin, "Divergence measures based on the Shannon entropy" (1991); its root is a
distance           metric: Endres and Schindelin (2003). Base 2, so it lies in 0 … 1.
Kolmogorov-        Smirnov, "Table for estimating the goodness of fit of empirical distributions"
Smirnov            (1948): the largest distance of two distribution functions.
Wasserstein        Vallender, "Calculation of the Wasserstein distance between probability
                   distributions on the line" (1974): the area between two distribution functions.
chi-square         Pearson (1900); here the test whether two samples are of one distribution.
=================  ==========================================================================

**Defaults.** The figure is the PSI for numbers and categories alike: over quantile cells it means the same
for both, so that a map of features and the prediction has one scale (0.1 is a small change, 0.25 a large one:
Siddiqi). Whether it is more than chance is asked by type: Kolmogorov-Smirnov for numbers, which have an
order, chi-square for categories. A value that is missing is a cell of its own in PSI, Jensen-Shannon
distance and chi-square, and is left out of the two that need an order.

**Small windows.** Without any change the PSI of ``n`` rows beside a baseline of ``m`` is about
``(cells - 1) * (1 / n + 1 / m)``, see `expected`: with 12 cells 0.06 at 200 rows, so that 0.25 is out of
chance's reach. Below that a window says nothing, and should not be judged.

The tests take rows as independent. Rows of one window seldom are (weather is alike within a week), so in
practice they find small changes more often than their level says; that is why features explain and only
the prediction alarms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from mlinfra_lab.monitoring.cells import Floats
from mlinfra_lab.schema.monitoring import Cells, Counts

__all__ = [
    "LEVEL", "METRICS", "Drift", "Metric", "adjusted", "chi_square", "drift", "drifted", "expected",
    "jensen_shannon", "kolmogorov_smirnov", "psi", "wasserstein",
]  # fmt: skip

Metric: TypeAlias = Literal["psi", "jensen_shannon", "kolmogorov_smirnov", "wasserstein", "chi_square"]

LEVEL = 0.01
"""Share of false findings among the features that are called drifted, see `adjusted`."""

_FEWEST = 5.0  # expected rows below which chi-square's approximation does not hold (Cochran 1954)


class Drift(NamedTuple):
    """How far, by which metric, and how probable at least so much is without any change."""

    value: float
    metric: str
    p: float


def _shares(counts: Counts, missing: bool) -> tuple[Floats, int]:
    rows = np.array([*counts.cells, counts.missing] if missing else counts.cells, dtype=np.float64)
    n = int(rows.sum())
    return (rows / n if n else rows), n


def _both(baseline: Counts, counts: Counts, missing: bool = True) -> tuple[Floats, Floats, int, int]:
    p, m = _shares(baseline, missing)
    q, n = _shares(counts, missing)
    if len(p) != len(q):
        raise ValueError("The counts are not of the same cells.")
    return p, q, m, n


def psi(baseline: Counts, counts: Counts) -> float:
    """Population stability index: ``sum((q - p) * ln(q / p))`` over cells, the one for missing among them.

    An empty cell counts as half a row, which is what a count below one row stands for; cells that are empty
    on both sides say nothing. 0 for equal shares, symmetric. Source: Siddiqi (2006); module's docstring.
    """
    p, q, m, n = _both(baseline, counts)
    if not m or not n:
        return 0.0
    used = (p > 0) | (q > 0)
    p, q = np.where(p > 0, p, 0.5 / m)[used], np.where(q > 0, q, 0.5 / n)[used]
    return float(np.sum((q - p) * np.log(q / p)))


def expected(cells: int, rows: int, baseline: int) -> float:
    """PSI that chance alone gives: ``(cells - 1) * (1 / rows + 1 / baseline)``.

    Source: Yurdakul and Naranjo, "Statistical properties of the population stability index" (2020).
    """
    return max(cells - 1, 0) * (1 / rows + 1 / baseline) if rows and baseline else 0.0


def jensen_shannon(baseline: Counts, counts: Counts) -> float:
    """Jensen-Shannon distance, 0 … 1 (base 2), the cell for missing among the cells.

    Source: Lin (1991), Endres and Schindelin (2003); as ``scipy.spatial.distance.jensenshannon``.
    """
    p, q, m, n = _both(baseline, counts)
    if not m or not n:
        return 0.0
    middle = (p + q) / 2
    divergence = (_entropy(p, middle) + _entropy(q, middle)) / 2
    return math.sqrt(max(divergence, 0.0))


def _entropy(p: Floats, of: Floats) -> float:
    here = p > 0
    return float(np.sum(p[here] * np.log2(p[here] / of[here])))


def kolmogorov_smirnov(baseline: Counts, counts: Counts) -> tuple[float, float]:
    """Largest distance of the two distribution functions, and its p-value; missing values left out.

    The functions are compared at the cells' edges, so the figure is never larger than that of the rows
    themselves. The p-value is the limit for large samples. Source: Smirnov (1948).
    """
    p, q, m, n = _both(baseline, counts, missing=False)
    if not m or not n:
        return 0.0, 1.0
    value = float(np.max(np.abs(np.cumsum(p) - np.cumsum(q))))
    return value, _kolmogorov(value * math.sqrt(m * n / (m + n)))


def _kolmogorov(x: float) -> float:
    """Survival function of Kolmogorov's distribution, ``2 sum (-1)^(k-1) exp(-2 k^2 x^2)``."""
    if x < 0.2:  # 1 to 12 digits, and the series would need many terms
        return 1.0
    terms = (2 * (-1) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 101))
    return min(1.0, max(0.0, math.fsum(terms)))


def wasserstein(baseline: Counts, counts: Counts) -> float:
    """Area between the two distribution functions, in the column's unit; missing values left out.

    Each cell's rows are taken to lie at their mean, so the figure is exact for a shift to one side, and
    what lies outside of the baseline's range counts as far out as it is. Source: Vallender (1974).
    """
    if not sum(baseline.cells) or not sum(counts.cells):
        return 0.0
    places, steps = [], []
    for sign, one in ((1.0, baseline), (-1.0, counts)):
        rows, sums = np.array(one.cells, dtype=np.float64), np.array(one.sums)
        here = rows > 0
        places.append(sums[here] / rows[here])
        steps.append(sign * rows[here] / rows.sum())
    place, step = np.concatenate(places), np.concatenate(steps)
    order = np.argsort(place, kind="stable")
    return float(np.sum(np.abs(np.cumsum(step[order])[:-1]) * np.diff(place[order])))


def chi_square(baseline: Counts, counts: Counts, pool: bool = True) -> tuple[float, float]:
    """Pearson's statistic of two samples over the cells, the one for missing among them, and its p-value.

    Parameters
    ----------
    pool
        Put cells together that are expected to hold fewer than 5 rows (Cochran, "Some methods for
        strengthening the common chi-square tests", 1954): below that the p-value would be wrong.

    Notes
    -----
    As ``scipy.stats.chi2_contingency(..., correction=False)`` over the cells that are not empty.
    """
    rows = np.array([[*baseline.cells, baseline.missing], [*counts.cells, counts.missing]], dtype=np.float64)
    totals = rows.sum(axis=1)
    if not totals.all():
        return 0.0, 1.0
    rows = rows[:, rows.sum(axis=0) > 0]
    if pool:
        rows = _pooled(rows, float(totals.min() / totals.sum()))
    wanted = np.outer(totals, rows.sum(axis=0)) / totals.sum()
    value = float(np.sum((rows - wanted) ** 2 / wanted))
    return value, _chi_square_p(value, rows.shape[1] - 1)


def _pooled(rows: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.float64]:
    """Rarest cells put together until each is expected to hold enough rows in the smaller sample."""
    order = np.argsort(rows.sum(axis=0), kind="stable")
    small = np.cumsum(rows.sum(axis=0)[order]) * share
    alone = rows.sum(axis=0)[order] * share >= _FEWEST
    # The first cell that is large enough is drawn in only where the small ones together are not.
    count = int(np.argmax(alone)) if alone.any() else len(order)
    while count and count < len(order) and small[count - 1] < _FEWEST:
        count += 1
    if count < 2:
        return rows
    together = rows[:, order[:count]].sum(axis=1, keepdims=True)
    return np.hstack([together, rows[:, order[count:]]])


def _chi_square_p(value: float, freedom: int) -> float:
    """Survival function of chi-square, exact for whole degrees (Abramowitz and Stegun 26.4.4-5)."""
    if freedom < 1 or value <= 0:
        return 1.0
    half = value / 2
    if freedom % 2:
        found, log, first = math.erfc(math.sqrt(half)), math.lgamma(1.5), 0.5
    else:
        found, log, first = 0.0, 0.0, 0.0
    # Terms exp(-half) half^a / gamma(a + 1), a = first, first + 1, …, below freedom / 2.
    for step in range(freedom // 2):
        a = first + step
        found += math.exp(a * math.log(half) - half - log)
        log += math.log(a + 1)
    return min(1.0, found)


def _test(cells: Cells, baseline: Counts, counts: Counts) -> float:
    """p-value by type; a number's values and how many are missing are asked apart (Bonferroni's two)."""
    if cells.kind == "category":
        return chi_square(baseline, counts)[1]
    p = kolmogorov_smirnov(baseline, counts)[1]
    if not baseline.missing and not counts.missing:
        return p
    there, here = (Counts(cells=(sum(one.cells),), missing=one.missing) for one in (baseline, counts))
    return min(1.0, 2 * min(p, chi_square(there, here)[1]))


METRICS: dict[Metric, Callable[[Counts, Counts], float]] = {
    "psi": psi,
    "jensen_shannon": jensen_shannon,
    "kolmogorov_smirnov": lambda baseline, counts: kolmogorov_smirnov(baseline, counts)[0],
    "wasserstein": wasserstein,
    "chi_square": lambda baseline, counts: chi_square(baseline, counts)[0],
}
"""The metrics by name; Kolmogorov-Smirnov and Wasserstein are for numbers only."""

ORDERED: tuple[Metric, ...] = ("kolmogorov_smirnov", "wasserstein")


def drift(
    cells: Cells, baseline: Counts, counts: Counts, metric: Metric = "psi", least: int = 1
) -> Drift | None:
    """How far a window is from the baseline.

    Parameters
    ----------
    cells
        What both were counted into.
    metric
        One of `METRICS`.
    least
        Rows below which nothing is said.

    Returns
    -------
    Drift or None
        ``None`` when one side has no rows, or the window fewer than ``least``, or a metric that needs an
        order is asked of categories or of nothing but missing values.
    """
    rows = sum(counts.cells) + counts.missing
    if rows < max(least, 1) or not sum(baseline.cells) + baseline.missing:
        return None
    if metric in ORDERED and (cells.kind == "category" or not sum(counts.cells) or not sum(baseline.cells)):
        return None
    return Drift(METRICS[metric](baseline, counts), metric, _test(cells, baseline, counts))


def adjusted(ps: Sequence[float]) -> list[float]:
    """p-values corrected for their number: among those below a level at most that share is by chance.

    Source: Benjamini and Hochberg, "Controlling the false discovery rate" (1995); as
    ``scipy.stats.false_discovery_control``.
    """
    n = len(ps)
    order = sorted(range(n), key=lambda place: ps[place], reverse=True)
    found, least = [1.0] * n, 1.0
    for rank, place in zip(range(n, 0, -1), order, strict=True):
        least = min(least, ps[place] * n / rank)
        found[place] = least
    return found


def drifted(drifts: Sequence[Drift | None], level: float = LEVEL) -> list[bool]:
    """Which features of one window changed by more than chance, corrected for how many were asked."""
    known = [place for place, one in enumerate(drifts) if one is not None]
    found = [False] * len(drifts)
    for place, p in zip(known, adjusted([one.p for one in drifts if one is not None]), strict=True):
        found[place] = p < level
    return found
