"""Doing again what led to a prediction: real jobs, real data versions, a real endpoint."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
from conftest import end
from support import write_notebook

from mlinfra_lab.cli.shell import run as shell
from mlinfra_lab.errors import Conflict, Invalid, NotFound, Unavailable
from mlinfra_lab.jobs import JobRef
from mlinfra_lab.project import Project
from mlinfra_lab.schema.lineage import ReproduceReport, Reproduction
from mlinfra_lab.storage.tables import environments, jobs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TRAIN = [
    """
import mlflow, numpy as np
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema
from sklearn.linear_model import LogisticRegression
from mlinfra_lab import Project
""",
    """
table = Project.current().data.open(flights).to_pandas()
random = np.random.default_rng(seed)
model = LogisticRegression(C=C).fit(table[["temp", "n"]], table["late"] ^ (random.random(len(table)) < 0.1))
""",
    """
with mlflow.start_run(run_name="logistic"):
    mlflow.log_params({"C": C, "rows": len(table)})
    mlflow.log_metric("accuracy", float(model.score(table[["temp", "n"]], table["late"])))
    mlflow.log_metric("fit_seconds", float(np.random.default_rng().random()))
    mlflow.sklearn.log_model(
        model, name="model", pyfunc_predict_fn="predict_proba", pip_requirements=["scikit-learn"],
        signature=ModelSignature(Schema([ColSpec("double", "temp"), ColSpec("long", "n")])),
        input_example=table[["temp", "n"]].head(2), serialization_format="cloudpickle",
    )
