"""Cells of a column, made once from the baseline, and counting values into them.

Counts of two spans are merged by adding, so nothing is ever read twice, and every figure of drift comes
from them. `make` chooses the cells, `Counter` counts captured rows.
"""

from __future__ import annotations

import collections
import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from mlinfra_lab.schema.monitoring import Baseline, Cells, ColumnKind, Counts

__all__ = [
    "Coded", "Counter", "Floats", "Values", "columns_of", "make", "merge", "named", "numbers", "text",
    "total", "zero",
]  # fmt: skip

CELLS = 16
"""Quantile cells of a number, the two open ends not among them."""
FEW = 32
"""A whole number with at most so many values gets a cell for each."""
NAMED = 50
"""Categories with a cell of their own; all others share the last one."""

_LONGEST = 200  # characters; what is longer is a text and no category
_FEWEST = 4  # quantile cells of what is left beside values that have cells of their own
_BLOCK = 8192  # values that are counted together, so that they stay in the processor's cache
_SHORT = 2048  # below, one search costs less than a pass for each edge

Floats: TypeAlias = npt.NDArray[np.float64]


class Coded(NamedTuple):
    """A column as a dictionary: ``names[code]`` for each row, a code below 0 where there is no value."""

    codes: npt.NDArray[np.integer[Any]]
    names: Sequence[Any]


Values: TypeAlias = Sequence[Any] | npt.NDArray[Any] | Coded
"""A column: plain values as msgpack gives them (``None`` for none), an array, or a dictionary's codes."""


# -- values ---------------------------------------------------------------------------------------


def text(value: Any) -> str:
    """A category's name; equal values have equal names, whether they came as 3, 3.0 or True."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return str(value)


def is_missing(value: Any) -> bool:
    """Whether a value is none at all: ``None``, NaN, or pandas' own marks."""
    if isinstance(value, float | np.floating):
        return math.isnan(value)
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def numbers(values: Values) -> Floats:
    """A column as floats; NaN where there is no value, or none that is a number."""
    if isinstance(values, Coded):
        known = np.append(numbers(values.names), np.nan)
        return known[np.where(values.codes < 0, len(known) - 1, values.codes)]
    if isinstance(values, np.ndarray) and values.dtype.kind in "mM":
        whole = values.astype("M8[us]" if values.dtype.kind == "M" else "m8[us]")
        return np.where(np.isnat(whole), np.nan, whole.astype(np.int64) / 1e6)
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        found = np.fromiter((_number(value) for value in values), np.float64, len(values))
    return found if found.ndim == 1 else np.full(len(values), np.nan)


def _number(value: Any) -> float:
    try:
        if isinstance(value, str) and "-" in value[1:]:  # a moment, as naive ones are captured
            value = dt.datetime.fromisoformat(value)
        if isinstance(value, dt.datetime):
            return value.replace(tzinfo=value.tzinfo or dt.UTC).timestamp()
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError):
        return math.nan


def columns_of(rows: Sequence[Sequence[Any]], names: Sequence[str]) -> dict[str, Sequence[Any]]:
    """Captured rows by column; none for those of a tensor, whose values have no names."""
    if not rows or not names:
        return dict.fromkeys(names, ())
    return dict(zip(names, zip(*rows, strict=True), strict=True))


# -- choosing cells -------------------------------------------------------------------------------


def make(name: str, values: Values, kind: ColumnKind | None = None, cells: int = CELLS) -> Cells:
    """Choose the cells of a column.

    Whole numbers with few values, and numbers with fewer values than cells, get a cell for each value.
    Other numbers are cut at quantiles; a value that alone fills a cell (``precip`` is 0 nearly always)
    gets one of its own, and the rest is cut at its own quantiles. Outside of what the baseline holds there
    is an open cell at each end. Categories get a cell each by how often they come, at most `NAMED`.

    Parameters
    ----------
    values
        The baseline's; missing values and infinities choose nothing.
    kind
        What to take it for; told from the values when it is not said. Booleans are categories.
    cells
        About how many cells a number is cut into.
    """
    if kind is None:
        kind = kind_of(values)
    if kind == "category":
        return Cells(name=name, kind=kind, categories=named(values))
    found = numbers(values)
    return Cells(name=name, kind=kind, edges=_edges(found[np.isfinite(found)], cells))


def kind_of(values: Values) -> ColumnKind:
    """Whether values are numbers (moments are, too) or categories; nothing but missing ones are numbers."""
    if isinstance(values, Coded):
        return "category"
    if isinstance(values, np.ndarray) and values.dtype.kind not in "O":
        return "number" if values.dtype.kind in "iufmM" else "category"
    plain = (int, float, np.integer, np.floating, dt.datetime)
    for value in values:
        if is_missing(value):
            continue
        if isinstance(value, bool | np.bool_) or not isinstance(value, plain):
            return "category"
    return "number"


