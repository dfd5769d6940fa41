"""Changes that were put in are found, by the right feature; where there are none it is silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlinfra_lab.monitoring import drift, explain
from mlinfra_lab.monitoring.cells import Counter
from mlinfra_lab.monitoring.loss import Answers
from mlinfra_lab.monitoring.profile import make_baseline
from mlinfra_lab.schema.monitoring import Baseline, Counts

SEEDS = 60
FEATURES = 20
NAMES = np.array([f"c{number}" for number in range(12)])
WEIGHTS = 1 / np.arange(1, 13) / np.sum(1 / np.arange(1, 13))
ROWS = 600


def frame(rng: np.random.Generator, rows: int) -> Any:
    """Numbers of many shapes, some missing, and categories."""
    numbers = {f"n{place}": rng.normal(size=rows) for place in range(10)}
    numbers |= {f"e{place}": rng.exponential(size=rows) for place in range(4)}
    table = pd.DataFrame(numbers)
    table["rare"] = np.where(rng.random(rows) < 0.93, 0.0, rng.exponential(size=rows))
    table["whole"] = rng.integers(0, 8, rows)
    table["gaps"] = np.where(rng.random(rows) < 0.2, np.nan, rng.normal(size=rows))
    for name in ("first", "second"):
        table[name] = rng.choice(NAMES, rows, p=WEIGHTS)
    table["flag"] = rng.random(rows) < 0.3
    return table


def score(table: Any) -> np.ndarray[Any, Any]:
    """A model that looks at three features."""
    odds = 1.2 * table["n0"] - 0.8 * table["n1"] + 1.5 * (table["first"] == "c0") - 1
    return 1 / (1 + np.exp(-odds.to_numpy(dtype=float)))


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    rng = np.random.default_rng(0)
    train, held_out = frame(rng, 20_000), frame(rng, 5000)
    probability = score(held_out)
    truth = (rng.random(5000) < probability).astype(int)
    return make_baseline(train, held_out, np.column_stack([1 - probability, probability]), truth, 1)


def window(baseline: Baseline, table: Any) -> tuple[Counts, list[Counts]]:
    """As the monitor counts: rows of plain values, missing ones None."""
    rows = table.astype(object).where(table.notna(), None).to_numpy().tolist()
    probability = score(table)
    answers = np.column_stack([1 - probability, probability]).tolist()
    counter = Counter(baseline)
    return (
        counter.predicted(Answers(baseline).scores(answers)),
        counter.count_rows(rows, list(table.columns)),
    )


def test_silent_without_a_change(baseline: Baseline) -> None:
    assert len(baseline.columns) == FEATURES
    found, alarms = 0, 0
    for seed in range(SEEDS):
        predicted, counts = window(baseline, frame(np.random.default_rng(100 + seed), ROWS))
        prediction = drift.drift(baseline.prediction, baseline.predicted, predicted)
        assert prediction is not None
        alarms += prediction.value > 0.25
        found += sum(drift.drifted([
            drift.drift(cells, base, counted)
            for cells, base, counted in zip(baseline.columns, baseline.counts, counts, strict=True)
        ]))  # fmt: skip
    assert alarms == 0
    # A level of 1 % in each of the windows: a false finding or two among 1,200 questions.
    assert found <= 4


def shifted(table: Any) -> None:
    table["n0"] += 1.0


def stretched(table: Any) -> None:
    table["n0"] *= 2.5


def one_sided(table: Any) -> None:
    table["first"] = "c0"


def unknown(table: Any) -> None:
    table["first"] = np.where(np.arange(len(table)) % 2 == 0, "never seen", table["first"])


def vanished(table: Any) -> None:
    table["gaps"] = None


def rained(table: Any) -> None:
    table["rare"] = np.where(np.arange(len(table)) % 4 == 0, 0.7, table["rare"])


CHANGES: list[tuple[Callable[[Any], None], str, bool]] = [
    (shifted, "n0", True),
    (stretched, "n0", False),
    (one_sided, "first", True),
    (unknown, "first", False),
    (vanished, "gaps", False),
    (rained, "rare", False),
]


@pytest.mark.parametrize(
    ("change", "feature", "matters"), CHANGES, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_change_is_found(
    baseline: Baseline, change: Callable[[Any], None], feature: str, matters: bool
) -> None:
    others = 0
    for seed in range(20):
        table = frame(np.random.default_rng(1000 + seed), ROWS)
        change(table)
        predicted, counts = window(baseline, table)
        drifts = [
            drift.drift(cells, base, counted)
            for cells, base, counted in zip(baseline.columns, baseline.counts, counts, strict=True)
        ]
        names = [
            cells.name for cells, found in zip(baseline.columns, drift.drifted(drifts), strict=True) if found
        ]
        assert feature in names
        others += len(names) - 1
        worst = max(
            zip(drifts, baseline.columns, strict=True), key=lambda pair: pair[0].value if pair[0] else 0
        )
        assert worst[1].name == feature
        prediction = drift.drift(baseline.prediction, baseline.predicted, predicted)
        assert prediction is not None
        if matters:
            # It moves what the model says, so it alarms, and it is named as what explains it.
            assert prediction.value > 0.25
            assert explain.top(baseline, counts)[0][0] == feature
        elif feature in ("gaps", "rare"):
            assert prediction.value < 0.25  # the model does not look at it: nobody is woken
    assert others <= 5
