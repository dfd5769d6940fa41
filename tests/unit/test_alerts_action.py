"""The loop, live: a real endpoint drifts, its alert trains again, and what comes of it is registered."""

from __future__ import annotations

import datetime as dt
import json
import random
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import end
from monitor_support import recount, sums
from support import eventually, kill, process, write_notebook

from mlinfra_lab import retrain
from mlinfra_lab.errors import Conflict, Invalid, InvalidParameter, NotFound
from mlinfra_lab.project import Project
from mlinfra_lab.schema.monitoring import Alert, View

pytestmark = pytest.mark.slow

PATIENCE = 240
WEEK = dt.timedelta(days=7)
BEGIN = dt.datetime(2013, 1, 1, tzinfo=dt.UTC)
PARAMETERS = 'data = "points@1"\nfail = False\nseed = 1'
TRAIN = """
import mlflow, numpy as np, pandas as pd
from pathlib import Path
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression
from mlinfra_lab import Project

project = Project.current()
if fail or (project.root / "fail").exists():
    raise RuntimeError("no training today")
table = pd.read_csv(next(Path(project.data.open(data).path).rglob("*.csv")))
X, y = table[["x", "noise"]], table["late"]
model = LogisticRegression().fit(X, y)
answers = model.predict_proba(X)
with mlflow.start_run():
    project.monitoring.profile(inputs=X, held_out=X, predictions=answers, truth=y, positive=1)
    mlflow.sklearn.log_model(
        model, name="model", signature=infer_signature(X, answers), pyfunc_predict_fn="predict_proba",
        pip_requirements=["scikit-learn"],
    )
"""
SETTINGS = """
[endpoints.line]
title = "Is it late?"
slices = ["noise"]

[endpoints.auto]
action = "automatic"
"""


