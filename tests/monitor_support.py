"""Endpoints with traffic for tests of monitoring: real segments, real rows, no model process."""

from __future__ import annotations

import datetime as dt
import math
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlinfra_lab.endpoints import recall
from mlinfra_lab.endpoints import store as endpoint_store
from mlinfra_lab.endpoints.capture import Writer
from mlinfra_lab.endpoints.truth import TruthWriter
from mlinfra_lab.endpoints.truth import read as read_truths
from mlinfra_lab.monitoring import store
from mlinfra_lab.monitoring.baselines import FIRST
from mlinfra_lab.monitoring.cells import Counter
from mlinfra_lab.monitoring.loss import FIELDS, Answers
from mlinfra_lab.monitoring.process import Monitor
from mlinfra_lab.monitoring.profile import make_baseline
from mlinfra_lab.project import Project
from mlinfra_lab.schema.common import now
from mlinfra_lab.schema.endpoints import InputColumn, Revision
from mlinfra_lab.schema.monitoring import Baseline
from mlinfra_lab.segments import parse_id, segments, truth_folder

COLUMNS = ("x", "kind", "noise")
TYPES = ("double", "string", "double")
DAY = 86400.0
START = dt.datetime(2013, 1, 1, tzinfo=dt.UTC).timestamp()
NAME = "delay"
Row = list[Any]

__all__ = [
    "COLUMNS", "DAY", "FIRST", "NAME", "START", "Line", "answer", "baseline", "drain", "publish", "recount",
    "rows", "sums", "truth_of",
]  # fmt: skip


def answer(x: float | None) -> float:
    """What the model says: a probability."""
    return 0.2 if x is None else 1 / (1 + math.exp(-x))


def rows(count: int, chance: random.Random, shift: float = 0.0) -> list[Row]:
    """Rows as the model was trained on, or moved by so much."""
    return [[chance.gauss(shift, 1), chance.choice("aab"), chance.random()] for _ in range(count)]


def truth_of(row: Row, chance: random.Random, wrong: float = 0.0) -> int:
    """What comes true: as the model believes, or, with so much chance, the opposite."""
    found = int(chance.random() < answer(row[0]))
    return 1 - found if chance.random() < wrong else found


def baseline(seed: int = 0, count: int = 4000) -> Baseline:
    """The model's baseline."""
    chance = random.Random(seed)
    table = rows(count, chance)
    frame = pd.DataFrame(table, columns=list(COLUMNS))
    predictions = np.array([[1 - answer(row[0]), answer(row[0])] for row in table])
    truth = [truth_of(row, chance) for row in table]
    return make_baseline(frame, frame, predictions, truth, positive=1)


def publish(project: Project, name: str = NAME, known: Baseline | None = None, version: int = 1) -> int:
    """A new revision that answers; returns its number."""
    with project.storage.unit() as unit:
        number = endpoint_store.next_number(unit.connection, name)
        revision = Revision(
            endpoint=name, number=number, model="line", version=version, run=None, alias="champion",
            state="starting", columns=tuple(
                InputColumn(name=one, type=kind) for one, kind in zip(COLUMNS, TYPES, strict=True)
            ),
            created=now(), created_by="test",
        )  # fmt: skip
        endpoint_store.add_revision(unit, revision)
        endpoint_store.switched(unit, name, number, f"http://127.0.0.1:1/{name}/invocations")
        if known is not None:
            store.put_baseline(unit, name, number, known)
    return number


class Line:
    """What the front writes for one revision."""

    def __init__(self, project: Project, number: int, name: str = NAME, limit: int = 2**26) -> None:
        captures = project.state / "captures"
        self.name, self.number = name, number
        self.writer = Writer(captures, name, number, COLUMNS, TYPES, limit=limit)
        self._truths = TruthWriter(captures, name)

    def ask(
        self, asked: Sequence[Row], times: Sequence[float | None] | None = None, at: float | None = None
    ) -> list[str]:
        """One request, answered and captured; returns the rows' ids."""
        answers = [[1 - answer(row[0]), answer(row[0])] for row in asked]
        moment = now().timestamp() if at is None else at
        first = self.writer.append(
            [list(row) for row in asked], answers, at=moment, request="r", latency=0.002, event_times=times
        )
        prefix = f"{self.name}.{self.number}.{self.writer.segment}."
        return [f"{prefix}{first + place}" for place in range(len(asked))]

    def days(
        self,
        first: int,
        days: int,
        chance: random.Random,
        each: int = 60,
        shift: float = 0.0,
        wrong: float = 0.0,
    ) -> list[tuple[str, int]]:
        """Some days of traffic with event times; returns ids with what comes true."""
        found = []
        for day in range(first, first + days):
            asked = rows(each, chance, shift)
            times = [START + day * DAY + chance.random() * DAY for _ in asked]
            ids = self.ask(asked, times)
            found += [(id, truth_of(row, chance, wrong)) for id, row in zip(ids, asked, strict=True)]
        return found

    def true(self, truths: Iterable[tuple[str, Any]]) -> None:
        """What came true."""
        found = []
        for id, truth in truths:
            place = parse_id(id)
            assert place is not None
            found.append((place.revision, place.segment, place.row, truth))
        self._truths.add(found, now().timestamp())

    def close(self) -> None:
        """Seal everything."""
        self.writer.close()
        self._truths.close()


