"""What came true, joined with what was answered.

Of several truths for one row the last is right: what an earlier one added to the sums is taken off again,
by computing it once more. For that the monitor keeps the truths in memory, eight bytes a row that has one,
and reads the log again when it starts, as far as its position says that it had been counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlinfra_lab.monitoring import loss, store
from mlinfra_lab.monitoring.answered import Answered
from mlinfra_lab.monitoring.cells import Floats
from mlinfra_lab.monitoring.counting import Added, Counting, Ints, Slicing
from mlinfra_lab.monitoring.store import BESIDE, QualityKey, Sums
from mlinfra_lab.monitoring.tail import Piece, Position, Tail
from mlinfra_lab.schema.endpoints import Paired
from mlinfra_lab.schema.monitoring import Baseline
from mlinfra_lab.segments import Record, Truths, beside_folder, parse_id

METRICS = {"log_loss": "log loss", "error_rate": "error rate", "mae": "mean absolute error"}
_NONE: Any = object()
_PAIR = ("n", "candidate", "stable", "squares")


class Beside:
    """What one version answered to another's rows.

    Parameters
    ----------
    folder
        Where its segments lie.
    counted
        How far they had been read when this process began: read again when truth comes for those rows.
    """

    def __init__(self, folder: Path, counted: Position | None) -> None:
        self.tail: Tail[Record] = Tail(folder, Record, counted)
        self._folder = folder
        self._older = counted
        self._answers: dict[int, dict[int, Any]] = {}

    def take(self, piece: Piece[Record]) -> dict[int, list[int]]:
        """Keep answers; returns the rows they are for, by the candidate's segment."""
        rows: dict[int, list[int]] = {}
        for record in piece.records:
            place = parse_id(record.request)
            if place is None:
                continue
            known = self._answers.setdefault(place.segment, {})
            for offset, prediction in enumerate(record.predictions):
                known[place.row + offset] = prediction
            rows.setdefault(place.segment, []).extend(range(place.row, place.row + len(record.predictions)))
        return rows

    def answers(self, segment: int) -> dict[int, Any]:
        """Answers by row of the candidate's segment."""
        if self._older is not None:
            older, self._older = self._older, None
            for piece in Tail[Record](self._folder, Record, None, older).read():
                self.take(piece)
        return self._answers.get(segment, {})