""",
]
PARAMETERS = 'C = 1.0\nseed = 0\nflights = "flights"'


def write_data(project: Project, rows: int) -> None:
    table = pd.DataFrame(
        {"temp": [float(n * 37 % 23) for n in range(rows)], "n": [n % 7 for n in range(rows)]}
    )
    table["late"] = table["temp"] > 11
    (project.root / "data").mkdir(exist_ok=True)
    table.to_csv(project.root / "data" / "flights.csv", index=False)


def train(project: Project, **parameters: Any) -> JobRef:
    job = project.jobs.submit(project.root / "nb" / "train.ipynb", parameters)
    assert job.wait(240).job.state == "succeeded", job.log()
    return job


def ask(project: Project, rows: list[dict[str, float]]) -> list[str]:
    """Predictions' ids."""
    url = project.endpoints.get("late").url
    assert url is not None
    request = urllib.request.Request(
        url,
        json.dumps({"dataframe_records": rows}).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {project.endpoints.token('late')}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: list[str] = json.load(answer)["prediction_ids"]
    return found


class World:
    """A project with two model versions that have answered five rows each."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.notebook = write_notebook(project.root / "nb" / "train.ipynb", TRAIN, PARAMETERS)
        write_data(project, 200)
        project.data.snapshot(project.root / "data" / "flights.csv").wait(120)
        self.jobs = [train(project, C=C, seed=3).id for C in (1.0, 0.01)]
        # From now on “flights” alone means another version.
        write_data(project, 300)
        project.data.snapshot(project.root / "data" / "flights.csv").wait(120)
        self.ids: list[str] = []
        for job in self.jobs:
            version = project.models.register(project.jobs.get(job).runs[0], "late").wait(120)
            project.endpoints.publish(version.ref, "late").wait(240)
            self.ids += ask(project, [{"temp": 3.5, "n": 1}])
            self.ids += ask(project, [{"temp": 11.0 + n, "n": n} for n in range(4)])


@pytest.fixture(scope="module")
def world(initialised: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("reproduce") / "project"
    shutil.copytree(initialised, folder)
    project = Project(folder)
    try:
        yield World(project)
    finally:
        end(project)


@pytest.fixture(scope="module")
def done(world: World) -> tuple[ReproduceReport, list[str]]:
    """All ten predictions reproduced, and what was said meanwhile."""
    lines: list[str] = []

    def tell(label: str, done: float = 0, total: float | None = None, line: str = "") -> None:
        if line:
            lines.append(line)

    return world.project.reproduce(*world.ids, tell=tell), lines


def reproductions(world: World, job: str) -> list[str]:
    """The jobs that did one again, oldest first: another test may have had it done once more."""
    return [one.id for one in reversed(world.project.jobs.caused(f"reproduce:{job}"))]


def done_again(world: World, job: str) -> str:
    return "; ".join(f"{one}: identical" for one in reproductions(world, job))


def only(report: ReproduceReport) -> Reproduction:
    (training,) = report.trainings
    return training


def test_ten_predictions_of_two_versions_are_two_jobs(
    world: World, done: tuple[ReproduceReport, list[str]]
) -> None:
    report, lines = done
    project = world.project
    assert (report.verdict, report.text, report.within) == ("identical", "identical", 0.0)
    assert [one.job for one in report.trainings] == world.jobs
    assert [one.models for one in report.trainings] == [("late/1",), ("late/2",)]
    for training, C in zip(report.trainings, (1.0, 0.01), strict=True):
        assert len(training.predictions) == 5
        by_kind = [(one.kind, one.same) for one in training.compared if one.counts]
        assert by_kind.count(("prediction", True)) == 5
        assert ("metric", True) in by_kind
        assert training.data == ("flights@1",)  # though the notebook says “flights”, and 2 is newer
        assert not training.reused
        assert training.reproduction is not None
        again = project.jobs.get(training.reproduction)
        assert again.cause == f"reproduce:{training.job}"
        assert again.parameters == {"C": C, "seed": 3}
        assert again.output.startswith(".mlinfra/jobs/")
        original = project.jobs.get(training.job)
        assert original.conditions is not None
        assert again.conditions is not None
        assert again.conditions.variables == original.conditions.variables
        assert "PYTHONHASHSEED" in again.conditions.variables
        (run,) = again.runs
        assert project.runs.get(run).tags["mlinfra.reproduces"] == training.job
        # The measured time differs, and decides nothing.
        assert not next(one for one in training.compared if one.name == "fit_seconds").counts
    assert any("flights@1" in line for line in lines)
    assert any("succeeded" in line for line in lines)


def test_the_original_and_its_reproduction_know_of_each_other(
    world: World, done: tuple[ReproduceReport, list[str]]
) -> None:
    training = done[0].trainings[0]
    assert training.reproduction is not None
    shown = world.project.lineage.show(training.job).nodes[0]
    assert shown.facts["done again"] == done_again(world, training.job)
    trace = world.project.lineage.show(training.reproduction)
    assert ("job", training.job) in {(node.kind, node.id) for node in trace.nodes}
    # Asked for the reproduction, one means the job that it reproduced.
    assert only(world.project.reproduce(training.reproduction, dry_run=True)).job == training.job
    with pytest.raises(Invalid, match="reproduc"):
        world.project.models.register(world.project.jobs.get(training.reproduction).runs[0], "late")


def test_a_second_time_it_is_reused_and_says_so(
    world: World, done: tuple[ReproduceReport, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(world.project.jobs.list())
    first = done[0].trainings[0]
    again = only(world.project.reproduce(world.ids[0], "late/1"))
    assert again.reused
    assert again.reproduction == reproductions(world, first.job)[-1]
    assert again.verdict == "identical"
    assert again.text == "identical (reproduced before)"
    facts = world.project.lineage.show(first.job).nodes[0].facts
    assert facts["done again"] == done_again(world, first.job)
    assert len(world.project.jobs.list()) == before
    # Without a prediction both models are asked the example that the original was logged with.
    example = only(world.project.reproduce("late/1"))
    assert [one.same for one in example.compared if one.kind == "model"] == [True]
    code = shell(["lineage", "reproduce", world.ids[0], "--json", "--project", str(world.project.root)])
    assert code == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "identical"


def test_a_cell_that_was_changed_since_is_named_and_the_kept_source_runs(
    world: World, done: tuple[ReproduceReport, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    content = world.notebook.read_text()
    notebook = json.loads(content)
    notebook["cells"][2]["source"] = "raise RuntimeError('not what ran')"
    world.notebook.write_text(json.dumps(notebook))
    try:
        plan = only(world.project.reproduce(world.ids[0], dry_run=True))
        (cell,) = plan.cells
        assert (cell.cell, cell.change) == (3, "changed")
        assert "+raise RuntimeError('not what ran')" in cell.diff
        assert plan.verdict == "planned"
        report = world.project.reproduce(world.ids[0], again=True)
        assert report.verdict == "identical"
        assert len(only(report).cells) == 1
        root = str(world.project.root)
        assert shell(["lineage", "reproduce", world.ids[0], "--project", root]) == 0
        said = capsys.readouterr().out
        assert "Cell 3 of nb/train.ipynb was changed since" in said
        assert "identical" in said
        world.notebook.unlink()
        gone = only(world.project.reproduce(world.ids[0], dry_run=True))
        assert not gone.problems
        assert any("kept source" in note for note in gone.notes)
    finally:
        world.notebook.write_text(content)


def test_an_environment_that_differs_is_said_and_is_not_reused(
    world: World, done: tuple[ReproduceReport, list[str]]
) -> None:
    project, job = world.project, world.project.jobs.get(world.jobs[0])
    record = project.lineage.environment(str(job.environment))
    other = [one for one in record.packages if not one.startswith(("pandas==", "click=="))]
    with project.storage.unit() as unit:
        unit.put(
            environments,
            msgspec.structs.asdict(record)
            | {"hash": "f" * 16, "python": "3.9.1", "packages": [*other, "pandas==1.0", "ghost==2"]},
        )
        unit.connection.execute(jobs.update().where(jobs.c.id == job.id).values(environment="f" * 16))
    try:
        plan = only(project.reproduce(world.ids[0], dry_run=True))
        told = {(one.kind, one.name): (one.then, one.now) for one in plan.differs}
        assert told["python", "python"][0] == "3.9.1"
        assert told["package", "pandas"] == ("1.0", pd.__version__)
        assert told["package", "ghost"] == ("2", None)
        assert told["package", "click"][0] is None
        # What was reproduced in the present environment still is: the record is the original's.
        assert plan.reused
    finally:
        with project.storage.unit() as unit:
            unit.connection.execute(
                jobs.update().where(jobs.c.id == job.id).values(environment=job.environment)
            )
    assert done[0].trainings[0].reproduction is not None
    with project.storage.unit() as unit:
        made = jobs.c.cause == f"reproduce:{job.id}"
        unit.connection.execute(jobs.update().where(made).values(environment="e" * 16))
    try:
        assert not only(project.reproduce(world.ids[0], dry_run=True)).reused
    finally:
        with project.storage.unit() as unit:
            unit.connection.execute(jobs.update().where(made).values(environment=job.environment))


def test_what_stands_in_the_way_is_said_before_anything_runs(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = world.project
    before = len(project.jobs.list())
    source = project.jobs.folder(world.jobs[1]) / "source.ipynb"
    kept = source.rename(tmp_path / "source.ipynb")
    try:
        with pytest.raises(NotFound, match="not kept any more") as error:
            project.reproduce(world.ids[-1], again=True)
        assert "copy of the state folder" in str(error.value.hint)
        plan = only(project.reproduce(world.ids[-1], again=True, dry_run=True))
        assert [one.code for one in plan.problems] == ["not_found"]
        line = ["lineage", "reproduce", world.ids[-1], "--again", "--dry-run"]
        assert shell([*line, "--project", str(project.root)]) == 1
        assert "not kept any more" in capsys.readouterr().out
        source.write_text(kept.read_text().replace("LogisticRegression", "Other"))
        with pytest.raises(Conflict, match="was changed"):
            project.reproduce(world.ids[-1], again=True)
        source.unlink()
    finally:
        kept.rename(source)
    with pytest.raises(NotFound):
        project.reproduce("late.1.1.999")
    with pytest.raises(Invalid, match="dataset"):
        project.reproduce("flights@1")
    with pytest.raises(Invalid):
        project.reproduce("nothing like it")
    assert len(project.jobs.list()) == before


def test_data_that_the_cache_lost_are_said_before_anything_runs(world: World, tmp_path: Path) -> None:
    project = world.project
    before = len(project.jobs.list())
    cache = project.root / ".dvc" / "cache"
    away = cache.rename(tmp_path / "cache")
    try:
        plan = only(project.reproduce(world.ids[0], again=True, dry_run=True))
        assert any("lost flights.csv of flights@1" in note for note in plan.notes)
        with pytest.raises(Unavailable, match="flights@1") as error:
            project.reproduce(world.ids[0], again=True)
        assert "remote" in str(error.value.hint)
    finally:
        shutil.rmtree(cache, ignore_errors=True)
        away.rename(cache)
    assert len(project.jobs.list()) == before
