"""Rows and columns of a dataset's tables, read once, a batch at a time.

Memory is bounded by one batch and by `DISTINCT` values a column, whatever the size of the files.
Mean and variance are merged batch by batch by the formulas of Chan, Golub and LeVeque, "Updating
Formulae and a Pairwise Algorithm for Computing Sample Variances" (1979).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mlinfra_lab.data.tables import Types, WrongGuess, opened
from mlinfra_lab.schema.data import Column

DISTINCT = 10_000
"""Different values that are counted exactly; beyond, the count is ``None``."""

# A smallest text can be a whole document; a table of columns wants its beginning.
_TEXT = 200


def describe(
    tables: Sequence[tuple[str, Path]], tell: Callable[[str, int], None] = lambda *_: None
) -> tuple[int, tuple[Column, ...]]:
    """Rows and columns of some tables together.

    Parameters
    ----------
    tables
        Names, whose suffixes tell the format, and places. All are read as parts of one table: a
        column that one of them lacks has no values there; one of unlike types is ``mixed``.
    tell
        Called with the table at hand and the rows read so far, after every batch.

    Returns
    -------
    rows
        Of all tables together.
    columns
        In the order in which they are met. NaN counts as no value.

    Raises
    ------
    NotTable
        When one of the files cannot be read.
    """
    types: list[Types] = [{} for _ in tables]
    while True:
        try:
            return _describe(tables, types, tell)
        except _Again as again:
            # At most twice a column, since every guess is wider than the one before.
            types[again.table] = again.types


class _Again(Exception):
    def __init__(self, table: int, types: Types) -> None:
        self.table, self.types = table, types


def _describe(
    tables: Sequence[tuple[str, Path]], types: list[Types], tell: Callable[[str, int], None]
) -> tuple[int, tuple[Column, ...]]:
    kinds: dict[str, pa.DataType | None] = {}
    for (name, path), guessed in zip(tables, types, strict=True):
        with opened(name, path, guessed) as table:
            for column, field in zip(_names(table.schema), table.schema, strict=True):
                kinds[column] = _both(kinds[column], field.type) if column in kinds else field.type
    columns = {name: _Column(kind) for name, kind in kinds.items()}
    rows = 0
    for number, (name, path) in enumerate(tables):
        try:
            with opened(name, path, types[number]) as table:
                names = _names(table.schema)
                for batch in table.batches:
                    for column, values in zip(names, batch.columns, strict=True):
                        columns[column].add(values)
                    rows += batch.num_rows
                    tell(name, rows)
        except WrongGuess as guess:
            raise _Again(number, guess.types) from guess
    return rows, tuple(column.result(name, rows) for name, column in columns.items())


def _names(schema: pa.Schema) -> list[str]:
    """The columns' names; a name that comes again gets a number, as pandas does it."""
    names: list[str] = []
    for name in schema.names:
        unique, number = name, 0
        while unique in names:
            number += 1
            unique = f"{name}.{number}"
        names.append(unique)
    return names


def _both(one: pa.DataType | None, other: pa.DataType) -> pa.DataType | None:
    """A type for the values of both, ``None`` where there is none."""
    if one is None or one == other:
        return one
    schemas = [pa.schema([("", _plain(kind))]) for kind in (one, other)]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return None


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type in which a column's values are compared: Arrow cannot compare every one it knows."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_string_view(kind):
        return pa.large_string()
    return kind


class _Column:
    """What is known of one column so far; ``kind`` is ``None`` when its tables disagree."""

    def __init__(self, kind: pa.DataType | None) -> None:
        self.kind = kind
        self.plain = plain = None if kind is None else _plain(kind)
        self.values = 0
        self.distinct: set[Any] | None = None if plain is None else set()
        self.low: pa.Scalar | None = None
        self.high: pa.Scalar | None = None
        self.mean = 0.0
        self.squares = 0.0
        is_ = pa.types
        self.whole = plain is not None and is_.is_temporal(plain)
        self.measured = plain is not None and (
            is_.is_integer(plain) or is_.is_floating(plain) or is_.is_decimal(plain)
        )
        self.ordered = self.measured or (
            plain is not None
            and (
                is_.is_boolean(plain) or is_.is_string(plain) or is_.is_large_string(plain)
                or is_.is_timestamp(plain) or is_.is_date(plain) or is_.is_time(plain)
            )
        )  # fmt: skip

    def add(self, values: pa.Array) -> None:
        if self.plain is not None and values.type != self.plain:
            values = values.cast(self.plain, safe=False)
        values = values.drop_null()
        if pa.types.is_floating(values.type):
            values = values.filter(pc.invert(pc.is_nan(values)))
        count = len(values)
        if not count:
            return
        if self.distinct is not None:
            self._count(values, self.distinct)
        if self.ordered:
            self._widen(pc.min_max(values))
        if self.measured:
            floats = values.cast(pa.float64(), safe=False)
            self._move(count, pc.mean(floats).as_py(), pc.variance(floats, ddof=0).as_py() * count)
        self.values += count

    def _count(self, values: pa.Array, distinct: set[Any]) -> None:
        try:
            unique = pc.unique(values)
        except pa.ArrowNotImplementedError:
            # Lists, structs and the like: Arrow does not compare them.
            self.distinct = None
            return
        if self.whole and unique.type.bit_width <= 64:
            # As whole numbers: Python's own moments know no nanoseconds.
            unique = unique.view(pa.int32() if unique.type.bit_width == 32 else pa.int64())
        if len(unique) <= DISTINCT:
            distinct.update(unique.to_pylist())
        if max(len(unique), len(distinct)) > DISTINCT:
            self.distinct = None

    def _widen(self, ends: pa.StructScalar) -> None:
        if self.low is not None:
            known = pa.array([self.low, self.high, ends["min"], ends["max"]], type=self.plain)
            ends = pc.min_max(known)
        self.low, self.high = ends["min"], ends["max"]

    def _move(self, count: int, mean: float, squares: float) -> None:
        total = self.values + count
        delta = mean - self.mean
        self.mean += delta * count / total
        self.squares += squares + delta * delta * self.values * count / total

    def result(self, name: str, rows: int) -> Column:
        std = math.sqrt(self.squares / (self.values - 1)) if self.values > 1 else math.nan
        return Column(
            name=name,
            type="mixed" if self.kind is None else str(self.kind),
            nulls=rows - self.values,
            distinct=None if self.distinct is None else len(self.distinct),
            minimum=_text(self.low),
            maximum=_text(self.high),
            mean=_finite(self.mean) if self.measured and self.values else None,
            std=_finite(std) if self.measured else None,
        )


def _finite(value: float) -> float | None:
    # JSON has neither infinity nor NaN.
    return value if math.isfinite(value) else None


def _text(value: pa.Scalar | None) -> str | None:
    if value is None:
        return None
    if pa.types.is_floating(value.type):
        return repr(value.as_py())
    text: str = value.cast(pa.string()).as_py()
    return text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"