def named(values: Values, most: int = NAMED) -> tuple[str, ...]:
    """The categories that get a cell of their own, most frequent first, equals by name."""
    if isinstance(values, Coded):
        counted = np.bincount(values.codes[values.codes >= 0].astype(np.intp), minlength=len(values.names))
        pairs: Iterable[tuple[Any, int]] = zip(values.names, counted.tolist(), strict=True)
    else:
        pairs = zip(*_tally(values), strict=True)
    counts: collections.Counter[str] = collections.Counter()
    for value, count in pairs:
        if count and not is_missing(value):
            counts[text(value)] += count
    # Of many values those that came once are ids, or texts: a cell for one would say nothing.
    least = 2 if len(counts) > most else 1
    kept = [(name, count) for name, count in counts.items() if count >= least and len(name) <= _LONGEST]
    return tuple(name for name, _ in sorted(kept, key=lambda pair: (-pair[1], pair[0]))[:most])


def _edges(values: Floats, cells: int) -> tuple[float, ...]:
    if not len(values):
        return ()
    unique, counts = np.unique(values, return_counts=True)
    whole = bool(np.all(unique == np.floor(unique)))
    last = float(unique[-1])
    # Open ends hold what the baseline never did: the last edge is the first number beyond its greatest.
    end = last + 1 if whole and last + 1 > last else float(np.nextafter(last, np.inf))
    if len(unique) <= max(cells, FEW if whole else 0):
        return _distinct([*unique.tolist(), end])
    heavy = counts >= len(values) / cells
    rest = np.repeat(unique[~heavy], counts[~heavy])
    edges = [float(unique[0]), end]
    for place in np.flatnonzero(heavy).tolist():
        edges.append(float(unique[place]))
        if place + 1 < len(unique):
            edges.append(float(unique[place + 1]))
    if len(rest):
        pieces = max(_FEWEST, round(cells * len(rest) / len(values)))
        places = np.arange(1, pieces) / pieces
        edges += np.quantile(rest, places, method="inverted_cdf").tolist()
    return _distinct(edges)


def _distinct(edges: Sequence[float]) -> tuple[float, ...]:
    return tuple(sorted(edge for edge in set(edges) if math.isfinite(edge)))


# -- counting -------------------------------------------------------------------------------------


def zero(cells: Cells) -> Counts:
    """Counts of no rows."""
    sums = (0.0,) * cells.size if cells.kind == "number" else ()
    return Counts(cells=(0,) * cells.size, sums=sums)


def merge(one: Counts, other: Counts) -> Counts:
    """Counts of two spans together.

    Raises
    ------
    ValueError
        They are not of the same cells.
    """
    return Counts(
        cells=tuple(a + b for a, b in zip(one.cells, other.cells, strict=True)),
        missing=one.missing + other.missing,
        sums=tuple(_bounded(a + b) for a, b in zip(one.sums, other.sums, strict=True)),
    )


def total(counts: Counts) -> int:
    """Rows that were counted, those without a value among them."""
    return sum(counts.cells) + counts.missing


def _bounded(value: float) -> float:
    # JSON has neither infinity nor NaN.
    return max(-_LARGEST, min(value, _LARGEST))


_LARGEST = float(np.finfo(np.float64).max)


class Counter:
    """Counts columns into a baseline's cells; made once, asked often.

    Examples
    --------
    >>> cells = Cells(name="x", kind="number", edges=(0.0, 1.0))
    >>> column(cells).count([-1, 0.5, 0.25, None]).cells
    (1, 2, 0)
    """

    def __init__(self, baseline: Baseline) -> None:
        self._columns = [(cells.name, column(cells)) for cells in baseline.columns]
        self._prediction = column(baseline.prediction)

    def count(self, columns: Mapping[str, Values], rows: int) -> list[Counts]:
        """Count rows given by column.

        Parameters
        ----------
        columns
            By name, ``rows`` values each. A column of the baseline that is not among them has no values;
            one that the baseline does not know is passed over.

        Returns
        -------
        list of Counts
            One for each of the baseline's columns, in their order.
        """
        return [
            known.count(columns[name]) if name in columns else known.none(rows)
            for name, known in self._columns
        ]

    def count_rows(self, rows: Sequence[Sequence[Any]], names: Sequence[str]) -> list[Counts]:
        """Count captured rows, whose values have these names."""
        return self.count(columns_of(rows, names), len(rows))

    def predicted(self, scores: Values) -> Counts:
        """Count scores, see `mlinfra_lab.monitoring.loss.Answers.scores`."""
        return self._prediction.count(scores)


