"""Registered models: our reading of the registry against MLflow's own, registering, whose files they are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import mlflow
import mlflow.pyfunc
import pytest
import sqlalchemy as sa
from mlflow import MlflowClient

from mlinfra_lab.errors import Invalid, MLInfraError, NotFound
from mlinfra_lab.models import work
from mlinfra_lab.models.service import INTENT_TAG, ModelsService
from mlinfra_lab.project import Project
from mlinfra_lab.runs import work as runs_work
from mlinfra_lab.schema.models import ModelVersion
from mlinfra_lab.storage.tables import audit, edges
from mlinfra_lab.tasks import Report


def report(project: Project) -> Report:
    return Report(project.state / "run" / "test.json", lambda: False)


class Twice(mlflow.pyfunc.PythonModel):
    """A model that needs no library of its own."""

    def predict(self, model_input: list[float]) -> list[float]:
        return [2 * value for value in model_input]


def log_model(project: Project, models: int = 1) -> str:
    """A run that logs so many models; its id."""
    os.environ.update(project.runs.environment())
    with mlflow.start_run() as run:
        for number in range(models):
            mlflow.pyfunc.log_model(
                name=f"model{number}", python_model=Twice(), pip_requirements=[], input_example=[1.0]
            )
    return str(run.info.run_id)


def client(project: Project) -> MlflowClient:
    return runs_work.client(project.runs)


def register(project: Project, source: str, name: str, alias: str | None = None) -> ModelVersion:
    """Register in this process, without a task worker."""
    args = {"source": source, "name": name, "alias": alias, "intent": uuid.uuid4().hex}
    return work.register(project, args, report(project))


@pytest.fixture(scope="module", autouse=True)
def environ() -> Iterator[None]:
    """The work functions point MLflow to a store by the environment; other tests are not to see it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def template(initialised: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A project's folder with one run that logged a model and one that logged two; their ids."""
    folder = tmp_path_factory.mktemp("template") / "project"
    shutil.copytree(initialised, folder)
    project = Project(folder)
    runs_work.prepare_store(project, {}, report(project))
    ids = log_model(project), log_model(project, 2)
    project.close()
    return folder, *ids


@pytest.fixture
def run(template: tuple[Path, str, str]) -> str:
    return template[1]


@pytest.fixture
def stored(template: tuple[Path, str, str], tmp_path: Path) -> Iterator[Project]:
    """A copy of that project, without a controller."""
    project = Project(shutil.copytree(template[0], tmp_path / "project"))
    yield project
    project.close()


def uri(project: Project, run: str) -> str:
    return project.runs.logged_models(run)[0].uri


# -- reading ----------------------------------------------------------------------------------------


def test_the_registry_is_what_the_client_says(stored: Project, run: str) -> None:
    assert stored.models.list() == []
    for name, alias in [("b", "champion"), ("a", None), ("b", None), ("b", "champion"), ("b", "Old_one")]:
        register(stored, uri(stored, run), name, alias)
    mlflow_client = client(stored)
    mlflow_client.delete_model_version("b", "2")
    mlflow_client.create_registered_model("empty")
    mlflow_client.register_prompt("prompt", "Say {{it}}.")
    mlflow_client.create_model_version("a", str(stored.state / "mlartifacts" / "elsewhere"))
    assert stored.models.list() == work.find(stored, {"name": None}, report(stored))
    assert [model.name for model in stored.models.list()] == ["a", "b", "empty"]
    one = stored.models.list()[1]
    assert [version.version for version in one.versions] == [4, 3, 1]
    assert one.aliases == {"Old_one": 4, "champion": 3}
    assert [version.aliases for version in one.versions] == [("Old_one",), ("champion",), ()]
    assert [stored.models.get(ref).version for ref in ("b", "b/1", "b@champion", "b@Old_one")] == [4, 1, 3, 4]
    assert stored.models.get("a/1").run == run
    assert stored.models.get("a/2").run is None


@pytest.mark.parametrize(
    ("ref", "hint"),
    [
        ("flight-delay", "flights-delay"), ("flights-delay@champio", "flights-delay@champion"),
        ("flights-delay@x", "champion"), ("flights-delay/7", "1"), ("zzz", "flights-delay"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_answered_with_what_is(stored: Project, run: str, ref: str, hint: str) -> None:
    register(stored, uri(stored, run), "flights-delay", "champion")
    with pytest.raises(NotFound) as caught:
        stored.models.get(ref)
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize("ref", ["", "@", "/", "a@", "a/", "a/b", "@champion", "a/-1", "a/1.5", "a/²"])
def test_what_names_no_version(stored: Project, ref: str) -> None:
    with pytest.raises(Invalid):
        stored.models.get(ref)


def test_before_there_is_a_store(project: Project) -> None:
    assert project.models.list() == []
    with pytest.raises(NotFound):
        project.models.get("a")


# -- registering ------------------------------------------------------------------------------------


def test_a_run_is_registered_and_promoted_through_tasks(stored: Project, run: str) -> None:
    try:
        one = stored.models.register(run[:12], "flights-delay", alias="champion").wait(timeout=120)
        assert (one.name, one.version, one.run, one.aliases) == ("flights-delay", 1, run, ("champion",))
        two = stored.models.register(uri(stored, run), "flights-delay").wait(timeout=60)
        assert (two.version, two.aliases) == (2, ())
        promoted = stored.models.promote("flights-delay", 2).wait(timeout=60)
        assert (promoted.version, promoted.aliases) == (2, ("champion",))
    finally:
        stored.controller.down(timeout=30)
    assert stored.models.get("flights-delay@champion") == promoted
    assert stored.models.get("flights-delay/1").aliases == ()
    with stored.storage.read() as connection:
        links = connection.execute(sa.select(edges).where(edges.c.target_kind == "model")).all()
        actions = connection.execute(sa.select(audit.c.action, audit.c.id)).all()
    assert {(one.source_kind, one.source, one.target) for one in links} == {
        ("run", run, "flights-delay/1"), ("run", run, "flights-delay/2"),
    }  # fmt: skip
    wanted = [
        ("register", "flights-delay/1"),
        ("register", "flights-delay/2"),
        ("promote", "flights-delay/2"),
    ]
    assert [tuple(one) for one in actions if one.action in ("register", "promote")] == wanted
    os.environ.update(stored.runs.environment())
    assert mlflow.pyfunc.load_model("models:/flights-delay@champion").predict([3.0]) == [6.0]


def test_done_again_after_a_crash_it_makes_no_second_version(
    stored: Project, run: str, tmp_path: Path
) -> None:
    args = {"source": uri(stored, run), "name": "m", "alias": "champion", "intent": "key-1"}
    code = (
        "import json, sys; from mlinfra_lab import Project; from mlinfra_lab.models import work;"
        "from mlinfra_lab.tasks import Report; from pathlib import Path;"
        "report = Report(Path(sys.argv[3]), lambda: False);"
        "work.register(Project(sys.argv[1]), json.loads(sys.argv[2]), report)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, str(stored.root), json.dumps(args), str(tmp_path / "progress")],
        env={**os.environ, "MLINFRA_FAULT": "models.registered"},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr
    assert stored.models.get("m").aliases == ()
    for _ in range(2):
        made = work.register(stored, args, report(stored))
        assert (made.version, made.aliases) == (1, ("champion",))
    assert len(stored.models.list()[0].versions) == 1
    tags = client(stored).get_model_version("m", "1").tags
    assert tags == {INTENT_TAG: "key-1"}
    assert register(stored, uri(stored, run), "m").version == 2


def test_a_run_without_a_model(stored: Project) -> None:
    os.environ.update(stored.runs.environment())
    with mlflow.start_run(run_name="bare") as bare:
        mlflow.log_metric("x", 1)
    with pytest.raises(NotFound, match=r"bare.* logged no model") as caught:
        stored.models.register(bare.info.run_id, "m")
    assert "log_model" in str(caught.value.hint)


def test_a_run_with_several_models(stored: Project, template: tuple[Path, str, str]) -> None:
    several = template[2]
    with pytest.raises(Invalid, match="logged 2 models") as caught:
        stored.models.register(several, "m")
    assert caught.value.detail is not None
    uris = caught.value.detail["models"]
    assert register(stored, uris[1], "m").source == uris[1]


def test_an_unknown_run_and_a_source_that_is_not_there(stored: Project) -> None:
    with pytest.raises(NotFound, match="no run"):
        stored.models.register("ffff", "m")
    with pytest.raises(MLInfraError, match="m-0000"):
        register(stored, "models:/m-0000", "m")


@pytest.mark.parametrize("name", ["", "a/b", "a@b", "a:b", " a", "-a", "a b", "ä", "a" * 300, "a\n"])
def test_names_that_cannot_be(stored: Project, run: str, name: str) -> None:
    with pytest.raises(Invalid, match="no name for a model"):
        stored.models.register(run, name)


@pytest.mark.parametrize("alias", ["", "latest", "Latest", "v3", "V12", "a@b", "1", "a b"])
def test_aliases_that_cannot_be(stored: Project, run: str, alias: str) -> None:
    with pytest.raises(Invalid, match="no name for an alias"):
        stored.models.register(run, "m", alias)
    with pytest.raises(Invalid, match="no name for an alias"):
        stored.models.promote("m", 1, alias)


def test_an_alias_is_moved_only_from_where_it_was_seen(stored: Project, run: str) -> None:
    for _ in range(3):
        register(stored, uri(stored, run), "m")

    def move(version: int, only_if: int | None) -> int:
        args = {"name": "m", "version": version, "alias": "champion", "only_if": only_if}
        assert work.promote(stored, args, report(stored)).version == version
        return stored.models.get("m@champion").version

    with pytest.raises(NotFound):
        move(1, only_if=2)
    assert move(1, only_if=None) == 1
    assert move(2, only_if=None) == 1, "it points somewhere now"
    assert move(2, only_if=1) == 2
    client(stored).set_registered_model_alias("m", "champion", "3")
    assert move(1, only_if=2) == 3, "somebody moved it on"
    with stored.storage.read() as connection:
        ids = connection.execute(sa.select(audit.c.id).where(audit.c.action == "promote")).scalars().all()
    assert ids == ["m/1", "m/2"], "what was left alone is no promotion"


def test_promoting_what_is_not_there(stored: Project, run: str) -> None:
    with pytest.raises(NotFound):
        stored.models.promote("m", 1)
    register(stored, uri(stored, run), "m")
    with pytest.raises(NotFound, match="no version 2"):
        stored.models.promote("m", 2)


# -- whose files ------------------------------------------------------------------------------------


def test_what_the_project_logged_is_its_own(stored: Project, run: str) -> None:
    assert stored.models.is_own(register(stored, uri(stored, run), "m"))


def test_files_from_elsewhere_are_not_its_own_whatever_run_they_name(
    stored: Project, run: str, tmp_path: Path
) -> None:
    mlflow_client = client(stored)
    mlflow_client.create_registered_model("m")
    logged = stored.runs.logged_models(run)[0]
    outside = shutil.copytree(logged.location, tmp_path / "outside")
    link = stored.state / "mlartifacts" / "link"
    link.symlink_to(outside)
    inside = stored.state / "mlartifacts" / "dropped"
    shutil.copytree(outside, inside)
    sources = [str(outside), outside.as_uri(), str(link), f"{logged.location}/../../../../../../outside"]
    for source in [*sources, str(inside)]:
        mlflow_client.create_model_version("m", source, run_id=run)
        assert not stored.models.is_own(stored.models.get("m")), source


def test_files_in_a_runs_own_artifacts_are_the_runs(stored: Project, run: str) -> None:
    mlflow_client = client(stored)
    artifacts = mlflow_client.get_run(run).info.artifact_uri
    shutil.copytree(stored.runs.logged_models(run)[0].location, f"{artifacts}/model")
    mlflow_client.create_registered_model("m")
    mlflow_client.create_model_version("m", f"{artifacts}/model", run_id=run)
    assert stored.models.is_own(stored.models.get("m"))
    mlflow_client.create_model_version("m", f"{artifacts}/../../../../../outside", run_id=run)
    assert not stored.models.is_own(stored.models.get("m"))
    assert not seen(stored, {run}).is_own(stored.models.get("m"))


def seen(stored: Project, own: set[str]) -> ModelsService:
    """The registry as a project sees it that has run ``own``, but whose own store it is not."""
    return ModelsService(
        stored.state, stored.tasks, stored.runs.registry_reader(), False, stored.runs.get,
        stored.runs.logged_models, own.__contains__,
    )  # fmt: skip


def test_in_a_shared_registry_only_our_jobs_runs_are_our_own(stored: Project, run: str) -> None:
    version = register(stored, uri(stored, run), "m")
    assert not seen(stored, set()).is_own(version)
    assert seen(stored, {run}).is_own(version)
    # Asked through MLflow's client, with this project's rows: no job of it made that run.
    args = {"name": "m", "version": 1}
    assert not work.is_own(stored, args, report(stored))