class Joining:
    """One endpoint's truths, and what they say of the quality of its revisions.

    Parameters
    ----------
    folder
        ``captures/ENDPOINT``.
    counting
        The revisions that are counted; those that are not yet are made up for in `begin`.
    totals
        How many truths were taken so far, and which of them were odd, see `take`.
    """

    def __init__(
        self,
        captures: Path,
        endpoint: str,
        slicing: Slicing,
        answered: Answered,
        counting: Mapping[int, Counting],
        totals: Mapping[str, int],
    ) -> None:
        self._captures, self._endpoint = captures, endpoint
        self._slicing = slicing
        self._answered = answered
        self._counting = counting
        self._truths: dict[tuple[int, int], list[Any]] = {}
        self.beside: dict[tuple[int, int], Beside] = {}
        names = ("truths", "duplicates", "contradictions", "unknown", "unreadable")
        self.totals = {name: int(totals.get(name, 0)) for name in names}

    def watch(self, candidate: int, stable: int, counted: Position | None) -> Beside:
        """Follow what ``stable`` answers to the rows of ``candidate``."""
        key = (candidate, stable)
        if key not in self.beside:
            folder = beside_folder(self._captures, self._endpoint, candidate, stable)
            self.beside[key] = Beside(folder, counted)
        return self.beside[key]

    # -- taking -----------------------------------------------------------------------------------

    def remember(self, piece: Piece[Truths]) -> None:
        """Take truths that are in the sums already."""
        for record in piece.records:
            for revision, segment, row, truth in record.truths:
                self._set(revision, segment, row, truth)

    def _set(self, revision: int, segment: int, row: int, truth: Any) -> Any:
        """Keep a truth and return the one before."""
        known = self._truths.setdefault((revision, segment), [])
        if row >= len(known):
            known.extend([_NONE] * (row + 1 - len(known)))
        before, known[row] = known[row], truth
        return before

    def take(self, piece: Piece[Truths], added: Added) -> None:
        """Take truths and what they say into the sums.

        Counted apart: the same truth once more, another one for a row that had one, one for a row that
        is not there (its segment was removed), and one that cannot be read as the model's.
        """
        before: dict[tuple[int, int], dict[int, Any]] = {}
        for record in piece.records:
            for revision, segment, row, truth in record.truths:
                earlier = self._set(revision, segment, row, truth)
                self.totals["truths"] += 1
                if earlier is not _NONE:
                    self.totals["duplicates" if earlier == truth else "contradictions"] += 1
                before.setdefault((revision, segment), {}).setdefault(row, earlier)
        for (revision, segment), rows in before.items():
            if revision not in self._counting:
                continue
            known = self._truths[revision, segment]
            changed = [row for row, earlier in rows.items() if earlier is _NONE or earlier != known[row]]
            old = [row for row in changed if rows[row] is not _NONE]
            self._judge(revision, segment, old, [rows[row] for row in old], -1, added)
            self._judge(revision, segment, changed, [known[row] for row in changed], 1, added)

    def begin(self, revision: int, added: Added) -> None:
        """A revision is counted from now on: take in the truths that came before."""
        for (number, segment), known in list(self._truths.items()):
            if number == revision:
                rows = [row for row, truth in enumerate(known) if truth is not _NONE]
                self._judge(revision, segment, rows, [known[row] for row in rows], 1, added)

    def answered_beside(self, candidate: int, stable: int, piece: Piece[Record], added: Added) -> None:
        """Take what another version answered to a candidate's rows; truth can have come before."""
        rows_by_segment = self.watch(candidate, stable, None).take(piece)
        if candidate not in self._counting:
            return
        for segment, rows in rows_by_segment.items():
            known = self._truths.get((candidate, segment), [])
            judged = [row for row in rows if row < len(known) and known[row] is not _NONE]
            if judged:
                table, numbers, judged = self._losses(
                    candidate, segment, judged, [known[row] for row in judged]
                )
                truths = [known[row] for row in judged]
                self._pair(candidate, stable, segment, judged, truths, table, numbers, 1, added)

    # -- judging ----------------------------------------------------------------------------------

    def _losses(
        self, revision: int, segment: int, rows: list[int], truths: list[Any]
    ) -> tuple[Floats, Ints, list[int]]:
        """Losses, bucket numbers, and the rows that are there."""
        held = self._answered.get(revision, segment, max(rows))
        count = 0 if held is None else held.rows
        if held is None or max(rows) >= count:
            truths = [truth for row, truth in zip(rows, truths, strict=True) if row < count]
            rows = [row for row in rows if row < count]
        if held is None or not rows:
            return np.zeros((0, len(loss.FIELDS))), np.zeros(0, dtype=np.int64), []
        places = np.array(rows, dtype=np.int64)
        predictions, times, _ = held.take(places)
        counting = self._counting[revision]
        table = counting.answers.losses(predictions, truths)
        return table, counting.numbers_at(segment, places, times), rows

    def _judge(
        self, revision: int, segment: int, rows: list[int], truths: list[Any], sign: int, added: Added
    ) -> None:
        if not rows:
            return
        asked = dict(zip(rows, truths, strict=True))
        table, numbers, rows = self._losses(revision, segment, rows, truths)
        truths = [asked[row] for row in rows]
        if sign > 0:
            self.totals["unknown"] += len(asked) - len(rows)
            self.totals["unreadable"] += int((table[:, 0] == 0).sum())
        if not rows:
            return
        self._sum(revision, "", [""] * len(rows), numbers, table, loss.FIELDS, sign, added)
        if self._slicing.columns:
            held = self._answered.get(revision, segment, max(rows))
            assert held is not None
            _, _, values = held.take(np.array(rows, dtype=np.int64))
            for column, own in values.items():
                names = [self._slicing.name(column, value) for value in own]
                self._sum(revision, column, names, numbers, table, loss.FIELDS, sign, added)
        for candidate, stable in self.beside:
            if candidate == revision:
                self._pair(candidate, stable, segment, rows, truths, table, numbers, sign, added)

    def _pair(
        self,
        candidate: int,
        stable: int,
        segment: int,
        rows: Sequence[int],
        truths: Sequence[Any],
        table: Floats,
        numbers: Ints,
        sign: int,
        added: Added,
    ) -> None:
        answers = self.beside[candidate, stable].answers(segment)
        here = [place for place, row in enumerate(rows) if row in answers]
        if not here:
            return
        reader = self._counting.get(stable) or self._counting[candidate]
        other = reader.answers.losses(
            [answers[rows[place]] for place in here], [truths[place] for place in here]
        )
        own = table[here]
        both = (own[:, 0] == 1) & (other[:, 0] == 1)
        # What both can read is bounded on both sides, and so are the squares, see `loss.Answers.losses`.
        mine, theirs = own[both, 1], other[both, 1]
        pairs = np.column_stack([np.ones(len(mine)), mine, theirs, (mine - theirs) ** 2])
        names = [str(stable)] * len(pairs)
        self._sum(candidate, BESIDE, names, numbers[here][both], pairs, _PAIR, sign, added)

    def _sum(
        self,
        revision: int,
        column: str,
        values: list[str],
        numbers: Ints,
        table: Floats,
        fields: Sequence[str],
        sign: int,
        added: Added,
    ) -> None:
        places: dict[tuple[int, str], int] = {}
        codes = [places.setdefault(key, len(places)) for key in zip(numbers.tolist(), values, strict=True)]
        sums = np.zeros((len(places), len(fields)))
        np.add.at(sums, codes, table)
        bucket = self._counting[revision].bucket
        for (number, value), place in places.items():
            key: QualityKey = (revision, bucket(number), column, value)
            total: Sums = {name: sign * float(x) for name, x in zip(fields, sums[place], strict=True)}
            added.judged(self._endpoint, key, total)


def paired(baseline: Baseline | None, sums: Mapping[QualityKey, Sums], stable: str) -> Paired:
    """A candidate's quality beside the stable version's, from the rows of ``quality``."""
    total: Sums = {}
    for (_, _, column, value), more in sums.items():
        if column == BESIDE and value == stable:
            total = store.plus(total, more)
    metric = METRICS[loss.metric(baseline) if baseline is not None else "log_loss"]
    n = round(total.get("n", 0))
    if n < 1:
        return Paired(n=0, candidate=None, stable=None, metric=metric)
    candidate, other = total["candidate"] / n, total["stable"] / n
    error = None
    if n > 1:
        spread = max(total["squares"] - n * (candidate - other) ** 2, 0.0) / (n - 1)
        error = math.sqrt(spread / n)
    return Paired(n=n, candidate=candidate, stable=other, metric=metric, error=error)
