"""Runs: our reading of MLflow's store against MLflow's own, the store itself, comparison, moving house."""

from __future__ import annotations

import math
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pyfunc
import mlflow.sklearn
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from sklearn.linear_model import LinearRegression

from mlinfra_lab.errors import Conflict, Invalid, NotFound, Unavailable
from mlinfra_lab.project import Project
from mlinfra_lab.runs import compare as comparing
from mlinfra_lab.runs import work
from mlinfra_lab.runs.relocate import relocate
from mlinfra_lab.runs.service import FILE
from mlinfra_lab.schema.runs import Run
from mlinfra_lab.tasks import Report


def log_model(project: Project, name: str | None = None) -> str:
    """Log a small model, and register it under ``name``, by plain MLflow in this process; the run's id."""
    os.environ.update(project.runs.environment())
    fitted = LinearRegression().fit([[1.0], [2.0]], [2.0, 4.0])
    with mlflow.start_run(run_name="fit") as run:
        mlflow.log_metric("loss", 0.5)
        mlflow.sklearn.log_model(
            fitted, name="model", serialization_format="cloudpickle", pip_requirements=["scikit-learn"]
        )
    if name is not None:
        mlflow.register_model(f"runs:/{run.info.run_id}/model", name)
    return str(run.info.run_id)


def predict(project: Project, uri: str) -> float:
    """What a logged model, loaded by plain MLflow, says of 3."""
    os.environ.update(project.runs.environment())
    return round(float(mlflow.pyfunc.load_model(uri).predict([[3.0]])[0]), 6)


def plain(code: str, project: Project, *args: str, cwd: Path | None = None, **env: str) -> str:
    """Run plain MLflow code in a process of its own, as a job's kernel would."""
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        env={**os.environ, **project.runs.environment(), **env},
        cwd=cwd or project.root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def report(project: Project) -> Report:
    return Report(project.state / "run" / "test.json", lambda: False)


@pytest.fixture(scope="module", autouse=True)
def environ() -> Iterator[None]:
    """The work functions point MLflow to a store by the environment; other tests are not to see it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def prepared(initialised: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's folder whose store is made: MLflow's migrations take seconds."""
    folder = tmp_path_factory.mktemp("prepared") / "project"
    shutil.copytree(initialised, folder)
    project = Project(folder)
    work.prepare_store(project, {}, report(project))
    project.close()
    return folder


@pytest.fixture
def stored(prepared: Path, tmp_path: Path) -> Iterator[Project]:
    """A project with an empty store, without a controller."""
    project = Project(shutil.copytree(prepared, tmp_path / "project"))
    yield project
    project.close()


