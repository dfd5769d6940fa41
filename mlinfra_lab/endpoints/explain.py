"""What is wrong with a request, said with its row and its column.

msgspec says ``Expected `float`, got `str` - at `$.dataframe_records[3].temp```; whoever sends a table wants
to read ``row 3, column `temp`: expected a number, got a string``. Rows are counted from 0.
"""

from __future__ import annotations

import difflib
import itertools
import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from mlinfra_lab.errors import InvalidRequest

_WORDS = {
    "float": "a number",
    "int": "an integer",
    "str": "a string",
    "bool": "true or false",
    "bytes": "base64 text",
    "null": "null",
    "array": "an array",
    "object": "an object",
}
_FORMS = "dataframe_split, dataframe_records, inputs, instances"
_LOOK_CLOSELY = 2**20
_SHOWN = 60
_PATH = re.compile(r"(.+) - at `(\$[.\[].*)`\Z", re.DOTALL)
_ROW = re.compile(
    r"\$\.(?:dataframe_records|instances|inputs)\[(\d+)\](?:\.(.+)|((?:\[[\d.]+\])+))?\Z", re.DOTALL
)
_COLUMN = re.compile(r"\$\.inputs\.(.+?)(?:\[(\d+)\])?\Z", re.DOTALL)
_VALUES = re.compile(r"\$\.inputs\[\.\.\.\](?:\[(\d+)\])?\Z")
_SPLIT = re.compile(r"\$(?:\.dataframe_split\.data)?\[(\d+)\](?:\[(\d+)\])?\Z")


def short(text: str) -> str:
    """A text as it is shown: what came from a request may have any length."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def cell(row: int | None, column: str | None, what: str, **detail: Any) -> InvalidRequest:
    """An error in one place of the request's table."""
    where = [f"row {row}"] if row is not None else []
    if column is not None:
        column = short(column)
    where += [f"column `{column}`"] if column is not None else []
    place = ", ".join(where)
    known = {"row": row, "column": column}
    return InvalidRequest(
        f"{place}: {what}." if place else f"{what[0].upper()}{what[1:]}.",
        detail={key: value for key, value in known.items() if value is not None} | detail,
    )


def no_rows() -> InvalidRequest:
    """An error for a request without rows."""
    return InvalidRequest("The request has no rows.", "Send at least one.")


def uneven(row: int, expected: int, got: int) -> InvalidRequest:
    """An error for a row with too few or too many values."""
    return cell(row, None, f"expected {expected} values, got {got}")


def in_body(
    error: msgspec.ValidationError, types: Mapping[str, str], known: Collection[str]
) -> InvalidRequest:
    """Explain an error of the whole body's decoder.

    Parameters
    ----------
    types
        MLflow's type of each of the signature's columns.
    known
        All names a row may have.
    """
    what, path = _parts(error)
    if match := re.match(r"Object (missing required|contains unknown) field `(.*)`\Z", what, re.DOTALL):
        return _field(match[2], match[1].startswith("missing"), path, known)
    if match := _ROW.match(path):
        if match[2]:
            return _wrong(what, int(match[1]), match[2], types)
        reason = _reason(what, None)
        known_place = match[3] and "..." not in match[3]  # msgspec does not say which key of a dictionary
        return cell(int(match[1]), None, f"at {match[3]}: {reason}" if known_place else reason)
    if match := _VALUES.match(path):
        return cell(int(match[1]) if match[1] else None, None, _reason(what, None))
    if match := _COLUMN.match(path):
        return _wrong(what, int(match[2]) if match[2] else None, match[1], types)
    if match := _SPLIT.match(path):
        return _wrong(what, int(match[1]), None, types)
    if not path:
        return InvalidRequest(
            "The body is not a JSON object.", f'Send {{"FORM": …}} with FORM one of {_FORMS}.'
        )
    key = short(path.removeprefix("$."))
    return InvalidRequest(f"`{key}`: {_reason(what, None)}.", detail={"key": key})


