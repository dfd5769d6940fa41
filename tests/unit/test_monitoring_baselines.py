"""Baselines of every kind of table and model, their files, and how a revision gets its own."""

from __future__ import annotations

import datetime as dt
import math
import os
from typing import Any

import mlflow
import msgspec
import numpy as np
import pandas as pd
import pytest

from mlinfra_lab.endpoints import store as endpoint_rows
from mlinfra_lab.errors import Invalid
from mlinfra_lab.monitoring import baselines, store, work
from mlinfra_lab.monitoring.cells import column
from mlinfra_lab.monitoring.loss import Answers
from mlinfra_lab.monitoring.profile import log, make_baseline
from mlinfra_lab.project import Project
from mlinfra_lab.runs import work as runs_work
from mlinfra_lab.schema.common import now
from mlinfra_lab.schema.endpoints import InputColumn, Revision
from mlinfra_lab.schema.monitoring import Baseline, Counts
from mlinfra_lab.tasks import Report


def features(rows: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"x": rng.normal(size=rows), "c": rng.choice(["a", "b"], rows)})


TWICE = pd.concat([features(5)] * 2, axis=1)


def binary(rows: int = 4000, seed: int = 0, **more: Any) -> Baseline:
    held_out = features(rows, seed)
    p = 1 / (1 + np.exp(-held_out["x"].to_numpy()))
    truth = (np.random.default_rng(seed + 1).random(rows) < p).astype(int)
    return make_baseline(features(rows, seed + 2), held_out, np.column_stack([1 - p, p]), truth, **more)


BINARY = binary()


def test_a_baseline_survives_its_file() -> None:
    times = pd.Series(pd.to_datetime(["2013-01-01T05:00Z", "2013-02-28T23:00Z"] * 2000))
    baseline = binary(times=times, positive=1)
    assert baselines.decode(baselines.encode(baseline)) == baseline
    assert baseline.first == dt.datetime(2013, 1, 1, 5, tzinfo=dt.UTC)
    assert baseline.last == dt.datetime(2013, 2, 28, 23, tzinfo=dt.UTC)
    assert (baseline.rows, baseline.held_out) == (4000, 4000)
    assert sum(baseline.truths) == pytest.approx(2000, abs=150)
    assert len(baseline.truths) == baseline.prediction.size
    assert sum(baseline.counts[0].cells) == 4000
    effects = baseline.effects[0]
    assert effects[0] is None or effects[0] < 0.2
    assert effects[1] < effects[8] < effects[15]  # type: ignore[operator]


def test_every_kind_of_column() -> None:
    rows = 60
    frame = pd.DataFrame(
        {
            "number": np.linspace(0, 1, rows),
            "whole": pd.array([1, 2, None] * 20, dtype="Int64"),
            "text": ["a", "b", None] * 20,
            "category": pd.Categorical(["u", None, "v"] * 20, categories=["u", "v", "never"]),
            "flag": [True, False, True] * 20,
            "maybe": pd.array([True, None, False] * 20, dtype="boolean"),
            "nothing": [None] * rows,
            "nan": [math.nan] * rows,
            "constant": [3.5] * rows,
            "objects": pd.Series([1, 2.5, None] * 20, dtype=object),
            "mixed": pd.Series([1, "a", None] * 20, dtype=object),
            "lists": pd.Series([[1], [2], None] * 20, dtype=object),
            "time": pd.date_range("2013-01-01", periods=rows, tz="America/New_York"),
        }
    )
    baseline = make_baseline(frame, frame, np.arange(rows) / 2)
    known = {
        cells.name: (cells, counts) for cells, counts in zip(baseline.columns, baseline.counts, strict=True)
    }
    kinds = {name: cells.kind for name, (cells, _) in known.items()}
    assert {name for name, kind in kinds.items() if kind == "category"} == {
        "text", "category", "flag", "maybe", "mixed", "lists",
    }  # fmt: skip
    missing = {name: counts.missing for name, (_, counts) in known.items()}
    assert missing == {
        "number": 0, "whole": 20, "text": 20, "category": 20, "flag": 0, "maybe": 20, "nothing": 60,
        "nan": 60, "constant": 0, "objects": 20, "mixed": 20, "lists": 20, "time": 0,
    }  # fmt: skip
    assert known["category"][0].categories == ("u", "v")
    assert known["whole"][0].edges == (1.0, 2.0, 3.0)
    assert known["constant"][1].cells == (0, 60, 0)
    assert baselines.decode(baselines.encode(baseline)) == baseline
    # Plain values as they are captured fall where the frame's did.
    plain = [None if value is pd.NA else value for value in frame["maybe"]]
    assert column(known["maybe"][0]).count(plain) == known["maybe"][1]


