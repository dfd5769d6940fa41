"""What was answered, by row, for the truth that comes later.

The newest segments are kept as they were counted; one that truth comes for and that is not kept is read
once more, whole, and kept in place of the one that was not needed for longest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlinfra_lab.monitoring.cells import Floats
from mlinfra_lab.monitoring.counting import Ints, Rows, Unpacked
from mlinfra_lab.monitoring.tail import Piece, Position, Tail
from mlinfra_lab.segments import Record

MOST_ROWS = 2_000_000
"""Rows that are kept; some 30 bytes each where predictions are numbers."""


class Segment:
    """The rows of one segment from its first on, as far as they were read."""

    def __init__(self) -> None:
        self.end = 0
        self.rows = 0
        self._parts: list[Rows] = []

    def add(self, piece: Piece[Record], rows: Rows) -> None:
        """Take what follows what is there; what is there already, or leaves a gap, is not taken."""
        if piece.start == self.end or (self.end == 0 and piece.records[0].first_row == 0):
            self._parts.append(rows)
            self.rows += len(rows.times)
            self.end = piece.end

    def _whole(self) -> Rows:
        if len(self._parts) > 1:
            first = self._parts[0]
            predictions = [part.predictions for part in self._parts]
            same = all(
                isinstance(one, np.ndarray) and one.shape[1:] == predictions[0].shape[1:]
                for one in predictions
            )
            joined: Any = np.concatenate(predictions) if same else [x for one in predictions for x in one]
            slices = {
                name: [value for part in self._parts for value in part.slices[name]] for name in first.slices
            }
            times = np.concatenate([part.times for part in self._parts])
            self._parts = [Rows(predictions=joined, times=times, slices=slices)]
        return self._parts[0]

    def take(self, rows: Ints) -> tuple[Sequence[Any], Floats, dict[str, list[Any]]]:
        """Predictions, times and slicing values of some rows."""
        whole = self._whole()
        if isinstance(whole.predictions, np.ndarray):
            predictions: Any = whole.predictions[rows]
        else:
            predictions = [whole.predictions[row] for row in rows]
        slices = {name: [values[row] for row in rows] for name, values in whole.slices.items()}
        return predictions, whole.times[rows], slices


class Answered:
    """The segments of one endpoint.

    Parameters
    ----------
    folder
        ``captures/ENDPOINT``.
    slices
        Columns whose values are kept.
    """

    def __init__(self, folder: Path, slices: Sequence[str]) -> None:
        self._folder = folder
        self._slices = tuple(slices)
        self._kept: OrderedDict[tuple[int, int], Segment] = OrderedDict()

    def add(self, revision: int, piece: Piece[Record], unpacked: Unpacked) -> None:
        """Keep a piece that was just counted."""
        key = (revision, piece.segment)
        known = self._kept.get(key)
        if known is None:
            if piece.records[0].first_row != 0:
                return  # it was begun before this process: read when it is needed
            known = self._kept[key] = Segment()
        if known.end <= piece.start:
            known.add(piece, unpacked.kept(self._slices))
        self._kept.move_to_end(key)
        self._trim()

    def get(self, revision: int, segment: int, row: int) -> Segment | None:
        """A segment that holds a row; ``None`` when there is no such row."""
        key = (revision, segment)
        known = self._kept.get(key)
        if known is None or known.rows <= row:
            known = self._read(revision, segment, known or Segment())
            self._kept[key] = known
        self._kept.move_to_end(key)
        self._trim()
        return known if known.rows else None

    def _read(self, revision: int, segment: int, known: Segment) -> Segment:
        folder = self._folder / str(revision)
        tail: Tail[Record] = Tail(
            folder,
            Record,
            Position(segment=segment, offset=known.end),
            Position(segment=segment, offset=2**62),
        )
        for piece in tail.read():
            known.add(piece, Unpacked(piece).kept(self._slices))
        return known

    def _trim(self) -> None:
        rows = sum(one.rows for one in self._kept.values())
        while rows > MOST_ROWS and len(self._kept) > 1:
            _, gone = self._kept.popitem(last=False)
            rows -= gone.rows
