"""Requests to models that take a tensor, and to models that say nothing of what they take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from mlinfra_lab.endpoints import explain
from mlinfra_lab.endpoints.forms import (
    EVENT_TIME,
    FLOAT32,
    Batch,
    body_type,
    event_times,
    integer,
    only_form,
    read_csv,
)
from mlinfra_lab.errors import Invalid, InvalidRequest
from mlinfra_lab.schema.endpoints import InputColumn

_Cell = str | bool | integer(64) | float | None


def _decode(decoder: msgspec.json.Decoder[Any], body: bytes) -> tuple[str, Any]:
    try:
        return only_form(decoder.decode(body))
    except msgspec.ValidationError as error:
        raise explain.in_body(error, {}, ()) from error
    except (ValueError, RecursionError) as error:
        raise explain.not_json(error, body) from error


class TensorSignature:
    """One array whose first axis is the rows.

    Parameters
    ----------
    dtype
        numpy's name of the element type.
    shape
        ``-1`` where any length goes; the first must be ``-1``.
    """

    columns: tuple[InputColumn, ...] = ()

    def __init__(self, dtype: str, shape: Sequence[int]) -> None:
        if not shape or shape[0] != -1:
            raise Invalid(
                f"The signature's tensor has the fixed shape {tuple(shape)}.",
                "Log the model with -1 as the first axis, so that a request can have any number of rows.",
            )
        kind = _element(dtype)
        for length in reversed(shape[1:]):
            kind = list[kind]  # type: ignore[valid-type]
            if length >= 0:
                kind = Annotated[kind, Meta(min_length=length, max_length=length)]
        self._ragged = any(length < 0 for length in shape[1:])
        rows = list[kind]  # type: ignore[valid-type]
        self._decoder = msgspec.json.Decoder(body_type(split=None, records=None, inputs=rows, instances=rows))

    def json(self, body: bytes) -> Batch:
        """See `Signature`."""
        _, rows = _decode(self._decoder, body)
        if not rows:
            raise explain.no_rows()
        if self._ragged:
            explain.check_even(rows)
        return Batch(rows)

    def csv(self, body: bytes) -> Batch:
        """See `Signature`; always refused, since a tensor has no columns."""
        raise InvalidRequest(
            "The model takes a tensor, which CSV cannot hold.", 'Send {"inputs": …} as JSON.'
        )


def _element(dtype: str) -> Any:
    if dtype.startswith("float"):
        return Annotated[float, Meta(ge=-FLOAT32, le=FLOAT32)] if dtype == "float32" else float
    if dtype.startswith(("int", "uint")):
        return integer(int(dtype.lstrip("uint")), signed=dtype[0] == "i")
    if dtype == "bool":
        return bool
    if dtype.startswith(("str", "object", "<U")):
        return str
    raise Invalid(
        f"Requests cannot be checked against a tensor of type {dtype}.", "Use numbers, text or truth values."
    )


def _plain(text: str) -> int | float | str:
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


class _FreeSplit(msgspec.Struct, forbid_unknown_fields=True):
    columns: list[str]
    data: list[list[_Cell]]  # type: ignore[valid-type]
    index: Raw | UnsetType = UNSET


class FreeSignature:
    """For a model without a signature: names and values as they come; only their shape is checked."""

    columns: tuple[InputColumn, ...] = ()

    def __init__(self) -> None:
        records = list[dict[str, _Cell]]  # type: ignore[valid-type]
        rows = list[dict[str, _Cell] | list[_Cell]]  # type: ignore[valid-type]
        columns = dict[str, list[_Cell]]  # type: ignore[valid-type]
        body = body_type(split=_FreeSplit, records=records, inputs=columns | rows, instances=rows)
        self._decoder = msgspec.json.Decoder(body)

    def json(self, body: bytes) -> Batch:
        """See `Signature`."""
        _, value = _decode(self._decoder, body)
        if isinstance(value, _FreeSplit):
            return self._named(tuple(value.columns), value.data)
        if isinstance(value, dict):
            explain.check_lengths({name: len(values) for name, values in value.items()})
            return self._named(tuple(value), [list(row) for row in zip(*value.values(), strict=True)])
        if not value:
            raise explain.no_rows()
        if not isinstance(value[0], dict):
            explain.check_even(value)
            return Batch(value)
        names = tuple(value[0])
        for number, row in enumerate(value):
            if not isinstance(row, dict):
                raise explain.cell(number, None, "expected an object, got an array")
            explain.check_names(tuple(row), names, names, number)
        return self._named(names, [[row[name] for name in names] for row in value])

    def csv(self, body: bytes) -> Batch:
        """See `Signature`; a cell that reads as a number is one."""
        names, cells = read_csv(body)
        rows = [[None if text is None else _plain(text) for text in line] for line in cells]
        for place, name in enumerate(names):
            explain.check_finite((row[place] for row in rows), name)
        return self._named(names, rows, numbers=True)

    @staticmethod
    def _named(names: tuple[str, ...], rows: list[list[Any]], numbers: bool = False) -> Batch:
        explain.check_names(names, names, ())
        if not rows:
            raise explain.no_rows()
        for number, row in enumerate(rows):
            if len(row) != len(names):
                raise explain.uneven(number, len(names), len(row))
        if EVENT_TIME not in names:
            return Batch(rows, None, names)
        at = names.index(EVENT_TIME)
        times = event_times([row[at] for row in rows], numbers)
        return Batch([row[:at] + row[at + 1 :] for row in rows], times, names[:at] + names[at + 1 :])
