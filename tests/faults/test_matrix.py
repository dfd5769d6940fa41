"""The matrix: each process is killed while each step that it has a part in is on its way.

The step then ends as if nothing had happened, once: the same work is not done twice, and what was
acknowledged is there. `make test` takes one step for each process by the seed, `make faults` takes all.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import end
from support import ALL, SEED, eventually, kill, process, write_notebook

from mlinfra_lab.errors import NotFound
from mlinfra_lab.project import Project

pytestmark = [pytest.mark.faults, pytest.mark.slow]

PARTS = {
    "controller": ["snapshot", "cluster", "register", "publish", "traffic"],
    "worker": ["snapshot", "register", "publish"],
    "front": ["publish", "traffic"],
    "model": ["publish", "traffic"],
    "dask-scheduler": ["cluster", "compute"],
    "dask-worker": ["cluster", "compute"],
}
MATRIX = [
    (victim, step)
    for victim, steps in PARTS.items()
    for step in (steps if ALL else [random.Random(f"{SEED}{victim}").choice(steps)])
]
PATIENCE = 180
TRAIN = """
import mlflow, numpy as np, pandas as pd
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression
table = pd.DataFrame({"x": np.linspace(0, 1, 100)})
model = LogisticRegression().fit(table, table.x > 0.5)
with mlflow.start_run():
    signature = infer_signature(table)
    mlflow.sklearn.log_model(model, name="model", signature=signature, pip_requirements=["scikit-learn"])
"""
_COUNT = itertools.count(1)


@pytest.fixture(scope="module")
def lived(initialised: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with data, a run with a model, and an endpoint."""
    folder = tmp_path_factory.mktemp("lived") / "project"
    shutil.copytree(initialised, folder)
    project = Project(folder)
    try:
        job = project.jobs.submit(write_notebook(folder / "train.ipynb", [TRAIN])).wait(PATIENCE).job
        assert job.state == "succeeded", job.error
        project.models.register(job.runs[0], "line", "champion").wait(PATIENCE)
        project.endpoints.publish("line@champion", "line").wait(PATIENCE)
        yield project
    finally:
        end(project)


def ask(project: Project) -> list[str]:
    """Send one request and return the prediction ids that were given."""
    endpoint = project.endpoints.get("line")
    assert endpoint.url is not None
    body = json.dumps({"dataframe_split": {"columns": ["x"], "data": [[0.2], [0.8]]}}).encode()
    headers = {
        "Content-Type": "application/json",
        "Authorization": f"Bearer {project.endpoints.token('line')}",
    }
    with urllib.request.urlopen(urllib.request.Request(endpoint.url, body, headers), timeout=60) as answer:
        ids: list[str] = json.load(answer)["prediction_ids"]
        return ids


class Step:
    """One step of the loop: begun by ``__init__``, ``check``ed when whoever was killed is back."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.begin()

    def begin(self) -> None:
        raise AssertionError

    def check(self) -> None:
        raise AssertionError


class Snapshot(Step):
    def begin(self) -> None:
        folder = self.project.root / "data" / "rows"
        folder.mkdir(parents=True, exist_ok=True)
        number = next(_COUNT)
        for part in range(100):
            (folder / f"{part}.csv").write_text(f"a\n{number}\n{part}\n")
        try:
            self.before = len(self.project.data.log("rows"))
        except NotFound:
            self.before = 0
        self.task = self.project.data.snapshot(folder)

    def check(self) -> None:
        assert self.task.wait(PATIENCE).version == self.before + 1
        assert len(self.project.data.log("rows")) == self.before + 1


class Register(Step):
    def begin(self) -> None:
        self.name = f"line{next(_COUNT)}"
        run = self.project.runs.list()[0].id
        self.task = self.project.models.register(run, self.name, "champion")

    def check(self) -> None:
        assert self.task.wait(PATIENCE).version == 1
        (model,) = [one for one in self.project.models.list() if one.name == self.name]
        assert [version.version for version in model.versions] == [1]
        assert model.aliases == {"champion": 1}


class Publish(Step):
    def begin(self) -> None:
        self.ref = self.project.endpoints.publish("line@champion", "line")

    def check(self) -> None:
        endpoint = self.ref.wait(PATIENCE)
        assert endpoint.serving == self.ref.number
        (first, _) = eventually(lambda: _answered(self.project), 60)
        assert self.project.endpoints.prediction(first).revision == self.ref.number


class Traffic(Step):
    """Requests go on all the while; every id that was given is found again."""

    def begin(self) -> None:
        eventually(lambda: _answered(self.project), 60)
        self.given: list[str] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.send)
        self.thread.start()

    def send(self) -> None:
        while not self.stop.is_set():
            self.given += _answered(self.project)

    def check(self) -> None:
        before = len(self.given)
        try:
            eventually(lambda: len(self.given) > before + 20, 120)
        finally:
            self.stop.set()
            self.thread.join()
        assert len(set(self.given)) == len(self.given)
        for id in self.given:
            assert self.project.endpoints.prediction(id).id == id


class Cluster(Step):
    def begin(self) -> None:
        self.project.clusters.stop("local").wait(PATIENCE)
        self.ref = self.project.clusters.start("local")

    def check(self) -> None:
        assert self.ref.wait(PATIENCE).connected == 2
        with self.project.clusters.attach("local") as client:
            assert client.submit(sum, [1, 2]).result(60) == 3


class Compute(Step):
    def begin(self) -> None:
        self.project.clusters.start("local").wait(PATIENCE)

    def check(self) -> None:
        cluster = eventually(self.whole, PATIENCE)
        assert cluster.connected == 2
        with self.project.clusters.attach("local") as client:
            assert client.submit(sum, [1, 2]).result(60) == 3

    def whole(self) -> Any:
        found = self.project.clusters.get("local")
        return found if found.state == "up" and found.connected == 2 else None


STEPS: dict[str, Callable[[Project], Step]] = {
    "snapshot": Snapshot,
    "register": Register,
    "publish": Publish,
    "traffic": Traffic,
    "cluster": Cluster,
    "compute": Compute,
}


def _answered(project: Project) -> list[str]:
    """The ids given, or none while the front or the model process is being replaced."""
    try:
        return ask(project)
    except (urllib.error.URLError, OSError):
        return []


@pytest.mark.parametrize(("victim", "step"), MATRIX, ids="-".join)
def test_killed(lived: Project, victim: str, step: str) -> None:
    chance = random.Random(f"{SEED}{victim}{step}")
    running = STEPS[step](lived)
    threading.Event().wait(chance.random() * 1.5)
    if victim == "controller":
        beat = eventually(lived.controller.alive)
        kill(psutil.Process(beat.pid))
        lived.controller.ensure()
    else:
        kill(eventually(lambda: process(lived, victim), 60))
    running.check()
