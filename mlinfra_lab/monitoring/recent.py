"""The newest predictions, with what came true of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from mlinfra_lab.monitoring.cells import numbers
from mlinfra_lab.monitoring.heat import Column
from mlinfra_lab.monitoring.loss import Answers
from mlinfra_lab.monitoring.seen import Seen
from mlinfra_lab.monitoring.tail import Position, Tail
from mlinfra_lab.schema.endpoints import Prediction
from mlinfra_lab.schema.monitoring import Recent
from mlinfra_lab.segments import ENTRY, Truths, parse_id, segments, truth_folder

_BACK = 2**19
"""Bytes at the end of the truth log that are looked through for the newest predictions."""
_COLUMNS = 5
_DRIFTED = 2


def recent(
    seen: Seen, predictions: Sequence[Prediction], truths: dict[str, Any], shown: Sequence[str]
) -> tuple[Recent, ...]:
    """Predictions as the page shows them."""
    readers = {number: Answers(baseline) for number, baseline in seen.baselines.items()}
    found = []
    for one in predictions:
        row = one.row if isinstance(one.row, dict) else {}
        reader = readers.get(one.revision)
        score = None
        if reader is not None and seen.baselines[one.revision].prediction.kind == "number":
            value = float(numbers(reader.scores([one.prediction]))[0])
            score = None if math.isnan(value) else value
        found.append(
            Recent(
                id=one.id,
                at=one.at,
                event_time=one.event_time,
                row={name: row.get(name) for name in shown},
                prediction=one.prediction,
                score=score,
                label=seen.label(one.revision),
                truth=truths.get(one.id),
                latency=one.latency,
            )
        )
    return tuple(found)


def columns_shown(
    seen: Seen, predictions: Sequence[Prediction], windows: Sequence[Column]
) -> tuple[str, ...]:
    """Which of a row's columns are shown: those of slices, what explains most, then as they come."""
    first = next((one.row for one in predictions if isinstance(one.row, dict)), None)
    if first is None:
        return ()
    explaining: list[str] = []
    if windows and windows[-1].shares:
        last = windows[-1]
        names = sorted(last.places, key=lambda name: -(last.shares or [])[last.places[name]])
        explaining = names[:_DRIFTED]
    kept = [name for name in (*seen.settings.slices, *explaining, *first) if name in first]
    chosen = list(dict.fromkeys(kept))[:_COLUMNS]
    return tuple(name for name in first if name in chosen)


def truths_of(captures: Path, endpoint: str, ids: Collection[str]) -> dict[str, Any]:
    """What came true of some predictions, by their ids, as far as the end of the log tells.

    Truths that are older than what the log's last half megabyte holds are not looked for: this is about
    the newest predictions, and a page is drawn often.
    """
    wanted = {(place.revision, place.segment, place.row): id for id in ids if (place := parse_id(id))}
    folder = truth_folder(captures, endpoint)
    listed = segments(folder)
    if not wanted or not listed:
        return {}
    number, path = listed[-1]
    start = _start(path)
    behind = listed[-2:-1] if start == 0 else []
    found: dict[str, Any] = {}
    for one, where, offset in [*((n, p, _start(p)) for n, p in behind), (number, path, start)]:
        position = Position(segment=one, offset=offset)
        tail: Tail[Truths] = Tail(folder, Truths, position, Position(segment=one, offset=_size(where)))
        for piece in tail.read():
            for record in piece.records:
                for revision, segment, row, truth in record.truths:
                    if (id := wanted.get((revision, segment, row))) is not None:
                        found[id] = truth
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _start(path: Path) -> int:
    """The first indexed place within so much of the end."""
    limit = _size(path) - _BACK
    if limit <= 0:
        return 0
    try:
        data = path.with_suffix(".idx").read_bytes()
    except FileNotFoundError:
        return 0
    places = [offset for offset, _ in ENTRY.iter_unpack(data[: len(data) // ENTRY.size * ENTRY.size])]
    return next((offset for offset in places if offset >= limit), 0)
