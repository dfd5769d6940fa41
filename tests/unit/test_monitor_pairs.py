"""A candidate beside the stable version: both judged on the same truths, in whatever order things come."""

from __future__ import annotations

import math
import random
from typing import Any

import pandas as pd
import pytest
from monitor_support import COLUMNS, NAME, START, TYPES, Line, answer, baseline, drain, publish, truth_of
from monitor_support import rows as make_rows

from mlinfra_lab.endpoints.capture import Writer
from mlinfra_lab.monitoring import store
from mlinfra_lab.monitoring.process import Monitor
from mlinfra_lab.monitoring.profile import make_baseline
from mlinfra_lab.project import Project
from mlinfra_lab.segments import beside_folder

KNOWN = baseline()


def beside(project: Project, candidate: int, stable: int) -> Writer:
    """What the front writes of the stable version's answers."""
    folder = beside_folder(project.state / "captures", NAME, candidate, stable)
    return Writer(project.state / "captures", NAME, stable, COLUMNS, TYPES, folder=folder)


def loss(p: float, truth: int) -> float:
    return -math.log(p if truth else 1 - p)


def say(writer: Writer, ids: list[str], answers: list[float]) -> None:
    predictions: list[Any] = [[1 - p, p] for p in answers]
    writer.append([], predictions, at=START, request=ids[0], latency=0.001, n=len(predictions))


@pytest.mark.parametrize("order", ["beside first", "truth first", "monitor begins anew"])
def test_both_are_judged_on_the_same_rows(project: Project, order: str) -> None:
    chance = random.Random(5)
    stable = publish(project, known=KNOWN)
    candidate = publish(project, known=KNOWN, version=2)
    line, shadow = Line(project, candidate), beside(project, candidate, stable)
    monitor = Monitor(project)
    asked = make_rows(120, chance)
    ids = line.ask(asked, [START] * 120)
    truths = [truth_of(row, chance) for row in asked]
    # The stable version has answered only the first hundred rows, and is sure of nothing.
    theirs = [0.5] * 100
    if order != "truth first":
        say(shadow, ids[:50], theirs[:50])
        say(shadow, ids[50:100], theirs[50:])
        drain(monitor)
    if order == "monitor begins anew":
        monitor.close()
        monitor = Monitor(project)
    line.true(zip(ids, truths, strict=True))
    drain(monitor)
    if order == "truth first":
        assert project.monitoring.paired(NAME, candidate, stable).n == 0
        say(shadow, ids[:100], theirs)
        drain(monitor)
    found = project.monitoring.paired(NAME, candidate, stable)
    mine = [loss(answer(row[0]), truth) for row, truth in zip(asked[:100], truths[:100], strict=True)]
    assert found.n == 100
    assert found.metric == "log loss"
    assert found.candidate == pytest.approx(sum(mine) / 100)
    assert found.stable == pytest.approx(math.log(2))
    differences = [one - math.log(2) for one in mine]
    mean = sum(differences) / 100
    spread = sum((one - mean) ** 2 for one in differences) / 99
    assert found.error == pytest.approx(math.sqrt(spread / 100))
    # Another truth for a row replaces the first, on both sides.
    line.true([(ids[0], 1 - truths[0])])
    drain(monitor)
    again = project.monitoring.paired(NAME, candidate, stable)
    changed = sum(mine) - mine[0] + loss(answer(asked[0][0]), 1 - truths[0])
    assert again.n == 100
    assert again.candidate == pytest.approx(changed / 100)
    assert project.monitoring.paired(NAME, stable, candidate).n == 0
    monitor.close()
    shadow.close()
    line.close()


def test_an_absurd_truth_spoils_nothing(project: Project) -> None:
    """Also when it is taken back, and whichever of the two it is read for."""
    frame = pd.DataFrame([[i / 50, "a", 0.5] for i in range(50)], columns=list(COLUMNS))
    known = make_baseline(frame, frame, [float(i) for i in range(50)], [float(i) for i in range(50)])
    stable = publish(project, known=known)
    candidate = publish(project, known=known, version=2)
    folder = beside_folder(project.state / "captures", NAME, candidate, stable)
    shadow = Writer(project.state / "captures", NAME, stable, COLUMNS, TYPES, folder=folder)
    own = Line(project, candidate)
    first = own.writer.append(
        [[1.0, "a", 0.5]] * 4, [3.0, 3.0, 3.0, 1e300], at=START, request="r", latency=0.001
    )
    ids = [f"{NAME}.{candidate}.{own.writer.segment}.{first + place}" for place in range(4)]
    shadow.append([], [5.0, 5.0, 1e300, 5.0], at=START, request=ids[0], latency=0.001, n=4)
    monitor = Monitor(project)
    for truths in ([1e200, 4.0, 4.0, 4.0], [6.0, 4.0, 4.0, 4.0], [math.inf, 4.0, 4.0, 4.0], [6.0] * 4):
        own.true(zip(ids, truths, strict=True))
        drain(monitor)
        with project.storage.read() as connection:
            sums = store.quality_of(connection, NAME)
        assert all(math.isfinite(value) for one in sums.values() for value in one.values())
    found = project.monitoring.paired(NAME, candidate, stable)
    assert (found.n, found.candidate, found.stable, found.metric) == (2, 3, 1, "mean absolute error")
    monitor.close()
    shadow.close()
    own.close()


def test_nothing_is_known_yet(project: Project) -> None:
    stable = publish(project, known=KNOWN)
    found = project.monitoring.paired(NAME, stable + 1, stable)
    assert (found.n, found.candidate, found.stable, found.error) == (0, None, None, None)