def drain(monitor: Monitor) -> None:
    """Let a monitor take in all there is."""
    quiet = 0
    while quiet < 2:
        quiet = 0 if monitor.turn() else quiet + 1


Sums = dict[tuple[int, str], tuple[int, list[tuple[int, ...]], tuple[int, ...]]]


def sums(project: Project, name: str = NAME) -> tuple[Sums, dict[store.QualityKey, store.Sums]]:
    """What the monitor has counted: rows and counts by bucket, and quality."""
    with project.storage.read() as connection:
        held = store.buckets_of(connection, name)
        quality = store.quality_of(connection, name)
    found = {
        (number, key): (
            one.rows,
            [(*counts.cells, counts.missing) for counts in one.columns],
            (*one.predicted.cells, one.predicted.missing),
        )
        for number, buckets in held.items()
        for key, one in buckets.items()
    }
    return found, {key: one for key, one in quality.items() if round(one["n"])}


def recount(
    project: Project, name: str = NAME, slices: Sequence[str] = ()
) -> tuple[Sums, dict[store.QualityKey, store.Sums]]:
    """The same counted anew from the files, row by row, by day."""
    captures = project.state / "captures"
    last: dict[tuple[int, int, int], Any] = {}
    for _, path in segments(truth_folder(captures, name)):
        for _, record in read_truths(path):
            for revision, segment, row, truth in record.truths:
                last[revision, segment, row] = truth
    found: Sums = {}
    quality: dict[store.QualityKey, store.Sums] = {}
    for folder in sorted((captures / name).iterdir()):
        if not folder.name.isdigit():
            continue
        number = int(folder.name)
        with project.storage.read() as connection:
            known = store.baseline_of(connection, name, number)
        assert known is not None
        counter, answers = Counter(known), Answers(known)
        columns: tuple[str, ...] = COLUMNS
        by_day: dict[str, tuple[list[Row], list[Any]]] = {}
        for segment, path in segments(folder):
            reader = recall.Reader(path)
            assert reader.header is not None
            columns = reader.header.columns
            for record in reader:
                for place, (row, prediction) in enumerate(zip(record.rows, record.predictions, strict=True)):
                    event = record.event_times[place] if record.event_times else None
                    at = record.at if event is None else event
                    day = dt.datetime.fromtimestamp(at, dt.UTC).date().isoformat()
                    kept = by_day.setdefault(day, ([], []))
                    kept[0].append(row)
                    kept[1].append(prediction)
                    key = (number, segment, record.first_row + place)
                    if key not in last:
                        continue
                    losses = answers.losses([prediction], [last[key]])[0]
                    values = dict(zip(columns, row, strict=True))
                    named = [("", ""), *((one, str(values[one])) for one in slices)]
                    for column, value in named:
                        place_of = (number, day, column, value)
                        total = quality.setdefault(place_of, dict.fromkeys(FIELDS, 0.0))
                        for field, more in zip(FIELDS, losses, strict=True):
                            total[field] += float(more)
        for day, (asked, predictions) in by_day.items():
            counts = counter.count_rows(asked, columns)
            predicted = counter.predicted(answers.scores(predictions))
            found[number, day] = (
                len(asked),
                [(*one.cells, one.missing) for one in counts],
                (*predicted.cells, predicted.missing),
            )
    return found, {key: one for key, one in quality.items() if round(one["n"])}


def segment_files(project: Project, name: str = NAME) -> list[Path]:
    """Every captured segment of an endpoint."""
    return sorted((project.state / "captures" / name).rglob("*.seg"))