@pytest.fixture(scope="module")
def filled(initialised: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose store has runs of every kind; tests only read it."""
    folder = tmp_path_factory.mktemp("filled") / "a 100% #1 ü"
    shutil.copytree(initialised, folder)
    project = Project(folder)
    work.prepare_store(project, {}, report(project))
    client = work.client(project.runs)
    home = client.get_experiment_by_name(project.runs.experiment).experiment_id
    other = client.create_experiment("other")
    gone = client.create_experiment("gone")
    for number in range(25):
        run = client.create_run(
            home if number % 3 else other, start_time=1000 * (number // 2), run_name=f"run {number}"
        )
        client.log_batch(
            run.info.run_id,
            metrics=[
                Metric("loss", 1 / (number + 1), 10, 0),
                Metric("loss", 2 / (number + 1), 20, 2),
                Metric("loss", 9.0, 30, 1),
                Metric("nan", math.nan, 10, 0),
                Metric("high", math.inf, 10, 0),
                Metric("low", -math.inf, 10, 0),
            ],
            params=[Param("C", str(number)), Param("empty", "")],
            tags=[RunTag("mlinfra.job", f"j{number % 2}"), RunTag("note", "größer")],
        )
        if number % 4 == 0:
            client.set_terminated(run.info.run_id, "FAILED", 1000 * number + 7)
        if number % 5 == 4:
            client.delete_run(run.info.run_id)
    client.create_run(gone)
    client.delete_experiment(gone)
    yield project
    project.close()


def as_told(runs: list[Any], client: MlflowClient) -> list[tuple[Any, ...]]:
    """What MLflow's client says of runs; NaN by its text, for it is not equal to itself."""
    return [
        (
            run.info.run_id,
            run.info.run_name,
            client.get_experiment(run.info.experiment_id).name,
            run.info.status,
            run.info.start_time,
            run.info.end_time,
            run.data.params,
            {name: repr(value) for name, value in run.data.metrics.items()},
            run.data.tags,
        )
        for run in runs
    ]


def as_read(runs: list[Run]) -> list[tuple[Any, ...]]:
    """The same of our runs."""
    return [
        (
            run.id,
            run.name,
            run.experiment,
            run.status,
            None if run.started is None else round(run.started.timestamp() * 1000),
            None if run.ended is None else round(run.ended.timestamp() * 1000),
            run.params,
            {name: repr(value) for name, value in run.metrics.items()},
            run.tags,
        )
        for run in runs
    ]


# -- reading ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 5, 100])
@pytest.mark.parametrize("experiment", [None, "other", "nowhere"])
def test_list_is_what_the_client_says(filled: Project, limit: int, experiment: str | None) -> None:
    client = work.client(filled.runs)
    if experiment is None:
        ids = [one.experiment_id for one in client.search_experiments()]
    else:
        there = client.get_experiment_by_name(experiment)
        ids = [there.experiment_id] if there else []
    told = client.search_runs(ids, max_results=limit) if ids else []
    assert as_read(filled.runs.list(limit, experiment)) == as_told(told, client)


def test_get_is_what_the_client_says_also_of_a_deleted_run(filled: Project) -> None:
    client = work.client(filled.runs)
    ids = [one.experiment_id for one in client.search_experiments()]
    for run in client.search_runs(ids, run_view_type=ViewType.ALL):
        assert as_read([filled.runs.get(run.info.run_id)]) == as_told([run], client)


def test_runs_of_a_job_are_told_oldest_first(filled: Project) -> None:
    client = work.client(filled.runs)
    ids = [one.experiment_id for one in client.search_experiments()]
    told = client.search_runs(ids, "tags.`mlinfra.job` = 'j1'", order_by=["start_time ASC", "run_id ASC"])
    found = filled.runs.of_job("j1")
    assert as_read(found) == as_told(told, client)
    assert {run.job for run in found} == {"j1"}
    assert filled.runs.of_job("j") == []


def test_a_run_is_found_by_the_beginning_of_its_id(filled: Project) -> None:
    runs = filled.runs.list(100)
    one = runs[3]
    unique = next(n for n in range(1, 33) if sum(run.id.startswith(one.id[:n]) for run in runs) == 1)
    assert filled.runs.get(one.id[:unique]).id == one.id


def test_a_beginning_that_several_runs_share_lists_them(filled: Project) -> None:
    runs = filled.runs.list(100)
    letter = next(run.id[0] for run in runs if sum(other.id[0] == run.id[0] for other in runs) > 1)
    with pytest.raises(Invalid, match="Several runs begin with") as caught:
        filled.runs.get(letter)
    assert caught.value.detail is not None
    assert set(caught.value.detail["matches"]) <= {run.id for run in runs if run.id[0] == letter}


@pytest.mark.parametrize("id", ["zzzz", "", "a b", "%", "50%", "a' OR 1=1", "../x"])
def test_an_unknown_run(filled: Project, id: str) -> None:
    with pytest.raises(NotFound):
        filled.runs.get(id)


def test_a_mistyped_run_is_answered_with_the_nearest(filled: Project) -> None:
    id = filled.runs.list(1)[0].id[:12]
    wrong = id[:5] + ("0" if id[5] != "0" else "1") + id[6:]
    with pytest.raises(NotFound) as caught:
        filled.runs.get(wrong)
    assert id in str(caught.value.hint)


def test_a_list_of_no_runs_is_refused(filled: Project) -> None:
    with pytest.raises(Invalid):
        filled.runs.list(0)


def test_asking_through_the_client_gives_the_same(filled: Project) -> None:
    told = work.search(filled, {"limit": 100, "experiment": "other"}, report(filled)).restored()
    assert as_read(told) == as_read(filled.runs.list(100, "other"))
    assert any(math.isnan(run.metrics["nan"]) for run in told)
    told = work.search(filled, {"job": "j1"}, report(filled)).restored()
    assert {run.id for run in told} == {run.id for run in filled.runs.of_job("j1")}
    first = filled.runs.list(1)[0]
    assert as_read(work.search(filled, {"id": first.id[:10]}, report(filled)).restored()) == as_read([first])
    assert work.search(filled, {"id": "zzz"}, report(filled)).runs == []


def test_reading_imports_nothing_heavy(filled: Project) -> None:
    code = (
        "import sys; from mlinfra_lab import Project; runs = Project(sys.argv[1]).runs;"
        "runs.list(); runs.get(runs.list(1)[0].id); runs.of_job('j1'); runs.logged_models('x'); runs.ready();"
        "print(*{'mlflow', 'pandas', 'numpy', 'sklearn', 'alembic'} & set(sys.modules))"
    )
    assert plain(code, filled, str(filled.root)) == ""


def test_without_a_store_there_are_no_runs(project: Project) -> None:
    assert project.runs.list() == []
    assert project.runs.of_job("j1") == []
    assert project.runs.logged_models("x") == []
    assert not project.runs.ready()
    with pytest.raises(NotFound):
        project.runs.get("abc")


def test_a_file_that_is_no_store_is_named(project: Project) -> None:
    path = project.state / FILE
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(Unavailable, match=r"mlflow\.db"):
        project.runs.list()
    path.unlink()
    sqlite3.connect(path).execute("CREATE TABLE other (x)").connection.close()
    with pytest.raises(Conflict, match=r"mlflow\.db") as caught:
        project.runs.list()
    assert "mlflow db upgrade" in str(caught.value.hint)


# -- comparing --------------------------------------------------------------------------------------


def run(id: str, metrics: dict[str, float], **params: str) -> Run:
    tags = {"note": id, "mlflow.user": id}
    return Run(id=id, name=id, experiment="e", status="FINISHED", metrics=metrics, params=params, tags=tags)


def test_runs_side_by_side() -> None:
    one = run("a", {"auc": 0.7, "log_loss": 0.5, "nan": math.nan}, C="1", model="logistic")
    two = run("b", {"auc": 0.6, "log_loss": 0.4, "nan": math.nan, "extra": 1.0}, C="0.1", model="logistic")
    found = comparing.compare([one, two], "auc")
    assert found.better == "a"
    assert comparing.compare([one, two], "log_loss").better == "b"
    assert comparing.compare([one, two]).better is None
    assert {line.name: line.differs for line in found.params} == {"C": True, "model": False}
    assert {line.name: line.differs for line in found.metrics} == {
        "auc": True, "log_loss": True, "nan": False, "extra": True,
    }  # fmt: skip
    assert next(line.values for line in found.metrics if line.name == "extra") == (None, 1.0)
    assert [line.name for line in found.tags] == ["note"]


def test_nobody_is_better_by_a_shared_or_missing_value() -> None:
    runs = [run("a", {"auc": 0.7}), run("b", {"auc": 0.7}), run("c", {"auc": math.nan}), run("d", {})]
    assert comparing.compare(runs, "auc").better is None
    assert comparing.compare([runs[2], runs[3]], "auc").better is None
    assert comparing.compare([runs[0], runs[2]], "auc").better == "a"


@pytest.mark.parametrize(
    ("metric", "less"),
    [
        ("auc", False), ("accuracy", False), ("r2", False), ("lossless_share", False), ("f1", False),
        ("log_loss", True), ("val-loss", True), ("rmse", True), ("brier", True), ("testMAE", True),
        ("mean.absolute.error", True), ("evalLoss", True),
    ],
)  # fmt: skip
def test_which_way_a_metric_is_good(metric: str, less: bool) -> None:
    assert comparing.less_is_better(metric) is less


def test_a_metric_that_no_run_has() -> None:
    with pytest.raises(NotFound) as caught:
        comparing.compare([run("a", {"log_loss": 1.0}), run("b", {})], "logloss")
    assert "log_loss" in str(caught.value.hint)


def test_a_run_is_not_compared_with_itself(filled: Project) -> None:
    id = filled.runs.list(1)[0].id
    with pytest.raises(Invalid):
        filled.runs.compare([id, id[:20]])


# -- the store --------------------------------------------------------------------------------------


def test_the_store_is_made_once_and_ready(project: Project) -> None:
    assert not project.runs.ready()
    made = project.runs.prepare().wait(timeout=120)
    assert made.experiment == project.name
    assert project.runs.ready()
    assert project.runs.prepare().wait(timeout=120) == made
    connection = sqlite3.connect(project.state / FILE)
    assert connection.execute("SELECT count(*) FROM sqlite_stat1").fetchone()[0] > 0
    connection.close()
    assert not list(project.state.glob(f"{FILE}.new*"))


def test_plain_mlflow_writes_into_the_project_and_is_traced(stored: Project, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = (
        "import mlflow\n"
        "with mlflow.start_run(): mlflow.log_text('x', 'x.txt')\n"
        "mlflow.set_experiment('my own')\n"
        "with mlflow.start_run(): mlflow.log_text('y', 'y.txt')\n"
    )
    job = {
        "MLINFRA_PROJECT_ID": stored.id, "MLINFRA_JOB": "jabc", "MLINFRA_NOTEBOOK": "train.ipynb",
        "MLINFRA_COMMIT": "c0ffee", "MLINFRA_ENVIRONMENT": "",
    }  # fmt: skip
    plain(code, stored, cwd=elsewhere, **job)
    assert list(elsewhere.iterdir()) == []
    runs = stored.runs.of_job("jabc")
    assert [one.experiment for one in runs] == [stored.name, "my own"]
    for one in runs:
        ours = {name: value for name, value in one.tags.items() if name.startswith("mlinfra.")}
        assert ours == {
            "mlinfra.project": stored.id, "mlinfra.job": "jabc", "mlinfra.notebook": "train.ipynb",
            "mlinfra.commit": "c0ffee",
        }  # fmt: skip
    files = {path.name for path in (stored.state / "mlartifacts").rglob("*.txt")}
    assert files == {"x.txt", "y.txt"}


def test_outside_of_a_project_nothing_is_tagged() -> None:
    from mlinfra_lab.runs.context import JobContext

    assert not JobContext().in_context()


def test_a_store_of_an_older_mlflow_is_brought_up_to_date(project: Project) -> None:
    from alembic import command
    from mlflow.store.db import utils
    from mlflow.store.tracking.dbmodels.initial_models import Base

    path = project.state / FILE
    engine = utils.create_sqlalchemy_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    config = utils._get_alembic_config(f"sqlite:///{path}")
    # The schema of MLflow 1.x: no models in runs, no datasets, no logged models.
    command.upgrade(config, "cc1f77228345")
    engine.dispose()
    with pytest.raises(Conflict, match="schema"):
        project.models.list()
    work.prepare_store(project, {}, report(project))
    assert project.runs.ready()
    assert project.models.list() == []
    assert len(list(project.state.glob(f"{FILE}.cc1f77228345"))) == 1


def test_a_deleted_experiment_is_said(stored: Project) -> None:
    client = work.client(stored.runs)
    client.delete_experiment(client.get_experiment_by_name(stored.name).experiment_id)
    assert not stored.runs.ready()
    with pytest.raises(Conflict, match="deleted") as caught:
        work.prepare_store(stored, {}, report(stored))
    assert "mlflow experiments restore" in str(caught.value.hint)


def test_runs_of_a_killed_job_are_ended(stored: Project) -> None:
    client = work.client(stored.runs)
    home = client.get_experiment_by_name(stored.name).experiment_id
    mine = client.create_run(home, tags={"mlinfra.job": "jabc"}).info.run_id
    done = client.create_run(home, tags={"mlinfra.job": "jabc"}).info.run_id
    client.set_terminated(done)
    other = client.create_run(home, tags={"mlinfra.job": "jabd"}).info.run_id
    args = {"job": "jabc", "status": "KILLED"}
    assert work.close_runs(stored, args, report(stored)) == [mine]
    assert work.close_runs(stored, args, report(stored)) == []
    states = {one.id: one.status for one in stored.runs.list()}
    assert states == {mine: "KILLED", done: "FINISHED", other: "RUNNING"}


def test_logged_models_are_what_the_client_says(stored: Project) -> None:
    id = log_model(stored)
    told = work.logged_models(stored, {"run": id}, report(stored))
    assert stored.runs.logged_models(id) == told
    assert [model.name for model in told] == ["model"]
    run = stored.runs.get(id)
    assert run.started is not None
    assert run.ended is not None
    assert run.started <= told[0].created <= run.ended


# -- copied and moved -------------------------------------------------------------------------------


def test_a_copy_and_a_moved_project_find_their_own_files(stored: Project, tmp_path: Path) -> None:
    log_model(stored, "m")
    before = (stored.state / FILE).read_bytes()
    copy = tmp_path / "a copy #2"
    shutil.copytree(stored.root, copy)
    copied = Project(copy)
    assert (stored.state / FILE).read_bytes() == before
    # Gone from its old place, so that reading it by mistake fails.
    away = stored.root.rename(tmp_path / "moved")
    try:
        assert predict(copied, "models:/m/1") == 6.0
        assert copied.models.get("m").run == copied.runs.list()[0].id
        assert log_model(copied, "m")
        assert copied.runs.relocate(stored.root) == 0
        moved = Project(away)
        assert predict(moved, "models:/m/1") == 6.0
        assert len(moved.runs.list()) == 1
        moved.close()
    finally:
        copied.close()
        away.rename(stored.root)


def test_a_copy_inside_the_original_is_mended_once(stored: Project) -> None:
    log_model(stored, "m")
    inside = stored.root / "inside"
    inside.mkdir()
    for name in ("mlinfra.toml", ".mlinfra"):
        source = stored.root / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, inside / name)
    copied = Project(inside)
    assert copied.runs.relocate(stored.root) == 0
    location = copied.runs.logged_models(copied.runs.list()[0].id)[0].location
    assert location.startswith(f"{inside}/.mlinfra/mlartifacts/")
    copied.close()


def test_places_that_lie_elsewhere_stay(stored: Project) -> None:
    client = work.client(stored.runs)
    places = ["s3://bucket/x", f"{stored.root}-other/x", stored.root.as_uri() + "/x", "file:///elsewhere/y"]
    for number, place in enumerate(places):
        client.create_experiment(f"e{number}", artifact_location=place)
    relocate(stored.state / FILE, stored.root, Path("/new place"))
    found = [client.get_experiment_by_name(f"e{number}").artifact_location for number in range(len(places))]
    assert found == [places[0], places[1], "file:///new%20place/x", places[3]]


# -- stores that were there before the project ------------------------------------------------------


def test_a_sqlite_file_that_was_there_is_used(make_project: Callable[..., Project]) -> None:
    project = make_project(toml='[mlflow]\ntracking_uri = "sqlite:///old/store.db"\nexperiment = "mine"\n')
    (project.root / "old").mkdir()
    client = MlflowClient(f"sqlite:///{project.root}/old/store.db")
    theirs = client.create_experiment("theirs", artifact_location=str(project.root / "old" / "files"))
    client.create_run(theirs)
    assert not project.runs.ready()
    work.prepare_store(project, {}, report(project))
    assert project.runs.ready()
    id = log_model(project)
    assert [one.id for one in project.runs.list()] == [id]
    assert len(project.runs.list(experiment="theirs")) == 1
    assert not (project.state / FILE).exists()
    assert project.runs.logged_models(id)[0].location.startswith(f"{project.root}/old/mlartifacts/mine/")


@pytest.mark.slow
def test_a_folder_of_files_that_was_there_is_used(
    make_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = make_project(toml='[mlflow]\ntracking_uri = "mlruns"\n')
    project.runs.prepare().wait(timeout=120)
    assert project.runs.ready()
    id = log_model(project, "m")
    assert [one.id for one in project.runs.list()] == [id]
    assert project.runs.get(id[:8]).metrics == {"loss": 0.5}
    assert [model.name for model in project.runs.logged_models(id)] == ["model"]
    assert project.models.get("m").run == id
    copied = Project(shutil.copytree(project.root, tmp_path / "copy"))
    away = project.root.rename(tmp_path / "away")
    try:
        assert predict(copied, "models:/m/1") == 6.0
    finally:
        copied.close()
        away.rename(project.root)


def test_mlflow_is_the_version_the_tests_know() -> None:
    # Our reading of its tables is held against the client above; this says which one it was.
    assert mlflow.__version__.split(".")[0] == "3"
