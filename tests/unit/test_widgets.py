"""The widgets' Python side: what they send, what a saved notebook keeps, and how they follow."""

from __future__ import annotations

import ast
import datetime as dt
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import nbformat
import pytest
from monitoring_samples import FIRST, april, empty, july
from page_support import StandIn
from support import eventually

from mlinfra_lab.errors import Invalid, NotFound
from mlinfra_lab.project import Project
from mlinfra_lab.schema.monitoring import Answering, View
from mlinfra_lab.widgets import (
    Alerts,
    Chart,
    Columns,
    Drift,
    Explains,
    Header,
    Heatmap,
    Histogram,
    Monitor,
    Predictions,
    Quality,
    Slices,
    Stack,
    Tiles,
    Traffic,
    open_endpoint,
)
from mlinfra_lab.widgets.base import VIEW_MIME, Widget

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "monitoring" / "endpoint.ipynb"
PARTS = (Header, Tiles, Traffic, Drift, Quality, Alerts, Histogram, Explains, Slices, Predictions)


def kept(widget: Any) -> dict[str, Any]:
    """What is saved with a notebook."""
    data, _ = widget._repr_mimebundle_()
    return cast("dict[str, Any]", data)


@pytest.fixture
def watched(project: Project) -> Iterator[tuple[Project, StandIn]]:
    """A project whose endpoint's view the test makes; its database and feed are real."""
    stand_in = StandIn(project)
    vars(project)["monitoring"] = stand_in
    yield project, stand_in


@pytest.mark.parametrize("view", [july(), april(), empty()], ids=["july", "april", "empty"])
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.shows)
def test_each_part_is_kept_without_a_script(part: type[Any], view: View) -> None:
    data = kept(part(view))
    assert set(data) == {"text/plain", "text/html", VIEW_MIME}
    assert "<script" not in data["text/html"] and "http" not in data["text/html"]
    if part not in (Slices, Explains) or view.drift.windows:
        assert part is Slices or data["text/plain"]
    json.dumps(data)


def test_what_is_kept_says_the_same() -> None:
    assert kept(Tiles(april()))["text/plain"].endswith("Prediction drift 0.57 PSI (rule: under 0.25, broken)")
    drift = kept(Drift(july()))
    assert re.match(r"Drift: prediction 0\.13 \(limit 0\.25\); temp [\d.]+, dewp", drift["text/plain"])
    assert drift["text/html"].count("<rect") == 22 * 7
    assert "calm all along: precip" in drift["text/html"]
    whole = kept(Monitor.of(july()))["text/html"]
    assert "delay.2.5b.02a41" in whole and "polyline" not in whole and "</table>" in whole
    escaped = kept(Header(july(title="<b>late?</b>")))["text/html"]
    assert "&lt;b&gt;late?" in escaped


def test_the_script_is_sent_once_and_the_view_once() -> None:
    m = Monitor.of(july())
    parts = [part(m) for part in PARTS]
    assert len({part.bundle for part in (*parts, m)}) == 1
    sizes = [len(json.dumps(part.get_state(), default=str)) for part in parts]
    assert max(sizes) < 3000
    assert len(m.view["drift"]["windows"]) == 22 and m.view["start"] == "2013-03-01T00:00:00Z"


def test_a_cell_is_chosen_by_name_and_day() -> None:
    m = Monitor.of(july())
    assert m.selection is None
    m.select("dewp", "2013-04-12")
    feature, span = cast("tuple[str, Any]", m.selection)
    assert (feature, span.start.date()) == ("dewp", dt.date(2013, 4, 9))
    assert kept(Histogram(m))["text/plain"].startswith("dewp, 9 April to 15 April: PSI")
    m.select(None, dt.date(2013, 6, 20))
    assert kept(Histogram(m))["text/plain"].startswith("prediction, 18 June to 24 June")
    with pytest.raises(NotFound, match="“wings” is no feature"):
        m.select("wings", "2013-04-12")
    with pytest.raises(NotFound, match="no window at 2014"):
        m.select("temp", "2014-01-01")


def test_widgets_follow_the_projects_changes(watched: tuple[Project, StandIn]) -> None:
    project, monitor = watched
    m = Monitor(project, "delay")
    drift = Drift(m)
    assert m.latest.answers[0].label != "v9"
    monitor.change(answers=(Answering(revision=9, label="v9", share=1.0),))
    eventually(lambda: m.latest.answers[0].label == "v9", 10)
    assert m.view["answers"][0]["label"] == "v9"
    assert "v9" in kept(Header(m))["text/plain"] and drift.monitor is m
    # What concerns another endpoint is not read.
    number = m.latest.number
    with project.storage.unit() as unit:
        unit.changed("monitor", "other", "updated")
    monitor.change(captured=77)
    eventually(lambda: m.latest.captured == 77, 10)
    assert m.latest.number > number
    m.close()
    eventually(lambda: m._follower is not None and not m._follower.is_alive(), 10)