def in_split(
    error: msgspec.ValidationError,
    names: Sequence[str],
    types: Mapping[str, str],
    data: bytes | Sequence[Sequence[str | None]],
) -> InvalidRequest:
    """Explain an error in the rows that came behind a list of column names.

    Parameters
    ----------
    data
        The rows as JSON, or the cells of a CSV.
    """
    what, path = _parts(error)
    match = _SPLIT.match(path)
    if match is None:
        return cell(None, None, f"`data`: {_reason(what, None)}")
    row = int(match[1])
    if match[2] is None:
        if what.startswith("Expected `array` of length") and isinstance(data, bytes):
            return uneven(row, len(names), len(msgspec.json.decode(data, type=list[list[msgspec.Raw]])[row]))
        return cell(row, None, _reason(what, None))
    name = names[int(match[2])]
    if isinstance(data, bytes):
        return _wrong(what, row, name, types)
    text = data[row][int(match[2])]
    got = "nothing" if text is None else f"“{short(text)}”"
    return cell(row, name, f"{_reason(what, types.get(name)).partition(', ')[0]}, got {got}")


def not_json(error: Exception, body: bytes) -> InvalidRequest:
    """Explain why a body could not be read as JSON at all."""
    if not body.strip():
        return InvalidRequest("The body is empty.", f'Send {{"FORM": …}} with FORM one of {_FORMS}.')
    if isinstance(error, RecursionError):
        return InvalidRequest("The body is nested too deeply.", "A row holds plain values.")
    if isinstance(error, UnicodeDecodeError):
        return InvalidRequest("The body is not UTF-8.", "Send UTF-8.")
    if re.search(rb"\b(?:NaN|Infinity)\b", body) and (found := _not_finite(body)):
        return found
    text = str(error)
    if match := re.search(r"malformed: (.+) \(byte (\d+)\)", text):
        at = int(match[2])
        line = body.count(b"\n", 0, at) + 1
        column = at - body.rfind(b"\n", 0, at)
        return InvalidRequest(
            f"The body is not valid JSON: {match[1]} at byte {at} (line {line}, column {column}).",
            detail={"byte": at, "line": line, "column": column},
        )
    return InvalidRequest("The body is not valid JSON: it ends too early.", detail={"byte": len(body)})


def check_names(
    names: Sequence[str], known: Collection[str], required: Collection[str], row: int | None = None
) -> None:
    """Complain about names that stand twice, are unknown or are missing."""
    given = set(names)
    if len(given) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise cell(row, twice, "given twice")
    for name in names:
        if name not in known:
            raise _unknown_column(row, name, known)
    for name in known:
        if name in required and name not in given:
            raise cell(row, name, "missing")


def check_lengths(lengths: Mapping[str, int]) -> int:
    """The number of rows of columns given one by one; complains when they differ."""
    if not lengths:
        return 0
    first, n = next(iter(lengths.items()))
    for name, length in lengths.items():
        if length != n:
            raise InvalidRequest(
                f"Column `{short(first)}` has {n} values, column `{short(name)}` has {length}.",
                "Give every column a value for each row; null where there is none.",
                {"column": short(name), "lengths": {short(first): n, short(name): length}},
            )
    return n


def check_finite(values: Iterable[Any], column: str) -> None:
    """Complain about NaN and infinities, which CSV's numbers can be."""
    for row, value in enumerate(values):
        if isinstance(value, float) and not math.isfinite(value):
            raise cell(row, column, f"{value} is no value; leave the cell empty")


def check_even(rows: Sequence[Any]) -> None:
    """Complain when nested lists do not make an array."""
    shape = _shape(rows[0])
    for row, value in enumerate(rows):
        if _shape(value) != shape:
            raise cell(row, None, f"expected the shape of row 0, {list(shape)}, got {list(_shape(value))}")
        for inner in value if isinstance(value, list) and value and isinstance(value[0], list) else ():
            if _shape(inner) != shape[1:]:
                raise cell(
                    row, None, f"its lists differ in length: {list(shape[1:])} and {list(_shape(inner))}"
                )
        if isinstance(value, list) and value and isinstance(value[0], list):
            check_even(value)


def _shape(value: Any) -> tuple[int, ...]:
    shape: tuple[int, ...] = ()
    while isinstance(value, list):
        shape += (len(value),)
        value = value[0] if value else None
    return shape


