"""A model's signature as types, so that decoding a request is checking it.

The forms are MLflow's: ``dataframe_split``, ``dataframe_records``, ``inputs``, ``instances`` and CSV. What
comes out is always the same: rows of values in the signature's order (`Batch`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple, Protocol

import msgspec
from msgspec import Meta

from mlinfra_lab.endpoints import explain
from mlinfra_lab.endpoints.arrays import FreeSignature, TensorSignature
from mlinfra_lab.endpoints.forms import (
    EVENT_TIME,
    FLOAT32,
    Batch,
    Split,
    body_type,
    event_times,
    integer,
    moment,
    only_form,
    read_csv,
)
from mlinfra_lab.errors import Invalid, InvalidRequest
from mlinfra_lab.schema.endpoints import InputColumn

__all__ = ["EVENT_TIME", "Batch", "ColumnSignature", "Signature", "make"]

_PLANS = 64
_TYPES: dict[str, Any] = {
    "boolean": bool,
    "integer": integer(32),
    "long": integer(64),
    "float": Annotated[float, Meta(ge=-FLOAT32, le=FLOAT32)],
    "double": float,
    "string": str,
    "binary": bytes,
    "datetime": str,  # parsed afterwards: dates come in more spellings than one
}
_BITS = {"integer": 32, "long": 64}

Rows = list[tuple[Any, ...]]


class Signature(Protocol):
    """Turns a request's body into rows, or says what is wrong with it."""

    columns: tuple[InputColumn, ...]

    def json(self, body: bytes) -> Batch:
        """Decode a JSON body.

        Raises
        ------
        InvalidRequest
            Naming the row and the column.
        """

    def csv(self, body: bytes) -> Batch:
        """Decode a CSV body with a line of names; see `json`."""


def make(columns: Sequence[InputColumn], tensor: tuple[str, Sequence[int]] | None = None) -> Signature:
    """The signature of a revision, see `mlinfra_lab.schema.endpoints.Revision`.

    Raises
    ------
    Invalid
        When requests cannot be checked against it.
    """
    if tensor is not None:
        return TensorSignature(*tensor)
    return ColumnSignature(columns) if columns else FreeSignature()


class _Plan(NamedTuple):
    """How rows behind one list of names are read."""

    kind: Any
    decoder: msgspec.json.Decoder[Rows]
    pick: Callable[[tuple[Any, ...]], tuple[Any, ...]] | None
    event: int | None


