"""One endpoint as the monitor follows it: its streams, what was counted of them, and what comes next."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlinfra_lab.monitoring import baselines, store
from mlinfra_lab.monitoring.answered import Answered
from mlinfra_lab.monitoring.counting import Added, Counting, Slicing, Unpacked
from mlinfra_lab.monitoring.store import BESIDE
from mlinfra_lab.monitoring.tail import Position, Tail
from mlinfra_lab.monitoring.truths import Joining
from mlinfra_lab.monitoring.windows import cut_of
from mlinfra_lab.schema.common import JSON
from mlinfra_lab.schema.monitoring import Baseline
from mlinfra_lab.segments import Record, Truths, truth_folder
from mlinfra_lab.settings import EndpointSettings
from mlinfra_lab.storage import Storage

TRUTH, FRONT = "truth", "front"
"""Names of streams; a revision's rows are named by its number, what is beside them ``5/beside-3``."""
WORK = "mlinfra_lab.monitoring.work:baseline"
BUDGET = 4 * 2**20
"""Bytes of an endpoint's captures that go into one unit at most."""
_ALL_SECONDS = 5.0
"""How often revisions are looked at that should not be asked anything any more."""

Positions = dict[str, tuple[int, int, JSON]]


def position_of(row: tuple[int, int, JSON] | None) -> Position | None:
    """A stream's position from its row."""
    if row is None:
        return None
    segment, offset, detail = row
    behind = {int(number): at for number, at in detail.get("behind", {}).items()}
    return Position(segment=segment, offset=offset, behind=behind)


def row_of(position: Position, detail: JSON) -> tuple[int, int, JSON]:
    """A position's row."""
    behind = {str(number): at for number, at in position.behind.items()}
    return position.segment, position.offset, detail | ({"behind": behind} if behind else {})


