"""What all forms of a request's data share: MLflow's four JSON forms, CSV, dates."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from mlinfra_lab.endpoints import explain
from mlinfra_lab.errors import InvalidRequest

EVENT_TIME = "event_time"
FLOAT32 = 3.4028234663852886e38


class Batch(NamedTuple):
    """The rows of one request, checked.

    Attributes
    ----------
    rows
        Values in the order of the signature's columns; of a tensor, nested lists.
    event_times
        Seconds since the epoch, by row; ``None`` where no row said one.
    columns
        Names of the values when the signature has none.
    """

    rows: list[Any]
    event_times: list[float | None] | None = None
    columns: tuple[str, ...] | None = None


def integer(bits: int, signed: bool = True) -> Any:
    """The type of an integer of so many bits."""
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    # msgspec's bounds are themselves 64 bits wide and signed.
    return Annotated[int, Meta(ge=low, le=min(high, 2**63 - 1))]


class Split(msgspec.Struct, forbid_unknown_fields=True):
    """``dataframe_split``; its rows are decoded when the order of its columns is known."""

    columns: list[str]
    data: Raw
    index: Raw | UnsetType = UNSET


def body_type(*, split: Any, records: Any, inputs: Any, instances: Any) -> type[msgspec.Struct]:
    """The type of a body in which each form holds such a value; ``None`` for a form that is not taken."""
    forms = {"dataframe_split": split, "dataframe_records": records, "inputs": inputs, "instances": instances}
    fields: list[Any] = [(name, kind | UnsetType, UNSET) for name, kind in forms.items() if kind is not None]
    fields.append(("params", Raw | UnsetType, UNSET))
    return msgspec.defstruct("Body", fields, forbid_unknown_fields=True, gc=False)


def only_form(body: msgspec.Struct) -> tuple[str, Any]:
    """Name and value of the one form a body holds."""
    *forms, params = body.__struct_fields__
    if getattr(body, params) is not UNSET:
        raise InvalidRequest(
            "`params` are not taken by this endpoint.", "Send the data alone.", {"key": params}
        )
    given = [(name, value) for name in forms if (value := getattr(body, name)) is not UNSET]
    if len(given) != 1:
        names = " and ".join(f"`{name}`" for name, _ in given)
        what = f"data in more than one form: {names}" if given else "no data"
        raise InvalidRequest(f"The body holds {what}.", f"Give exactly one of {', '.join(forms)}.")
    return given[0]


def moment(value: str | float, row: int, column: str) -> dt.datetime:
    """A date and time as it was written, in UTC (one that names no zone is taken as UTC)."""
    try:
        if isinstance(value, str):
            read = dt.datetime.fromisoformat(value)
            read = read.replace(tzinfo=dt.UTC) if read.tzinfo is None else read.astimezone(dt.UTC)
        else:
            read = dt.datetime.fromtimestamp(value, dt.UTC)
    except (ValueError, OverflowError, OSError):
        shown = explain.short(repr(value))
        raise explain.cell(row, column, f"{shown} is no date and time (2013-03-01T05:15:00Z)") from None
    # What a 64-bit count of nanoseconds holds, which is how pandas keeps a moment.
    if not 1678 <= read.year <= 2261:
        raise explain.cell(row, column, f"{explain.short(repr(value))} is out of range (years 1678 to 2261)")
    return read


def event_times(values: Sequence[Any] | None, numbers: bool = False) -> list[float | None] | None:
    """Event times by row in seconds since the epoch, ``None`` when no row has one.

    Parameters
    ----------
    numbers
        Whether a text may be a number, as in CSV.
    """
    if values is None or all(value is None for value in values):
        return None
    times: list[float | None] = []
    for row, value in enumerate(values):
        if numbers and isinstance(value, str):
            times.append(moment(_number(value), row, EVENT_TIME).timestamp())
        else:
            times.append(None if value is None else moment(value, row, EVENT_TIME).timestamp())
    return times


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def read_csv(body: bytes) -> tuple[tuple[str, ...], list[list[str | None]]]:
    """Names and cells of a CSV body; an empty cell is ``None``."""
    try:
        text = io.StringIO(body.decode("utf-8-sig"), newline="")
        lines = [line for line in csv.reader(text, strict=True) if line]
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The body is not UTF-8 at byte {error.start}.", "Send UTF-8.") from error
    except csv.Error as error:
        raise InvalidRequest(f"The body is not valid CSV: {error}.") from error
    if not lines:
        raise InvalidRequest("The body is empty.", "Send a line of names and one line a row.")
    names = tuple(lines[0])
    for row, line in enumerate(lines[1:]):
        if len(line) != len(names):
            raise explain.uneven(row, len(names), len(line))
    return names, [[text or None for text in line] for line in lines[1:]]