class NumberColumn:
    """Counts numbers; see `column`."""

    def __init__(self, cells: Cells) -> None:
        self._edges = np.array(cells.edges, dtype=np.float64)
        self._size = cells.size
        self._low = cells.edges[0] if cells.edges else 0.0
        self._high = cells.edges[-1] if cells.edges else 0.0

    def none(self, rows: int) -> Counts:
        """Counts of rows without a value."""
        return Counts(cells=(0,) * self._size, missing=rows, sums=(0.0,) * self._size)

    def places(self, values: Values) -> npt.NDArray[np.intp]:
        """Cell of each value; the last one and one more where there is none."""
        found = numbers(values)
        places = np.searchsorted(self._edges, found, "right")
        places[np.isnan(found)] = self._size
        return places

    def count(self, values: Values) -> Counts:
        """Count a column."""
        found = numbers(values)
        counts = np.zeros(self._size + 1, dtype=np.int64)
        sums = np.zeros(self._size + 1)
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(found), _BLOCK):
                block = found[start : start + _BLOCK]
                places = self._places(block)
                counts += np.bincount(places, minlength=self._size + 1)
                sums += np.bincount(places, weights=block, minlength=self._size + 1)
        if not np.isfinite(sums[:-1]).all():
            sums = self._sums(found)
        return Counts(
            cells=tuple(counts[:-1].tolist()), missing=int(counts[-1]), sums=tuple(sums[:-1].tolist())
        )

    def _places(self, block: Floats) -> npt.NDArray[Any]:
        edges = self._edges
        places: npt.NDArray[Any]
        if len(block) < _SHORT or len(edges) > 100:
            places = np.searchsorted(edges, block, "right")
        else:
            # How many edges are at or below a value is its cell. Compared edge by edge this runs through
            # the processor's vector units, where a search waits for a wrong guess at every step.
            places = np.zeros(len(block), dtype=np.int8)
            for edge in edges:
                places += (block >= edge).view(np.int8)
        absent = np.isnan(block)
        if absent.any():
            places[absent] = self._size
        return places

    def _sums(self, found: Floats) -> Floats:
        """Sums in which an infinity counts as the edge it lies behind, and that stay finite."""
        finite = np.where(np.isposinf(found), self._high, np.where(np.isneginf(found), self._low, found))
        with np.errstate(over="ignore"):
            sums = np.bincount(self.places(found), weights=finite, minlength=self._size + 1)
        return np.clip(sums, -_LARGEST, _LARGEST)


class CategoryColumn:
    """Counts categories; see `column`."""

    def __init__(self, cells: Cells) -> None:
        self._place = {name: place for place, name in enumerate(cells.categories)}
        self._size = cells.size

    def none(self, rows: int) -> Counts:
        """Counts of rows without a value."""
        return Counts(cells=(0,) * self._size, missing=rows)

    def _places_of(self, names: Sequence[Any]) -> npt.NDArray[np.intp]:
        known, other = self._place, self._size - 1
        return np.array(
            [
                self._size
                if is_missing(value)
                else known.get(value if type(value) is str else text(value), other)
                for value in names
            ],
            dtype=np.intp,
        )

    def places(self, values: Values) -> npt.NDArray[np.intp]:
        """Cell of each value; the last one and one more where there is none."""
        if isinstance(values, Coded):
            known = np.append(self._places_of(values.names), self._size)
            return known[np.where(values.codes < 0, len(known) - 1, values.codes)]
        return self._places_of(values.tolist() if isinstance(values, np.ndarray) else values)

    def count(self, values: Values) -> Counts:
        """Count a column."""
        if isinstance(values, Coded):
            names = values.names
            counted = _bincount(values.codes, len(names))
        else:
            names, counted = _tally(values)
        counts = np.zeros(self._size + 1, dtype=np.int64)
        if len(names):
            np.add.at(counts, self._places_of(names), counted[: len(names)])
        counts[-1] += sum(counted[len(names) :])
        return Counts(cells=tuple(counts[:-1].tolist()), missing=int(counts[-1]))


def _bincount(codes: npt.NDArray[np.integer[Any]], size: int) -> list[int]:
    """Rows by code, those without a value in the last of ``size + 1``."""
    counted = np.zeros(size + 1, dtype=np.int64)
    for start in range(0, len(codes), _BLOCK):  # numpy widens what it counts: a block at a time stays small
        block = codes[start : start + _BLOCK]
        counted += np.bincount(np.where(block < 0, size, block), minlength=size + 1)
    found: list[int] = counted.tolist()
    return found


def _tally(values: Values) -> tuple[list[Any], list[int]]:
    plain = values.tolist() if isinstance(values, np.ndarray) else values
    try:
        counted = collections.Counter(plain)
    except TypeError:  # lists and objects have no hash
        counted = collections.Counter(value if is_missing(value) else text(value) for value in plain)
    return list(counted), list(counted.values())


def column(cells: Cells) -> NumberColumn | CategoryColumn:
    """What counts values into these cells."""
    return NumberColumn(cells) if cells.kind == "number" else CategoryColumn(cells)
