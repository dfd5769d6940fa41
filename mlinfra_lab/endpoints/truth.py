"""What came true: what may go into the log of it (see `segments`), and how it is written and read back."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from mlinfra_lab.endpoints import recall
from mlinfra_lab.endpoints.capture import SEAL_AT, NotCaptured, Writer
from mlinfra_lab.errors import InvalidRequest, TooLarge
from mlinfra_lab.segments import FRAME, TRUTH_COLUMNS, Truths, parse_id, path_of, truth_folder

__all__ = ["MOST", "Item", "Known", "TruthWriter", "parse", "read"]

MOST = 100_000
"""Truths in one request."""
_LONGEST_TEXT = 1000
_REMEMBERED = 4096

# What the log and the sums can hold.
Whole = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Value = bool | Whole | float | Annotated[str, Meta(max_length=_LONGEST_TEXT)] | list[bool | Whole | float]
Found = tuple[int, int, int, Any]


class Item(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What came true for one prediction."""

    id: str
    truth: Value


_one = msgspec.json.Decoder(Item)
_many = msgspec.json.Decoder(list[Item])
_truths = msgspec.msgpack.Decoder(Truths)


class TruthWriter(Writer):
    """Appends an endpoint's truths; see `capture.Writer`."""

    def __init__(self, captures: Path, endpoint: str, limit: int = SEAL_AT) -> None:
        folder = truth_folder(captures, endpoint)
        super().__init__(captures, endpoint, 0, TRUTH_COLUMNS, limit=limit, folder=folder)

    def add(self, truths: list[Found], at: float) -> None:
        """Write one request's truths by one ``write(2)``.

        Raises
        ------
        NotCaptured
            None of them was kept.
        """
        try:
            self._ready()
            self._put(Truths(at, truths), self.row, len(truths))
        except OSError as error:
            raise NotCaptured(f"{self._folder}: {error.strerror or error}") from error


def read(path: Path, offset: int = 0) -> Iterator[tuple[int, Truths]]:
    """The records of a log from a place on, each with the place behind it; stops at a torn one.

    Parameters
    ----------
    offset
        0, or what came with an earlier record.
    """
    with path.open("rb") as file:
        file.seek(offset)
        at = offset
        while len(frame := file.read(FRAME.size)) == FRAME.size:
            length, crc = FRAME.unpack(frame)
            payload = file.read(length)
            if not length or len(payload) != length or zlib.crc32(payload) != crc:
                return
            begun, at = at, at + FRAME.size + length
            if begun:  # the first is the header
                yield at, _truths.decode(payload)


def parse(body: bytes) -> tuple[list[Item], bool]:
    """The items of a request's body, and whether it was a single one.

    Raises
    ------
    InvalidRequest
        For another form, with the place.
    TooLarge
        For too many at once.
    """
    single = body.lstrip()[:1] == b"{"
    try:
        items = [_one.decode(body)] if single else _many.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidRequest(
            _explain(str(error), single), 'Send [{"id": "…", "truth": …}, …] or one such object.'
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what = "is empty" if not body.strip() else "is not valid JSON"
        raise InvalidRequest(
            f"The body {what}.", 'Send [{"id": "…", "truth": …}, …] or one such object.'
        ) from error
    if not items:
        raise InvalidRequest("The request has no truths.", "Send at least one.")
    if len(items) > MOST:
        raise TooLarge(
            f"The request has {len(items):,} truths; at most {MOST:,} are taken at once.",
            "Send them in several requests.",
            {"limit": MOST, "length": len(items)},
        )
    return items, single


def _explain(text: str, single: bool) -> str:
    what, _, place = text.partition(" - at `$")
    number = "" if single else place.partition("]")[0].lstrip("[")
    where = f"Item {number}" if number.isdecimal() else "The body"
    key = place.rstrip("`").rpartition(".")[2] if "." in place else ""
    what = what[:1].lower() + what[1:]
    return f"{where}{f', `{key}`' if key else ''}: {what}."


class Known:
    """Which rows were captured; counts the rows of a sealed segment once.

    Parameters
    ----------
    captures
        The project's ``captures`` folder.
    """

    def __init__(self, captures: Path) -> None:
        self._captures = captures
        self._rows: dict[Path, tuple[int, int]] = {}

    def sort(
        self, name: str, items: Sequence[Item], open_rows: Mapping[tuple[int, int], int]
    ) -> tuple[list[Found], list[str]]:
        """Truths whose row was captured, and the ids of the others.

        Parameters
        ----------
        open_rows
            Rows by revision and segment in the segments that are being written.
        """
        rows = dict(open_rows)
        found: list[Found] = []
        unknown: list[str] = []
        for item in items:
            place = parse_id(item.id)
            if place is None or place.endpoint != name:
                unknown.append(item.id)
                continue
            key = (place.revision, place.segment)
            if key not in rows:
                rows[key] = self._count(path_of(self._captures, name, *key))
            if place.row < rows[key]:
                found.append((*key, place.row, item.truth))
            else:
                unknown.append(item.id)
        return found, unknown

    def _count(self, path: Path) -> int:
        try:
            size = path.stat().st_size
            seen = self._rows.get(path)
            if seen is not None and seen[0] == size:
                return seen[1]
            count = recall.Reader(path).rows()
        except FileNotFoundError:
            return 0
        if len(self._rows) >= _REMEMBERED:
            self._rows.clear()
        self._rows[path] = (size, count)
        return count