class Watching:
    """Follows one endpoint.

    Parameters
    ----------
    positions
        How far each of its streams had been read when this process began.
    """

    def __init__(
        self, captures: Path, storage: Storage, name: str, settings: EndpointSettings, positions: Positions
    ) -> None:
        self.name = name
        self.settings = settings
        self.hot: set[int] = set()
        """Revisions that are, or soon may be, asked something."""
        self._captures, self._storage = captures, storage
        self._positions = positions
        self._cut = cut_of(settings.window)
        with storage.read() as connection:
            rows = store.quality_of(connection, name) if settings.slices else {}
        known: dict[str, set[str]] = {}
        for _, _, column, value in rows:
            if column not in ("", BESIDE):
                known.setdefault(column, set()).add(value)
        self._answered = Answered(captures / name, settings.slices)
        self._counting: dict[int, Counting] = {}
        self._tails: dict[int, Tail[Record]] = {}
        self._small: dict[int, int] = {}
        self._all = 0.0
        truth = position_of(positions.get(TRUTH))
        totals = positions[TRUTH][2] if TRUTH in positions else {}
        slicing = Slicing(settings.slices, known)
        counted = {key: one for key, one in totals.items() if key != "behind"}
        self.joining = Joining(captures, name, slicing, self._answered, self._counting, counted)
        folder = truth_folder(captures, name)
        self._truths: Tail[Truths] = Tail(folder, Truths, truth)
        for stream in positions:
            if f"/{BESIDE}-" in stream:
                candidate, _, stable = stream.partition(f"/{BESIDE}-")
                self.joining.watch(int(candidate), int(stable), position_of(positions[stream]))
            elif stream.isdigit():
                self._begin(int(stream), Added())
        if truth is not None:
            for piece in Tail[Truths](folder, Truths, None, truth).read():
                self.joining.remember(piece)

    # -- revisions --------------------------------------------------------------------------------

    def _begin(self, number: int, added: Added) -> bool:
        """Count a revision from now on, once its baseline is known."""
        with self._storage.read() as connection:
            baseline = store.baseline_of(connection, self.name, number)
        if baseline is None:
            baseline = self._first_rows(number)
        if baseline is None:
            return False
        stream = str(number)
        row = self._positions.get(stream)
        detail = row[2] if row is not None else {}
        starts = {int(segment): start for segment, start in detail.get("starts", {}).items()}
        self._counting[number] = Counting(
            self.name, number, baseline, self._cut, starts, int(detail.get("rows", 0))
        )
        self._tails[number] = Tail(self._captures / self.name / stream, Record, position_of(row))
        if row is None:
            # That its position stands says that truths which came before are in the sums.
            added.positions[self.name, stream] = row_of(self._tails[number].position, {"rows": 0})
            self.joining.begin(number, added)
        return True

    def _first_rows(self, number: int) -> Baseline | None:
        """A baseline from the first rows, when the model brings none and there are enough."""
        folder = self._captures / self.name / str(number)
        size = sum(path.stat().st_size for path in folder.glob("*.seg"))
        if size == self._small.get(number):
            return None
        self._small[number] = size
        rows: list[Any] = []
        predictions: list[Any] = []
        first: Record | None = None
        columns, types = (), ()  # type: tuple[str, ...], tuple[str, ...]
        for piece in Tail[Record](folder, Record).read():
            for record in piece.records:
                first = first or record
                if record.columns != first.columns:
                    continue
                columns = piece.header.columns if first.columns is None else tuple(first.columns)
                types = piece.header.types
                rows += record.rows
                predictions += record.predictions
            if len(rows) >= baselines.FIRST:
                break
        if len(rows) < baselines.FIRST:
            return None
        with self._storage.read() as connection:
            if store.baseline_is_awaited(connection, WORK, self.name, number):
                del self._small[number]
                return None
        made = baselines.from_rows(
            columns,
            types,
            rows[: baselines.FIRST],
            predictions[: baselines.FIRST],
        )
        # Written before anything is counted into it; of two that are written the first one stays.
        with self._storage.unit() as unit:
            store.put_baseline(unit, self.name, number, made)
            return store.baseline_of(unit.connection, self.name, number)

    def _look(self, added: Added) -> Iterator[int]:
        """The revisions whose streams are to be read now."""
        everything = time.monotonic() - self._all >= _ALL_SECONDS
        if everything:
            self._all = time.monotonic()
        try:
            names = [path.name for path in (self._captures / self.name).iterdir()]
        except FileNotFoundError:
            return
        for number in sorted(int(name) for name in names if name.isdigit()):
            if (everything or number in self.hot or number not in self._counting) and (
                number in self._counting or self._begin(number, added)
            ):
                yield number

    # -- reading ----------------------------------------------------------------------------------

    def read(self, added: Added) -> bool:
        """Take what came since into what is added; true when there is more than one unit takes."""
        left = BUDGET
        numbers = list(self._look(added))
        for number in numbers:
            left = self._rows(number, added, left)
            if left <= 0:
                return True
        for pair in self._present_besides():
            left = self._beside(*pair, added, left)
            if left <= 0:
                return True
        # Truth comes last: what it is about has been counted by now.
        return self._read_truths(added, left) <= 0

    def _rows(self, number: int, added: Added, left: int) -> int:
        counting, tail = self._counting[number], self._tails[number]
        read = False
        for piece in tail.read():
            unpacked = Unpacked(piece)
            counting.count(unpacked, added)
            self._answered.add(number, piece, unpacked)
            read = True
            left -= piece.end - piece.start
            if left <= 0:
                break
        if read:
            starts = {str(segment): start for segment, start in counting.starts.items()}
            detail = {"rows": counting.rows, "starts": starts}
            added.positions[self.name, str(number)] = row_of(tail.position, detail)
        return left

    def _present_besides(self) -> list[tuple[int, int]]:
        for number in self.hot:
            for path in (self._captures / self.name / str(number)).glob(f"{BESIDE}-*"):
                stable = path.name.removeprefix(f"{BESIDE}-")
                if stable.isdigit():
                    self.joining.watch(number, int(stable), None)
        return [key for key in self.joining.beside if key[0] in self.hot]

    def _beside(self, candidate: int, stable: int, added: Added, left: int) -> int:
        tail = self.joining.beside[candidate, stable].tail
        read = False
        for piece in tail.read():
            self.joining.answered_beside(candidate, stable, piece, added)
            read = True
            left -= piece.end - piece.start
            if left <= 0:
                break
        if read:
            stream = f"{candidate}/{BESIDE}-{stable}"
            added.positions[self.name, stream] = row_of(tail.position, {})
        return left

    def _read_truths(self, added: Added, left: int) -> int:
        read = False
        for piece in self._truths.read():
            self.joining.take(piece, added)
            read = True
            left -= piece.end - piece.start
            if left <= 0:
                break
        if read:
            added.positions[self.name, TRUTH] = row_of(self._truths.position, dict(self.joining.totals))
        return left
