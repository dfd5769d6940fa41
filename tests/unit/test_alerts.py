"""Alerts: silent while nothing changes, raised when predictions move or quality falls, closed again."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from monitor_support import NAME, Line, baseline, drain, publish

from mlinfra_lab.cli.shell import run
from mlinfra_lab.errors import Conflict, NotFound
from mlinfra_lab.magics.register import document
from mlinfra_lab.monitoring import alerts, store
from mlinfra_lab.monitoring.process import Monitor
from mlinfra_lab.project import Project
from mlinfra_lab.schema.endpoints import HistoryEntry
from mlinfra_lab.schema.monitoring import Alert

KNOWN = baseline()


class Story:
    """An endpoint whose weeks are told one by one."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.chance = random.Random(3)
        self.number = publish(project, known=KNOWN)
        self.line = Line(project, self.number)
        self.monitor = Monitor(project)
        self.week = 0

    def weeks(self, count: int, shift: float = 0.0, wrong: float | None = 0.0, each: int = 60) -> list[Alert]:
        """Some weeks of traffic; with ``wrong`` a number, what came true follows. Returns the alerts."""
        for _ in range(count):
            truths = self.line.days(7 * self.week, 7, self.chance, each, shift, wrong or 0.0)
            if wrong is not None:
                self.line.true(truths)
            self.week += 1
        return self.judge()

    def judge(self) -> list[Alert]:
        """Let the monitor take it in and judge."""
        drain(self.monitor)
        alerts.judge(self.project.storage, NAME, self.project.monitoring.settings(NAME))
        return self.project.monitoring.alerts(NAME)

    def replace(self) -> None:
        """Another revision answers from now on."""
        self.line.close()
        self.number = publish(self.project, known=KNOWN, version=2)
        self.line = Line(self.project, self.number)


@pytest.fixture
def story(project: Project) -> Iterator[Story]:
    told = Story(project)
    yield told
    told.monitor.close()
    told.line.close()


def test_nothing_changes_and_nothing_is_said(story: Story) -> None:
    assert story.weeks(8) == []
    view = story.project.monitoring.view(NAME)
    assert not any(tile.broken for tile in view.tiles)
    assert all(value is not None and value < 0.25 for value in view.drift.prediction.values)  # type: ignore[union-attr]


def test_predictions_that_moved(story: Story) -> None:
    assert story.weeks(4) == []
    # One bad week is none yet, and the second is only judged when it is over.
    assert story.weeks(1, shift=1.2) == []
    assert story.weeks(1, shift=1.2) == []
    (alert,) = story.weeks(1, shift=1.2)
    assert (alert.rule, alert.state, alert.revision) == ("prediction_drift", "open", story.number)
    assert f"{alert.since:%d %B}" == "29 January"
    assert alert.until is not None
    assert f"{alert.until:%d %B}" == "12 February"
    assert alert.message.startswith("Predictions moved since 29 January; x explains most of it; log loss is ")
    assert alert.explains[0][0] == "x"
    assert alert.explains[0][1] > 0.5
    assert alert.value > alert.limit == 0.25
    # It goes on: the same alert, with its newest figures.
    (later,) = story.weeks(1, shift=1.2)
    assert later.number == alert.number
    assert later.since == alert.since
    assert later.until is not None
    assert later.until > alert.until
    view = story.project.monitoring.view(NAME)
    drift = next(tile for tile in view.tiles if tile.id == "drift")
    assert drift.broken
    assert "1 of 3 features drifted" in drift.note
    (mark,) = [mark for mark in view.marks if mark.kind == "alert"]
    assert (mark.at, mark.until, mark.tone) == (alert.since, None, "alarm")
    assert [entry.kind for entry in _history(story.project)].count("alert") == 1


def test_a_single_bad_week_is_passed_over(story: Story) -> None:
    story.weeks(2)
    story.weeks(1, shift=1.5)
    assert story.weeks(3) == []


def test_quality_that_fell_although_nothing_moved(story: Story) -> None:
    story.weeks(3)
    (alert,) = story.weeks(3, wrong=0.35)
    assert alert.rule == "quality"
    assert f"{alert.since:%d %B}" == "22 January"
    assert "worse than held out since 22 January" in alert.message or "as high as held out" in alert.message
    assert alert.detail["loss"] > alert.detail["held_out"] * 1.25
    view = story.project.monitoring.view(NAME)
    assert view.quality.held_out is not None
    assert not any(point for series in view.quality.series for point in series.estimated)


def test_late_truth_raises_it_late(story: Story) -> None:
    truths = []
    for _ in range(5):
        truths.append(story.line.days(7 * story.week, 7, story.chance, 60, 0.0, 0.4))
        story.week += 1
    assert story.judge() == []
    view = story.project.monitoring.view(NAME)
    assert all(point for series in view.quality.series for point in series.estimated)
    assert "No truth yet" in view.empty["quality"]
    for week in truths:
        story.line.true(week)
    (alert,) = story.judge()
    assert alert.rule == "quality"
    assert f"{alert.since:%d %B}" == "01 January"