def test_a_range_chosen_in_the_browser_is_read(watched: tuple[Project, StandIn]) -> None:
    project, _ = watched
    m = Monitor(project, "delay", live=False)
    everything = len(m.latest.drift.windows)
    m.set_state({"range": "month"})  # as the browser's message does
    assert m.latest.range == "month" and len(m.latest.drift.windows) < everything
    assert m.view["range"] == "month"


def test_an_alerts_buttons_are_answered(
    watched: tuple[Project, StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, monitor = watched
    m = Monitor(project, "delay", live=False)
    answers: list[Any] = []
    monkeypatch.setattr(m, "send", answers.append)
    m._handle_custom_msg({"deed": "acknowledge", "alert": 1, "id": "a"}, [])
    assert monitor.calls[0] == ("acknowledge", 1) and answers == [{"reply": "a", "error": None}]
    assert m.latest.alerts[0].state == "acknowledged"
    m._handle_custom_msg({"deed": "acknowledge", "alert": 7, "id": "b"}, [])
    assert answers[-1]["reply"] == "b" and "There is no alert 7." in answers[-1]["error"]
    m._handle_custom_msg({"deed": "drop", "alert": 1, "id": "c"}, [])
    assert "nothing that an alert can be asked" in answers[-1]["error"]
    still = Monitor.of(april())
    monkeypatch.setattr(still, "send", answers.append)
    assert still.actions is False
    still._handle_custom_msg({"deed": "act", "alert": 1, "id": "d"}, [])
    assert "kept view" in answers[-1]["error"]


def test_the_page_knows_its_endpoint(
    watched: tuple[Project, StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, _ = watched
    monkeypatch.setenv("MLINFRA_ENDPOINT", "delay")
    assert open_endpoint(project=project).name == "delay"
    monkeypatch.delenv("MLINFRA_ENDPOINT")
    monkeypatch.setenv("QUERY_STRING", "theme=dark&endpoint=delay")
    assert open_endpoint(project=project).name == "delay"
    monkeypatch.delenv("QUERY_STRING")
    with pytest.raises(NotFound, match="not said which endpoint"):
        open_endpoint(project=project)
    with pytest.raises(NotFound, match="no endpoint “other”"):
        open_endpoint("other", project)


def test_a_chart_of_anything_and_its_mistakes() -> None:
    days = [FIRST + dt.timedelta(days=n) for n in range(3)]
    chart = Chart(
        days, {"v1": [0.5, None, float("nan")], "v2": [1, 2, 3]}, title="Loss", tones={"v1": "older"}
    )
    assert chart.data["x"][0] == "2013-03-01T00:00:00+00:00"
    assert [one["values"] for one in chart.data["series"]] == [[0.5, None, None], [1.0, 2.0, 3.0]]
    assert kept(chart)["text/plain"] == "Loss\nv1: 0.50 to 0.50\nv2: 1.00 to 3.00"
    chart.update([1, 2], {"v1": [3, 4]})
    assert chart.data["x"] == [1.0, 2.0] and chart.data["title"] == "Loss"
    with pytest.raises(Invalid, match="“a” has 1 figures, x has 2"):
        Chart([1, 2], {"a": [1]})
    assert "<svg" not in kept(Chart([], {"a": []}))["text/html"]


def test_a_heat_map_of_anything() -> None:
    days = [dt.datetime(2013, 3, 1) + dt.timedelta(days=7 * n) for n in range(4)]
    heat = Heatmap(days, {"temp": [0.1, 0.5, None]}, prediction=[0.1, 0.2, 0.4])
    assert heat.monitor.latest.window == "7d" and len(heat.monitor.latest.drift.windows) == 3
    assert kept(heat)["text/html"].count("<rect") == 6
    with pytest.raises(Invalid, match="“temp” has 2 figures for 3 windows"):
        Heatmap(days, {"temp": [0.1, 0.5]})


def test_columns_keep_their_parts() -> None:
    m = Monitor.of(july())
    columns = Columns([Traffic(m), Drift(m)], [Alerts(m), Stack(Histogram(m))])
    data = kept(columns)
    assert data["text/plain"].splitlines()[0].startswith("Traffic,")
    assert "Baseline" not in data["text/plain"] and "temp, 9 April to 15 April" in data["text/plain"]


def test_the_pages_notebook_has_ten_readable_cells(watched: tuple[Project, StandIn]) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert len(notebook.cells) == 10
    assert all(len(cell.source.splitlines()) <= 5 and not cell.get("outputs") for cell in notebook.cells)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert parameters.source.splitlines()[-1].startswith("endpoint = None")
    # Every cell runs, in order, as a kernel in the project's folder runs it.
    project, _ = watched
    names: dict[str, Any] = {}
    shown = []
    for cell in notebook.cells:
        source = cell.source.replace("open_endpoint(endpoint)", "open_endpoint('delay', project)")
        names["project"] = project
        tree = ast.parse(source)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, cell.id, "exec"), names)
        if isinstance(last, ast.Expr):
            shown.append(eval(compile(ast.Expression(last.value), cell.id, "eval"), names))
    kinds = [type(one).__name__ for one in shown if isinstance(one, (Widget, Stack))]
    assert kinds == ["Header", "Tiles", "Columns", "Predictions"]