def _parts(error: msgspec.ValidationError) -> tuple[str, str]:
    text = str(error)
    # The path stands last, and there is none for the top; a name from the request may hold anything.
    match = _PATH.match(text)
    if match is None or (text.startswith("Object ") and not match[1].endswith("`")):
        return text, ""
    return match[1], match[2]


def _word(kind: str) -> str:
    if "bool | int" in kind:
        return "a plain value"
    return " or ".join(_WORDS.get(part, part) for part in kind.split(" | "))


def _reason(what: str, type: str | None) -> str:
    if match := re.match(r"Expected `(.+?)`, got `(.+?)`", what):
        expected, got = match[1], match[2]
        if type == "datetime":
            return f"expected a date and time as text, got {_word(got)}"
        if got == "null":
            return "a value is required, got null"
        # Callers see a missing value's null as a choice only where they sent one.
        wanted = expected.removesuffix(" | null")
        if wanted == "int" and got == "float":
            return "expected an integer, got a number with a fraction"
        return f"expected {_word(wanted)}, got {_word(got)}"
    if match := re.match(r"Expected `(.+?)` ([<>]=) (\S+)", what):
        return f"expected {_word(match[1].removesuffix(' | null'))} {match[2]} {match[3]}"
    if match := re.match(r"Expected `array` of length (.+)", what):
        return f"expected {match[1]} values"
    return {"Number out of range": "the number is out of range"}.get(what, what[:1].lower() + what[1:])


def _wrong(what: str, row: int | None, column: str | None, types: Mapping[str, str]) -> InvalidRequest:
    match = re.match(r"Expected `(.+?)`, got `(.+?)`", what)
    detail = {"expected": match[1].removesuffix(" | null"), "got": match[2]} if match else {}
    return cell(row, column, _reason(what, types.get(column or "")), **detail)


def _field(name: str, missing: bool, path: str, known: Collection[str]) -> InvalidRequest:
    row = int(match[1]) if (match := _ROW.match(path)) else None
    in_table = row is not None or path == "$.inputs"
    if in_table:
        return cell(row, name, "missing") if missing else _unknown_column(row, name, known)
    if missing:
        return InvalidRequest(
            f"`{path.removeprefix('$.')}` lacks its `{short(name)}`.", detail={"key": short(name)}
        )
    name = short(name)
    near = difflib.get_close_matches(name, _FORMS.split(", "), n=1)
    hint = f"Did you mean `{near[0]}`?" if near else f"Give exactly one of {_FORMS}."
    return InvalidRequest(f"Unknown key `{name}` in the body.", hint, {"key": name})


def _unknown_column(row: int | None, name: str, known: Collection[str]) -> InvalidRequest:
    error = cell(row, name, "the model has no such column")
    near = difflib.get_close_matches(short(name), known, n=1)
    names = ", ".join(short(one) for one in itertools.islice(known, 20))
    error.hint = f"Did you mean `{short(near[0])}`?" if near else f"Its columns: {names}."
    return error


class _NotFinite:
    def __init__(self, token: str) -> None:
        self.token = token


def _not_finite(body: bytes) -> InvalidRequest | None:
    """Where a NaN or Infinity stands, which JSON does not have but many programs write."""
    hint = "JSON has no such number; leave a missing value out as null."
    if len(body) > _LOOK_CLOSELY:
        return InvalidRequest("The body holds NaN or Infinity.", hint)
    try:
        value = json.loads(body, parse_constant=_NotFinite)
        found = _search(value, ())
    except (ValueError, RecursionError):
        return None
    if found is None:
        return None
    token, path = found
    row, column = _place(value, path)
    error = cell(row, column, f"{token} is not valid JSON")
    error.hint = hint
    return error


def _search(value: Any, path: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]] | None:
    if isinstance(value, _NotFinite):
        return value.token, path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        if found := _search(item, (*path, key)):
            return found
    return None


def _place(body: Any, path: tuple[Any, ...]) -> tuple[int | None, str | None]:
    match path:
        case ("dataframe_split", "data", int(row), int(at), *_):
            names = body["dataframe_split"].get("columns")
            known = isinstance(names, list) and at < len(names)
            return row, str(names[at]) if known else None
        case (_, int(row), str(column), *_):
            return row, column
        case (_, str(column), int(row), *_):
            return row, column
        case (_, int(row), *_):
            return row, None
    return None, None