@pytest.mark.parametrize(
    ("predictions", "truth", "problem"),
    [
        ([0, 1, 1, 0], [0, 1, 0, 0], "binary"),
        ([0.1, 0.9, 0.4, 0.2], [0, 1, 0, 0], "binary"),
        ([0.1, 0.9, 0.4, 0.2], None, "regression"),
        ([1, 2, 3, 1], [1, 2, 2, 1], "binary"),
        ([1, 2, 3, 1], [1, 2, 3, 1], "multiclass"),
        ([1.5, 2.0, 3.0, 1.0], [1.0, 2.0, 3.5, 1.0], "regression"),
        ([True, False, True, True], [True, False, True, False], "binary"),
        ([[0.3], [0.2], [0.1], [0.9]], [0, 0, 1, 1], "binary"),
    ],
)
def test_what_problem_it_is(predictions: list[Any], truth: Any, problem: str) -> None:
    assert make_baseline(features(4), features(4), predictions, truth).problem == problem


def test_labels_of_two_classes_are_no_probabilities() -> None:
    assert not make_baseline(features(4), features(4), [0, 1, 1, 0], [0, 1, 0, 0]).probabilities
    assert make_baseline(features(4), features(4), [0.0, 1.0, 0.5, 0.0], [0, 1, 0, 0]).probabilities


