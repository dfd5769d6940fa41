"""What needs MLflow itself: writing its registry, and reading one that is no SQLite file."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from mlinfra_lab import faults
from mlinfra_lab.errors import Conflict, Failed, Invalid, NotFound, Unavailable
from mlinfra_lab.models.service import INTENT_TAG
from mlinfra_lab.models.store import below
from mlinfra_lab.schema.common import JSON
from mlinfra_lab.schema.models import Model, ModelVersion
from mlinfra_lab.tasks import Report

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion
    from mlflow.entities.model_registry import RegisteredModel
    from mlflow.store.entities import PagedList

    from mlinfra_lab.project import Project

T = TypeVar("T")
_AWAIT = 300  # seconds for a registry that copies files


@contextmanager
def _translated() -> Iterator[None]:
    """MLflow's errors as ours."""
    from mlflow.exceptions import MlflowException

    kinds = {
        "RESOURCE_DOES_NOT_EXIST": NotFound,
        "INVALID_PARAMETER_VALUE": Invalid,
        "RESOURCE_ALREADY_EXISTS": Conflict,
        "TEMPORARILY_UNAVAILABLE": Unavailable,
    }
    try:
        yield
    except MlflowException as error:
        raise kinds.get(error.error_code, Failed)(f"MLflow: {error.message}") from error


def _client(project: Project) -> MlflowClient:
    # By the environment, because part of MLflow's registry asks the global store and not its own client.
    os.environ.update(project.runs.environment())
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=project.runs.tracking_uri, registry_uri=project.runs.registry_uri)


def register(project: Project, args: JSON, report: Report) -> ModelVersion:
    """Make a version of ``args["name"]`` from ``args["source"]``; give it ``args["alias"]``.

    The key ``args["intent"]`` becomes a tag of the version. Done again after a crash, the version that has
    it is taken and none is made.
    """
    name, alias, intent = args["name"], args["alias"], args["intent"]
    mlflow = _client(project)
    from mlflow import register_model

    with _translated():
        report(f"Registering {name}")
        made = _intended(mlflow, name, intent)
        if made is None:
            made = register_model(
                args["source"], name, await_registration_for=_AWAIT, tags={INTENT_TAG: intent}
            )
            faults.point("models.registered")
        if alias is not None:
            mlflow.set_registered_model_alias(name, alias, made.version)
        version = _version(mlflow.get_model_version(name, made.version))
    with project.storage.unit(project.actor) as unit:
        if version.run is not None:
            unit.link("run", version.run, "model", version.ref, "registered", {"source": version.source})
        unit.changed("model", name, "updated")
        unit.audit("register", "model", version.ref, {"run": version.run, "alias": alias})
    return version


def _intended(mlflow: MlflowClient, name: str, intent: str) -> MlflowVersion | None:
    found = mlflow.search_model_versions(
        f"name = '{name}' AND tag.`{INTENT_TAG}` = '{intent}'", max_results=1
    )
    return found[0] if found else None


def promote(project: Project, args: JSON, report: Report) -> ModelVersion:
    """Point ``args["alias"]`` of ``args["name"]`` to ``args["version"]``.

    With ``args["only_if"]`` it does so only while the alias points to that version (``None``: to none):
    somebody's newer move stays. MLflow knows no comparing write, so it is looked at right before.
    """
    name, number, alias = args["name"], args["version"], args["alias"]
    mlflow = _client(project)
    with _translated():
        report(f"Promoting {name}/{number}")
        if "only_if" in args:
            at = mlflow.get_registered_model(name).aliases.get(alias)
            if (None if at is None else int(at)) != args["only_if"]:
                report(f"{alias} was moved by somebody else and stays where it is")
                return _version(mlflow.get_model_version(name, str(number)))
        mlflow.set_registered_model_alias(name, alias, str(number))
        version = _version(mlflow.get_model_version(name, str(number)))
    with project.storage.unit(project.actor) as unit:
        unit.changed("model", name, "updated")
        unit.audit("promote", "model", version.ref, {"alias": alias})
    return version


def find(project: Project, args: JSON, report: Report) -> list[Model]:
    """All registered models, or the one that ``args["name"]`` names, as MLflow's client sees them."""
    from mlflow.exceptions import MlflowException

    mlflow = _client(project)
    with _translated():
        report("Asking MLflow")
        if args["name"] is None:
            registered = _pages(lambda token: mlflow.search_registered_models(page_token=token))
        else:
            try:
                registered = [mlflow.get_registered_model(args["name"])]
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return []
        return [_model(mlflow, one) for one in sorted(registered, key=lambda one: str(one.name))]


def is_own(project: Project, args: JSON, report: Report) -> bool:
    """Whether a version's files were logged by a run of one of this project's jobs.

    For registries that only MLflow's client can read. The run that a version names is whatever its author
    said, so it is the logged model, not the version, that is asked for its run.
    """
    mlflow = _client(project)
    with _translated():
        version = mlflow.get_model_version(args["name"], str(args["version"]))
        source = str(version.source)
        if source.startswith("models:/m-"):
            run = mlflow.get_logged_model(source.removeprefix("models:/")).source_run_id
        elif version.run_id and below(source, mlflow.get_run(version.run_id).info.artifact_uri):
            run = version.run_id
        else:
            return False
    return run is not None and project.jobs.made(run)


def _model(mlflow: MlflowClient, one: RegisteredModel) -> Model:
    versions: list[MlflowVersion] = _pages(
        lambda token: mlflow.search_model_versions(f"name = '{one.name}'", page_token=token)
    )
    aliases = {alias: int(version) for alias, version in sorted(one.aliases.items())}
    ordered = sorted(versions, key=lambda version: -int(version.version))
    return Model(
        name=one.name, versions=tuple(_version(version, aliases) for version in ordered), aliases=aliases
    )


def _pages(ask: Callable[[str | None], PagedList[T]]) -> list[T]:
    found: list[T] = []
    token: str | None = None
    while True:
        page = ask(token)
        found += page
        token = page.token
        if not token:
            return found


def _version(version: MlflowVersion, aliases: dict[str, int] | None = None) -> ModelVersion:
    number = int(version.version)
    # A version that a search found does not tell its aliases, the one that was asked for by number does.
    if aliases is None:
        own = tuple(sorted(version.aliases))
    else:
        own = tuple(alias for alias, at in aliases.items() if at == number)
    return ModelVersion(
        name=version.name,
        version=number,
        source=str(version.source or ""),
        run=version.run_id or None,
        aliases=own,
        created=dt.datetime.fromtimestamp(version.creation_timestamp / 1000, dt.UTC),
    )