def test_a_second_rule_joins_the_alert_that_is_open(story: Story) -> None:
    story.weeks(2)
    (alert,) = story.weeks(3, shift=1.2, wrong=None)
    assert set(alert.detail["rules"]) == {"prediction_drift"}
    assert "log loss" not in alert.message
    (joined,) = story.weeks(3, shift=1.2, wrong=0.5)
    assert joined.number == alert.number
    assert set(joined.detail["rules"]) == {"prediction_drift", "quality"}
    assert "log loss" in joined.message


def test_it_closes_when_the_rule_holds_again(story: Story) -> None:
    story.weeks(2)
    (alert,) = story.weeks(3, shift=1.2)
    assert story.project.monitoring.acknowledge(alert.number).state == "acknowledged"
    story.weeks(1)
    (closed,) = story.weeks(3)
    assert closed.state == "closed"
    assert closed.closed is not None
    view = story.project.monitoring.view(NAME)
    (mark,) = [mark for mark in view.marks if mark.kind == "alert"]
    assert mark.until is not None
    # And once more: another one.
    story.weeks(3, shift=1.2)
    second, _ = story.project.monitoring.alerts(NAME)
    assert (second.number, second.state) == (alert.number + 1, "open")


def test_another_revision_that_answers_well_closes_it(story: Story) -> None:
    story.weeks(2)
    (alert,) = story.weeks(3, shift=1.2)
    story.replace()
    (still,) = story.judge()
    assert still.state == "open"
    (closed,) = story.weeks(2)
    assert (closed.number, closed.state) == (alert.number, "closed")
    assert "v2 answers" in closed.detail["closed_because"]


def test_another_revision_that_is_as_bad_gets_its_own(story: Story) -> None:
    story.weeks(2)
    (alert,) = story.weeks(3, shift=1.2)
    story.replace()
    story.weeks(3, shift=1.2)
    new, old = story.project.monitoring.alerts(NAME)
    assert (old.number, old.state) == (alert.number, "closed")
    assert (new.state, new.revision) == ("open", story.number)


def test_windows_with_too_little_in_them_are_passed_over(story: Story) -> None:
    story.weeks(2)
    story.weeks(1, shift=1.2)
    story.weeks(1, shift=-4, each=10)
    assert story.weeks(1, shift=1.2) == []
    (alert,) = story.weeks(1, shift=1.2)
    assert alert.detail["rules"]["prediction_drift"]["windows"] == 2


def test_what_is_asked_of_alerts_that_are_not_there(story: Story) -> None:
    monitoring = story.project.monitoring
    with pytest.raises(NotFound, match="There is no alert 7") as caught:
        monitoring.alert(7)
    assert caught.value.hint == "There are no alerts yet."
    with pytest.raises(NotFound, match="no endpoint"):
        monitoring.alerts("nobody")
    story.weeks(2)
    (alert,) = story.weeks(3, shift=1.2)
    with pytest.raises(NotFound, match=r"was not trained by a job|There is no model"):
        monitoring.act(alert.number)
    assert monitoring.alert(alert.number).state == "open"
    story.weeks(4)
    with pytest.raises(Conflict, match="closed"):
        monitoring.act(alert.number)


def test_slow_settings_of_its_own(make_project: Callable[..., Project]) -> None:
    project = make_project(toml="[endpoints.delay]\nrunning = 3\nprediction_drift = 0.1\n")
    story = Story(project)
    story.weeks(2)
    assert story.weeks(3, shift=0.6) == []
    (alert,) = story.weeks(1, shift=0.6)
    assert alert.limit == 0.1
    story.monitor.close()
    story.line.close()


def _history(project: Project) -> list[HistoryEntry]:
    with project.storage.read() as connection:
        return store.history_of(connection, NAME)


def test_the_shell_and_the_magic(story: Story, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("MLINFRA_PROJECT", str(story.project.root))

    def mlinfra(*words: str) -> tuple[int, str, str]:
        code = run(list(words))
        out, error = capsys.readouterr()
        return code, out, error

    assert mlinfra("alert", "list")[0] == 0
    code, _, error = mlinfra("alert", "show", "3")
    assert code == 3
    assert "There is no alert 3" in error
    for command in ("show", "ack", "act"):
        code, _, error = mlinfra("alert", command, "99999999999999999999")
        assert (code, "There is no alert 99999999999999999999" in error) == (3, True), error
    story.weeks(2)
    (alert,) = story.weeks(3, shift=1.2)
    code, out, _ = mlinfra("alert", "list", NAME)
    assert code == 0
    assert "Predictions moved since 15 January" in out
    code, out, _ = mlinfra("alert", "ack", "1")
    assert code == 0
    assert "acknowledged" in out
    code, out, _ = mlinfra("alert", "show", "1", "--json")
    assert json.loads(out)["state"] == "acknowledged"
    code, _, error = mlinfra("alert", "act", "1")
    assert code == 3
    code, out, _ = mlinfra("status")
    assert "Predictions moved" in out
    assert alert.number == 1
    page = document("alert")
    assert "%alert act" in page
