"""What reproducing compares and reads, without running anything."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mlinfra_lab.jobs import conditions
from mlinfra_lab.reproduce import cells, compare
from mlinfra_lab.schema.jobs import Conditions
from mlinfra_lab.schema.lineage import Compared

NEXT = math.nextafter(0.5, 1)


@pytest.mark.parametrize(
    ("then", "now", "same", "apart"),
    [
        (0.5, 0.5, True, 0.0),
        (0.5, NEXT, False, NEXT - 0.5),
        (200.0, 100.0, False, 0.5),
        (math.nan, math.nan, True, 0.0),
        (math.nan, 0.5, False, None),
        (math.inf, math.inf, True, 0.0),
        (math.inf, -math.inf, False, None),
        (0.0, -0.0, False, 0.0),
        ([0.25, 0.75], [0.25, 0.75], True, 0.0),
        ([0.25, 0.75], [0.25, 0.5], False, 0.25),
        ([0.25], [0.25, 0.75], False, None),
        ({"a": 1.0, "b": "x"}, {"a": 1.5, "b": "x"}, False, 0.5 / 1.5),
        ({"a": 1.0}, {"b": 1.0}, False, None),
        ("late", "early", False, None),
        (True, 1, False, None),
        (None, 0.5, False, None),
    ],
)
def test_how_far_two_values_are_apart(then: Any, now: Any, same: bool, apart: float | None) -> None:
    one = compare.value("metric", "m", then, now)
    assert one.same == same
    assert one.apart == (apart if apart is None else pytest.approx(apart, rel=1e-12))


def metric(then: float | None, now: float | None, name: str = "auc") -> Compared:
    return compare.value("metric", name, then, now)


def test_the_verdict_is_the_first_thing_that_differs() -> None:
    alike = [metric(0.5, 0.5), compare.value("prediction", "d.1.1.0", [0.5], [0.5])]
    assert compare.verdict(alike, 1e-9)[0] == "identical"
    near = [*alike, metric(0.5, NEXT, "log_loss")]
    verdict, within, first, text = compare.verdict(near, 1e-9)
    assert (verdict, first) == ("equal", None)
    assert within == NEXT - 0.5
    assert text == f"equal within {within:.1e}"
    # To the bit, when that is asked for.
    assert compare.verdict(near, 0)[0] == "different"
    far = [
        compare.value("prediction", "d.1.1.0", [0.5, 0.5], [0.5, 0.25]),
        metric(0.71, 0.72),
        *compare.parameters({"rows": "5", "C": "1"}, {"rows": "6", "C": "1"}),
    ]
    assert compare.verdict(far, 1e-9)[3] == "parameter rows: 5 then, 6 now"
    assert compare.verdict(far[:2], 1e-9)[3] == "metric auc: 0.71 then, 0.72 now (1.0e-02 apart)"
    assert compare.verdict(far[:1], 1e-9)[3].startswith("prediction d.1.1.0[1]: 0.5 then, 0.25 now")
    # A parameter alone is a hint and no difference.
    assert compare.verdict([*alike, far[2]], 1e-9)[0] == "identical"
    assert compare.verdict([], 1e-9)[0] == "nothing"
    assert compare.verdict([metric(0.5, None)], 1e-9)[3] == "metric auc: 0.5 then, nothing now"


def test_measured_times_decide_nothing() -> None:
    names = ("fit_seconds", "trainTime", "system/cpu_utilization", "latency_p95", "times_late", "auc")
    found = compare.metrics(dict.fromkeys(names, 1.0), dict.fromkeys(names, 2.0))
    assert {one.name for one in found if one.counts} == {"times_late", "auc"}
    only_times = [one for one in found if not one.counts]
    assert compare.verdict(only_times, 1e-9)[0] == "nothing"


def notebook(*sources: str, ids: bool = True) -> dict[str, Any]:
    return {
        "cells": [
            {"cell_type": "code", "source": source} | ({"id": f"c{number}"} if ids else {})
            for number, source in enumerate(sources)
        ]
    }


@pytest.mark.parametrize("ids", [True, False])
def test_changed_added_and_removed_cells(ids: bool) -> None:
    kept = notebook("a = 1", "b = 2", "c = 3", ids=ids)
    assert cells.changes(kept, kept) == []
    (changed,) = cells.changes(kept, notebook("a = 1", "b = 20", "c = 3", ids=ids))
    assert (changed.cell, changed.change, changed.diff.splitlines()[1:]) == (
        2,
        "changed",
        ["-b = 2", "+b = 20"],
    )
    (added,) = cells.changes(kept, notebook("a = 1", "b = 2", "c = 3", "d = 4", ids=ids))
    assert (added.cell, added.change) == (4, "added")
    (removed,) = cells.changes(kept, notebook("a = 1", "b = 2", ids=ids))
    assert (removed.cell, removed.change) == (3, "removed")
    long = "\n".join(f"x{n} = {n}" for n in range(100))
    assert "lines more" in cells.changes(kept, notebook(long, "b = 2", "c = 3", ids=ids))[0].diff


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("mlflow.register_model(uri, 'x')", "register_model"),
        ("log_model(m, registered_model_name = 'x')", "registered_model_name"),
        ("project.models.promote('x', 1)", "models.promote"),
        ("x = 1\n%model register abc --name x", "model register"),
        ("!mlinfra endpoint publish x", "endpoint publish"),
        ("project.data.snapshot('x')", "data.snapshot"),
    ],
)
def test_cells_that_do_more_than_train_are_seen(source: str, word: str) -> None:
    assert cells.effects(notebook("x = 1", source)) == [(2, word)]


@pytest.mark.parametrize(
    "source",
    ["# mlflow.register_model(uri)", "registered = model.fit()", "project.data.open('x')", "%data log x"],
)
def test_cells_that_only_train_are_left_alone(source: str) -> None:
    assert cells.effects(notebook(source)) == []


def test_conditions_are_noted_and_set_again() -> None:
    environ = {"OMP_NUM_THREADS": "3", "HOME": "/h", "TOKEN": "secret"}
    noted = conditions.take(environ, ["TOKEN", "OMP_NUM_THREADS"], None)
    assert noted.variables["OMP_NUM_THREADS"] == "3"
    assert noted.variables["PYTHONHASHSEED"] == environ["PYTHONHASHSEED"]
    assert noted.given == ("TOKEN",)
    assert "secret" not in str(noted)
    later = {"OMP_NUM_THREADS": "8", "MKL_NUM_THREADS": "8", "HOME": "/h"}
    again = conditions.take(later, [], noted)
    assert again.variables == noted.variables
    assert "MKL_NUM_THREADS" not in later
    assert later["HOME"] == "/h"


def test_on_another_number_of_cpus_libraries_are_told_the_old_one() -> None:
    here = conditions.here().cpus
    environ: dict[str, str] = {}
    conditions.take(environ, [], Conditions(cpus=here + 6, cores=2, variables={"MKL_NUM_THREADS": "5"}))
    assert environ["OPENBLAS_NUM_THREADS"] == str(here + 6)
    assert environ["OMP_NUM_THREADS"] == "2"
    assert environ["MKL_NUM_THREADS"] == "5"