def table(path: Path, seed: int, shift: float = 0.0) -> None:
    """Rows to train on."""
    chance = random.Random(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["x,noise,late"]
    for _ in range(2000):
        x = chance.gauss(shift, 1)
        lines.append(f"{x},{chance.random()},{int(chance.gauss(0, 1) < x)}")
    path.write_text("\n".join(lines))


@pytest.fixture(scope="module")
def live(initialised: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A model trained as a job on a dataset's first version, and a second version of that."""
    folder = tmp_path_factory.mktemp("loop") / "project"
    shutil.copytree(initialised, folder)
    with (folder / "mlinfra.toml").open("a") as file:
        file.write(SETTINGS)
    project = Project(folder)
    try:
        table(folder / "data" / "points" / "points.csv", 1)
        project.data.snapshot(folder / "data" / "points").wait(PATIENCE)
        write_notebook(folder / "train.ipynb", [TRAIN], PARAMETERS)
        job = project.jobs.submit(folder / "train.ipynb").wait(PATIENCE).job
        assert job.state == "succeeded", job.error
        project.models.register(job.runs[0], "line", "champion").wait(PATIENCE)
        project.endpoints.publish("line@champion", "line").wait(PATIENCE)
        table(folder / "data" / "points" / "points.csv", 2, 1.5)
        project.data.snapshot(folder / "data" / "points").wait(PATIENCE)
        yield project
    finally:
        end(project)


def post(project: Project, name: str, what: str, body: Any) -> Any:
    endpoint = project.endpoints.get(name)
    assert endpoint.url is not None
    url = endpoint.url.replace("/invocations", f"/{what}")
    headers = {
        "Content-Type": "application/json",
        "Authorization": f"Bearer {project.endpoints.token(name)}",
    }
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def send(project: Project, name: str, week: int, shift: float, rows: int = 300) -> None:
    """A week of requests, with their truth."""
    chance = random.Random(week)
    data, true = [], []
    for place in range(rows):
        x = chance.gauss(shift, 1)
        at = BEGIN + week * WEEK + WEEK * (place + 0.5) / rows
        data.append([x, chance.random(), at.isoformat()])
        true.append(int(chance.gauss(0, 1) < x))
    body = {"dataframe_split": {"columns": ["x", "noise", "event_time"], "data": data}}
    ids = post(project, name, "invocations", body)["prediction_ids"]
    items = [{"id": id, "truth": truth} for id, truth in zip(ids, true, strict=True)]
    assert post(project, name, "ground-truth", items)["accepted"] == rows


def view(project: Project, name: str, captured: int) -> View:
    """The page, once everything is on it."""

    def whole() -> View | None:
        found = project.monitoring.view(name)
        truths = sum(sum(one.rows) for one in found.quality.series)
        return found if found.captured == captured and truths == captured else None

    return eventually(whole, 60)


def raised(project: Project, name: str) -> Alert:
    found: list[Alert] = eventually(lambda: project.monitoring.alerts(name), 60)
    return found[0]


def settled(project: Project, number: int) -> Alert:
    """The alert when its action is over."""

    def ended() -> Alert | None:
        found = project.monitoring.alert(number)
        return None if found.state == "acting" else found

    return eventually(ended, PATIENCE)


def test_from_drift_to_a_new_version(live: Project) -> None:
    for week in range(3):
        send(live, "line", week, 0.0)
    seen = view(live, "line", 900)
    assert seen.alerts == ()
    assert seen.title == "Is it late?"
    assert seen.model == "line"
    assert [(one.label, one.share, one.alias) for one in seen.answers] == [("v1", 1.0, "champion")]
    assert live.monitoring.baseline("line", 1).source.startswith("run:")
    for week in range(3, 6):
        send(live, "line", week, 1.5)
    alert = raised(live, "line")
    assert f"{alert.since:%d %B}" == "22 January"
    assert "x explains most of it" in alert.message
    seen = view(live, "line", 1800)
    requests = next(tile for tile in seen.tiles if tile.id == "requests")
    assert requests.value is not None
    assert sum(sum(one.values) for one in seen.traffic.series if all(one.values)) >= 0
    assert seen.recent[0].truth in (0, 1)
    assert seen.recent[0].score is not None
    # What it would run is checked before anything is begun.
    with pytest.raises(InvalidParameter):
        live.monitoring.act(alert.number, {"sed": 3})
    assert live.monitoring.alert(alert.number).state == "open"
    for ref, why in (("points@99", "no version 99"), ("lines@1", "lines"), ("points@", "points@")):
        with pytest.raises((NotFound, Invalid), match=why):
            live.monitoring.act(alert.number, {"data": ref})
    assert live.monitoring.alert(alert.number).state == "open"
    assert live.jobs.caused(f"alert:{alert.number}") == []
    # A job that fails: the alert says so, and is open as before.
    acted = live.monitoring.act(alert.number, {"fail": True})
    assert acted.state == "acting"
    with pytest.raises(Conflict, match="being acted on"):
        live.monitoring.act(alert.number)
    failed = settled(live, alert.number)
    assert failed.state == "open"
    assert failed.error is not None
    assert "no training today" in failed.error
    # And one that succeeds.
    before = live.models.get("line").version
    acted = live.monitoring.act(alert.number, {"seed": 5})
    assert acted.job is not None
    job = live.jobs.get(acted.job)
    assert job.parameters == {"data": "points@2", "seed": 5}
    assert job.cause == f"alert:{alert.number}"
    answered = settled(live, alert.number)
    newest = live.models.get("line")
    assert (answered.state, answered.model, answered.error) == ("answered", newest.ref, None)
    assert newest.version == before + 1
    trace = live.lineage.show(newest.ref)
    kinds = {(node.kind, node.id) for node in trace.nodes}
    assert ("alert", str(alert.number)) in kinds
    assert ("dataset", "points@2") in kinds
    assert ("revision", "line.1") in kinds
    history = [entry.message for entry in live.endpoints.history("line") if entry.kind == "action"]
    assert any("points@2" in message for message in history)
    assert any("failed" in message and "no training today" in message for message in history)
    # Done again, nothing is registered twice.
    live.tasks.submit(
        "mlinfra_lab.retrain.work:answer", "again", {"alert": alert.number, "job": acted.job}, dict
    ).wait(PATIENCE)
    assert live.models.get("line") == newest


def test_by_itself_within_its_limits(live: Project) -> None:
    live.endpoints.publish("line/1", "auto").wait(PATIENCE)
    (live.root / "fail").touch()
    for week in range(5):
        send(live, "auto", week, 1.5)
    alert = raised(live, "auto")
    failed = eventually(lambda: (one := live.monitoring.alert(alert.number)).error and one, PATIENCE)
    assert failed.state == "open"
    (live.root / "fail").unlink()
    # Open, broken, automatic: and left alone until the cool-down is over.
    for _ in range(5):
        retrain.follow(live)
    assert len(live.jobs.caused(f"alert:{alert.number}")) == 1
    send(live, "auto", 6, 1.5)
    answered = eventually(
        lambda: (one := live.monitoring.alert(alert.number)).state == "answered" and one, PATIENCE
    )
    assert answered.model is not None
    assert len(live.jobs.caused(f"alert:{alert.number}")) == 2


def test_the_monitor_and_the_controller_die(live: Project) -> None:
    name = "other"
    live.endpoints.publish("line/1", name).wait(PATIENCE)
    send(live, name, 6, 0.0)
    eventually(lambda: live.monitoring.view(name).captured == 300, 60)
    eventually(lambda: process(live, "monitor"), 60)
    kill(process(live, "monitor"))
    send(live, name, 7, 0.0)
    eventually(lambda: live.monitoring.view(name).captured == 600, 60)
    beat = live.controller.alive()
    assert beat is not None
    import psutil

    kill(psutil.Process(beat.pid))
    send(live, name, 8, 0.0)
    eventually(lambda: live.monitoring.view(name).captured == 900, 60)
    live.controller.ensure()

    def exact() -> bool:
        (mine, judged), (theirs, right) = sums(live, name), recount(live, name)
        whole = {key: one for key, one in judged.items() if key[2] == ""}
        return mine == theirs and whole.keys() == right.keys()

    eventually(exact, 60)
    line = next(one for one in live.status().lines if one.kind == "monitor")
    assert line.actual == "up"
