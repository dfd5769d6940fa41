"""The form of what is captured, which the front writes and the monitor and the traces read.

A segment ``captures/ENDPOINT/REVISION/SEGMENT.seg`` is a sequence of records: length and CRC32 of the
payload (little-endian ``u32`` each), then the payload as msgpack. The first payload is a `Header`, the
others are `Record` s, one a request. Each was written by one ``write(2)``, so what a crash can leave is a
torn tail and nothing else. A segment that its writer has done with has the mode 0400.

A prediction's id is ``endpoint.revision.segment.row``; rows count from 0 in each segment.

What the stable version answers to a candidate's rows lies in
``captures/ENDPOINT/CANDIDATE/beside-STABLE/SEGMENT.seg``: the header names STABLE, a record has ``n`` rows of
which it holds only the predictions, and ``request`` is the prediction id of the first one as the candidate
answered it. What came true lies in ``captures/ENDPOINT/truth/SEGMENT.seg``: the header has revision 0 and the
columns `TRUTH_COLUMNS`, each record is one request's `Truths`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

__all__ = [
    "ENTRY",
    "FORMAT",
    "FRAME",
    "TRUTH_COLUMNS",
    "Header",
    "PredictionId",
    "Record",
    "Truths",
    "beside_folder",
    "parse_id",
    "path_of",
    "segments",
    "truth_folder",
]

FORMAT = 1
FRAME = struct.Struct("<II")
ENTRY = struct.Struct("<QQ")
"""An entry of a segment's index: offset of a record, and its first row."""
# One spelling each: no number begins with a zero.
_ID = re.compile(r"([a-z0-9][a-z0-9-]*)" + r"\.(0|[1-9][0-9]{0,17})" * 3 + r"\Z")


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a segment begins with.

    Attributes
    ----------
    format
        Version of the format; a reader refuses one it does not know.
    columns, types
        Names and MLflow types of the values in a record's rows; empty for tensors and for models
        without a signature.
    created
        Seconds since the epoch.
    """

    format: int
    endpoint: str
    revision: int
    segment: int
    columns: tuple[str, ...]
    types: tuple[str, ...]
    created: float


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One request and its answer.

    New fields go to the end with a default: old readers pass over them, new ones read old records.

    Attributes
    ----------
    first_row
        Number of its first row in the segment; it has ``n``.
    at
        When it was answered, seconds since the epoch.
    request
        The request's id.
    latency
        Seconds from its arrival.
    rows, predictions
        One value each a row; a row holds the values of the header's columns in their order.
    event_times
        Seconds since the epoch, by row, where the request said them.
    columns
        Names of the values when the header has none.
    """

    first_row: int
    n: int
    at: float
    request: str
    latency: float
    rows: Sequence[Any]
    predictions: Sequence[Any]
    event_times: Sequence[float | None] | None = None
    columns: Sequence[str] | None = None


TRUTH_COLUMNS = ("revision", "segment", "row", "truth")


class Truths(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One request's truths; of several for one row the last is right.

    Attributes
    ----------
    at
        When they came, seconds since the epoch.
    truths
        Revision, segment, row, and what came true.
    """

    at: float
    truths: Sequence[tuple[int, int, int, Any]]


class PredictionId(NamedTuple):
    """``endpoint.revision.segment.row``, taken apart."""

    endpoint: str
    revision: int
    segment: int
    row: int


def parse_id(id: str) -> PredictionId | None:
    """Take a prediction's id apart; ``None`` when it is no such id (endpoint names hold no dot)."""
    match = _ID.match(id)
    return PredictionId(match[1], int(match[2]), int(match[3]), int(match[4])) if match else None


def segments(folder: Path) -> list[tuple[int, Path]]:
    """Numbers and files of a revision's segments, oldest first."""
    if not folder.is_dir():
        return []
    return sorted((int(path.stem), path) for path in folder.glob("*.seg") if path.stem.isdigit())


def path_of(captures: Path, endpoint: str, revision: int, segment: int) -> Path:
    """Where a segment lies."""
    return captures / endpoint / str(revision) / f"{segment:06d}.seg"


def beside_folder(captures: Path, endpoint: str, candidate: int, stable: int) -> Path:
    """Where the stable version's answers to a candidate's rows lie."""
    return captures / endpoint / str(candidate) / f"beside-{stable}"


def truth_folder(captures: Path, endpoint: str) -> Path:
    """Where what came true for an endpoint's answers lies."""
    return captures / endpoint / "truth"