def test_from_the_first_rows() -> None:
    rng = np.random.default_rng(0)
    rows = [[float(x), "a" if x > 0 else None, bool(x > 1)] for x in rng.normal(size=1000)]
    answers = [[1 - p, p] for p in rng.random(1000).tolist()]
    baseline = baselines.from_rows(["x", "c", "f"], ["double", "string", "boolean"], rows, answers)
    assert (baseline.source, baseline.problem, baseline.classes, baseline.score) == (
        "first rows",
        "binary",
        (0, 1),
        1,
    )
    assert [cells.kind for cells in baseline.columns] == ["number", "category", "category"]
    assert baseline.quality == {}
    assert sum(baseline.predicted.cells) == 1000
    assert Answers(baseline).losses([[0.2, 0.8]], [1])[0, 0] == 1
    baselines.check(baseline)
    regression = baselines.from_rows(["x"], ["double"], [[1.0], [2.0]], [1.5, None])
    assert (regression.problem, regression.predicted.missing) == ("regression", 1)
    assert baselines.from_rows([], [], [[1, 2], [3, 4]], ["a", "b"]).columns == ()
    labels = baselines.from_rows(["x"], ["double"], [[1.0]] * 3, ["a", "b", "c"])
    assert (labels.problem, labels.probabilities) == ("multiclass", False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"held_out": features(5).rename(columns={"x": "y"})}, r"different columns \(x, y\)"),
        ({"held_out": features(5)[["c", "x"]]}, "another order"),
        ({"predictions": [0.5] * 4}, "4 predictions for 5"),
        ({"truth": [1] * 4}, "4 truths for 5"),
        ({"positive": "late"}, "none of the classes"),
        ({"predictions": np.full((5, 3), 1 / 3)}, "3 columns for 2 classes"),
        ({"held_out": features(0), "predictions": [], "truth": []}, "no held-out rows"),
        ({"inputs": TWICE, "held_out": TWICE}, "same name"),
    ],
)  # fmt: skip
def test_what_does_not_belong_together(change: dict[str, Any], said: str) -> None:
    given = {
        "inputs": features(5),
        "held_out": features(5),
        "predictions": np.array([[0.5, 0.5]] * 5),
        "truth": [0, 1, 0, 1, 1],
    }
    with pytest.raises(Invalid, match=said):
        make_baseline(**(given | change))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"problem": "binary"}',
        b"[" * 100_000,
        b" " * (baselines.LARGEST + 1),
    ],
)
def test_a_file_that_is_no_baseline(data: bytes) -> None:
    with pytest.raises(Invalid):
        baselines.decode(data)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"counts": ()}, "not those of its 2 columns"),
        ({"predicted": Counts(cells=(1,))}, "not of its cells"),
        ({"truths": (1, 2)}, "truths"),
        ({"effects": ((), ())}, "effects of “x”"),
        ({"score": 7}, "none of its classes"),
    ],
)
def test_a_file_whose_parts_do_not_fit(change: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        baselines.decode(msgspec.json.encode(msgspec.structs.replace(BINARY, **change)))


def test_only_columns_the_model_is_asked_with() -> None:
    assert work.fitting(BINARY, ["x", "c", "other"]) == BINARY
    assert work.fitting(BINARY, []) == BINARY
    one = work.fitting(BINARY, ["c"])
    assert [cells.name for cells in one.columns] == ["c"]
    baselines.check(one)
    with pytest.raises(Invalid, match=r"none of the model's columns \(but x, c\)"):
        work.fitting(BINARY, ["temperature"])


# -- into a run and out of it ---------------------------------------------------------------------


def test_without_a_run_it_says_so() -> None:
    with pytest.raises(Invalid, match="no active run"):
        log(features(5), features(5), [0.5] * 5)


def report(project: Project) -> Report:
    return Report(project.state / "run" / "test.json", lambda: False)


@pytest.fixture
def stored(project: Project) -> Project:
    """A project with an MLflow store, which plain MLflow calls of this process use."""
    runs_work.prepare_store(project, {}, report(project))
    os.environ.update(project.runs.environment())
    return project


def revision(project: Project, number: int, run: str | None, columns: tuple[str, ...] = ("x", "c")) -> None:
    """A revision as `prepare` leaves it."""
    with project.storage.unit("test") as unit:
        made = Revision(
            endpoint="delay",
            number=number,
            model="flights-delay",
            version=number,
            run=run,
            alias=None,
            state="starting",
            columns=tuple(InputColumn(name=name, type="double") for name in columns),
            created=now(),
            created_by="test",
        )
        endpoint_rows.add_revision(unit, made)


def fetched(project: Project, number: int) -> tuple[str | None, Baseline | None]:
    """What the task answers, and what lies in the table then."""
    answer = work.baseline(project, {"endpoint": "delay", "number": number}, report(project))
    with project.storage.read() as connection:
        return answer["source"], store.baseline_of(connection, "delay", number)


@pytest.mark.slow
def test_from_the_run_into_the_table(stored: Project) -> None:
    with mlflow.start_run() as run:
        logged = log(features(50), features(50, 1), [0.25, 0.75] * 25, [0, 1] * 25)
        log(features(50), features(50, 1), [0.75, 0.25] * 25, [1, 0] * 25)  # the last one counts
    revision(stored, 1, run.info.run_id)
    source, baseline = fetched(stored, 1)
    assert source == logged.source == f"run:{run.info.run_id}"
    assert baseline is not None
    assert baseline.rows == 50
    assert baseline.quality == pytest.approx(logged.quality)
    # Done again nothing changes, also when the run says something else by now: rows may be counted already.
    with mlflow.start_run(run.info.run_id):
        log(features(70), features(50, 1), [0.25] * 50, [0, 1] * 25)
    assert fetched(stored, 1) == (source, baseline)
    # A model that was asked with fewer columns is watched on those.
    revision(stored, 2, run.info.run_id, ("c", "other"))
    narrow = fetched(stored, 2)[1]
    assert narrow is not None
    assert [cells.name for cells in narrow.columns] == ["c"]


class Constant(mlflow.pyfunc.PythonModel):
    """A model that needs no library of its own."""

    def predict(self, model_input: list[float]) -> list[float]:
        return [0.0 for _ in model_input]


@pytest.mark.slow
def test_a_version_that_names_no_run_is_asked_for_its_logged_model(stored: Project) -> None:
    with mlflow.start_run() as run:
        log(features(50), features(50), [0.25] * 50)
        model = mlflow.pyfunc.log_model(
            name="model", python_model=Constant(), pip_requirements=[], input_example=[1.0]
        )
    mlflow.register_model(model.model_uri, "flights-delay")
    revision(stored, 1, None)
    assert fetched(stored, 1)[0] == f"run:{run.info.run_id}"
    revision(stored, 2, None)  # there is no version 2
    assert fetched(stored, 2) == (None, None)


@pytest.mark.slow
def test_a_run_without_one(stored: Project) -> None:
    with mlflow.start_run() as run:
        mlflow.log_text("other", "mlinfra/other.json")
    revision(stored, 1, run.info.run_id)
    assert fetched(stored, 1) == (None, None)
    revision(stored, 2, "0" * 32)  # deleted since
    assert fetched(stored, 2) == (None, None)


@pytest.mark.slow
def test_bad_files_are_refused(stored: Project) -> None:
    other = msgspec.json.encode(BINARY).decode().replace('"x"', '"temp"').replace('"c"', '"dewp"')
    files = [
        ('{"columns": []}', "It is no baseline: Object missing required field"),
        ("late,hour", "It is no baseline"),
        (other, "none of the model's"),
        (" " * (baselines.LARGEST + 1), "at most"),
    ]
    for number, (text, said) in enumerate(files, 1):
        with mlflow.start_run() as run:
            mlflow.log_text(text, baselines.ARTIFACT)
        revision(stored, number, run.info.run_id)
        with pytest.raises(Invalid, match=said) as caught:
            fetched(stored, number)
        assert run.info.run_id in caught.value.message
        assert "first rows" in (caught.value.hint or "")
        with stored.storage.read() as connection:
            assert store.baseline_of(connection, "delay", number) is None