class _Forms:
    """Decoders of all forms.

    Parameters
    ----------
    columns
        The signature's.
    relaxed
        Let any number into an integer column.
    """

    def __init__(self, columns: tuple[InputColumn, ...], relaxed: bool = False) -> None:
        self.names = tuple(column.name for column in columns)
        self.types = {column.name: column.type for column in columns}
        self.required = {column.name for column in columns if column.required}
        self.known: dict[str, Any] = {column.name: _kind(column, relaxed) for column in columns}
        self.event = EVENT_TIME not in self.known
        if self.event:
            self.known[EVENT_TIME] = str | float | None
        row = self._struct("Row", lambda kind: kind)
        lists = self._struct("Columns", lambda kind: list[kind])  # type: ignore[valid-type]
        rows = list[row]  # type: ignore[valid-type]
        body = body_type(split=Split, records=rows, inputs=lists | rows, instances=rows)
        self._body = msgspec.json.Decoder(body)
        self._plans: dict[tuple[str, ...], _Plan] = {}

    def _struct(self, name: str, wrap: Callable[[Any], Any]) -> Any:
        fields: list[Any] = []
        for number, (known, kind) in enumerate(self.known.items()):
            if known in self.required:
                fields.append((f"f{number}", wrap(kind)))
            else:
                fields.append((f"f{number}", wrap(kind) | None, None))
        rename = {f"f{number}": known for number, known in enumerate(self.known)}
        try:
            return msgspec.defstruct(
                name, fields, rename=rename, forbid_unknown_fields=True, kw_only=True, gc=False
            )
        except ValueError as error:
            raise Invalid(
                f"The model's signature has a column whose name cannot be served: {error}.",
                "Column names may hold no quotes, backslashes or control characters: log it with others.",
            ) from error

    def json(self, body: bytes) -> tuple[Rows, list[Any] | None]:
        """Rows in the signature's order, and their event times as they were written."""
        try:
            _, value = only_form(self._body.decode(body))
        except msgspec.ValidationError as error:
            raise explain.in_body(error, self.types, self.known) from error
        except (ValueError, RecursionError) as error:
            raise explain.not_json(error, body) from error
        if isinstance(value, Split):
            plan = self._plan(tuple(value.columns))
            try:
                return self._picked(plan, plan.decoder.decode(value.data))
            except msgspec.ValidationError as error:
                raise explain.in_split(error, value.columns, self.types, bytes(value.data)) from error
            except (ValueError, RecursionError) as error:
                raise explain.not_json(error, bytes(value.data)) from error
        as_tuple = msgspec.structs.astuple
        rows = [as_tuple(row) for row in value] if isinstance(value, list) else self._turned(as_tuple(value))
        if not self.event:
            return rows, None
        return [row[:-1] for row in rows], [row[-1] for row in rows]

    def csv(self, body: bytes) -> tuple[Rows, list[Any] | None]:
        """See `json`."""
        names, cells = read_csv(body)
        plan = self._plan(names)
        try:
            rows = msgspec.convert(cells, plan.kind, strict=False)
        except msgspec.ValidationError as error:
            raise explain.in_split(error, names, self.types, cells) from error
        for place, name in enumerate(names):
            if self.types.get(name) in ("float", "double"):
                explain.check_finite((row[place] for row in rows), name)
        return self._picked(plan, rows)

    def _turned(self, lists: tuple[list[Any] | None, ...]) -> Rows:
        given = zip(self.known, lists, strict=True)
        n = explain.check_lengths({name: len(values) for name, values in given if values is not None})
        return list(zip(*(values if values is not None else [None] * n for values in lists), strict=True))

    def _plan(self, names: tuple[str, ...]) -> _Plan:
        if plan := self._plans.get(names):
            return plan
        explain.check_names(names, self.known, self.required)
        row = tuple.__class_getitem__(tuple(self.known[name] for name in names))
        kind: Any = list[row]  # type: ignore[valid-type]
        places = [names.index(name) if name in names else None for name in self.names]

        def pick(row: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple([None if place is None else row[place] for place in places])

        plan = _Plan(
            kind,
            msgspec.json.Decoder(kind),
            None if names == self.names else pick,
            names.index(EVENT_TIME) if self.event and EVENT_TIME in names else None,
        )
        if len(self._plans) >= _PLANS:
            self._plans.clear()
        self._plans[names] = plan
        return plan

    @staticmethod
    def _picked(plan: _Plan, rows: Rows) -> tuple[Rows, list[Any] | None]:
        events = None if plan.event is None else [row[plan.event] for row in rows]
        return (rows if plan.pick is None else [plan.pick(row) for row in rows]), events


class ColumnSignature:
    """Named columns, each with MLflow's type.

    Parameters
    ----------
    columns
        The signature's columns in its order.
    """

    def __init__(self, columns: Sequence[InputColumn]) -> None:
        self.columns = tuple(columns)
        for column in self.columns:
            if column.type not in _TYPES:
                raise Invalid(
                    f"Requests cannot be checked against column `{column.name}` of type {column.type}.",
                    f"Log the model with columns of the types {', '.join(_TYPES)}.",
                )
        self._forms = _Forms(self.columns)
        self._relaxed: _Forms | None = None
        self._dates = [i for i, column in enumerate(self.columns) if column.type == "datetime"]

    def json(self, body: bytes) -> Batch:
        """See `Signature`."""
        try:
            rows, events = self._forms.json(body)
        except InvalidRequest as error:
            # 3.0 is an integer to JSON, and what a float column sends. It is rare, so only a request
            # that failed for it pays for a second look.
            detail = error.detail or {}
            if (detail.get("expected"), detail.get("got")) != ("int", "float"):
                raise
            if self._relaxed is None:
                self._relaxed = _Forms(self.columns, relaxed=True)
            rows, events = self._relaxed.json(body)
            rows = self._whole(rows)
        return self._finish(rows, event_times(events), len(rows))

    def csv(self, body: bytes) -> Batch:
        """See `Signature`; an empty cell is a missing value."""
        rows, events = self._forms.csv(body)
        return self._finish(rows, event_times(events, numbers=True), len(rows))

    def _finish(self, rows: Rows, times: list[float | None] | None, n: int) -> Batch:
        if not n:
            raise explain.no_rows()
        if self._dates:
            rows = [self._dated(row, number) for number, row in enumerate(rows)]
        return Batch(rows, times)

    def _dated(self, row: tuple[Any, ...], number: int) -> tuple[Any, ...]:
        values = list(row)
        for place in self._dates:
            if values[place] is not None:
                values[place] = moment(values[place], number, self.columns[place].name)
        return tuple(values)

    def _whole(self, rows: Rows) -> Rows:
        integers = [(i, column) for i, column in enumerate(self.columns) if column.type in _BITS]
        whole: Rows = []
        for number, row in enumerate(rows):
            values = list(row)
            for place, column in integers:
                value = values[place]
                if isinstance(value, float):
                    if not value.is_integer():
                        raise explain.cell(
                            number, column.name, f"expected an integer, got {explain.short(repr(value))}"
                        )
                    values[place] = value = int(value)
                edge = 2 ** (_BITS[column.type] - 1)
                if value is not None and not -edge <= value < edge:
                    raise explain.cell(
                        number, column.name, f"{explain.short(str(value))} does not fit into {column.type}"
                    )
            whole.append(tuple(values))
        return whole


def _kind(column: InputColumn, relaxed: bool) -> Any:
    kind = int | float if relaxed and column.type in _BITS else _TYPES[column.type]
    return kind if column.required else kind | None
