"""Operations on MLflow's registered models."""

from __future__ import annotations

import difflib
import re
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, urlsplit

from mlinfra_lab.errors import Invalid, NotFound
from mlinfra_lab.models import store
from mlinfra_lab.schema.models import Model, ModelVersion
from mlinfra_lab.schema.runs import LoggedModel, Run
from mlinfra_lab.tasks import TaskRef, TasksService

WORK = "mlinfra_lab.models.work"
INTENT_TAG = "mlinfra.intent"
REPRODUCES = "mlinfra.reproduces"
"""Tag of a run that only does another one again, with the job that made that one."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}\Z")
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,99}\Z")
_VERSION_LIKE = re.compile(r"[vV]\d+\Z")

# `ModelsService.list` would shadow the type in annotations.
Models = list[Model]
Reader = Callable[[], AbstractContextManager[sqlite3.Connection | None]]


class ModelsService:
    """The project's model registry.

    Parameters
    ----------
    state
        The project's state folder.
    registry
        Opens the registry for reading when it is a SQLite file; else only MLflow's client can read it,
        in a task.
    is_own
        Whether the registry is the project's own store in its state folder.
    find_run
        A run by its id or the unique beginning of it.
    logged_models
        The models that a run, by its full id, logged.
    own_runs
        Whether a run was made by a job of this project, by the project's own rows.
    """

    def __init__(
        self,
        state: Path,
        tasks: TasksService,
        registry: Reader | None,
        is_own: bool,
        find_run: Callable[[str], Run],
        logged_models: Callable[[str], list[LoggedModel]],
        own_runs: Callable[[str], bool],
    ) -> None:
        self._state = state
        self._tasks = tasks
        self._registry = registry
        self._is_own = is_own
        self._find_run = find_run
        self._logged_models = logged_models
        self._own_runs = own_runs

    # -- reading ----------------------------------------------------------------------------------

    def list(self) -> Models:
        """All registered models by name, each with its versions, newest first."""
        if self._registry is None:
            return self._tasks.ask(f"{WORK}:find", {"name": None}, Models)
        with self._registry() as connection:
            return [] if connection is None else store.models(connection)

    def get(self, ref: str) -> ModelVersion:
        """One version of a model.

        Parameters
        ----------
        ref
            ``name@alias``, ``name/3``, or ``name`` for the newest version.

        Raises
        ------
        NotFound
            No such model, alias or version; the hint names the nearest.
        """
        name, sign, which = _split(ref)
        model = self._model(name)
        if model is None:
            self._unknown(name)
        if not sign:
            if model.versions:
                return model.versions[0]
            raise NotFound(f"The model “{name}” has no versions.", f"mlinfra model register RUN {name}")
        number = model.aliases.get(which) if sign == "@" else int(which)
        found = next((version for version in model.versions if version.version == number), None)
        if found is not None:
            return found
        if sign == "@":
            near = difflib.get_close_matches(which, model.aliases, n=1, cutoff=0.5)
            there = ", ".join(sorted(model.aliases)) or "none"
            raise NotFound(
                f"The model “{name}” has no alias “{which}”.",
                f"Did you mean “{name}@{near[0]}”?" if near else f"Its aliases: {there}.",
            )
        numbers = ", ".join(str(version.version) for version in model.versions) or "none"
        raise NotFound(f"The model “{name}” has no version {which}.", f"Its versions: {numbers}.")

    def pointed(self, name: str, alias: str) -> int | None:
        """The version an alias points to, if that can be told without a task.

        Of a registry that only MLflow's client can read it cannot, and is ``None``.
        """
        if self._registry is None:
            return None
        with self._registry() as connection:
            model = None if connection is None else store.model(connection, name)
        return None if model is None else model.aliases.get(alias)

    def _model(self, name: str) -> Model | None:
        if self._registry is None:
            found = self._tasks.ask(f"{WORK}:find", {"name": name}, Models)
            return found[0] if found else None
        with self._registry() as connection:
            return None if connection is None else store.model(connection, name)

    def _unknown(self, name: str) -> NoReturn:
        names = [model.name for model in self.list()]
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        if near:
            hint = f"Did you mean “{near[0]}”?"
        else:
            hint = (
                f"There are: {', '.join(names)}."
                if names
                else "mlinfra model register RUN --name NAME makes one."
            )
        raise NotFound(f"There is no model “{name}”.", hint)

    def logged_by(self, version: ModelVersion) -> str | None:
        """The run that really logged a version's files, whatever run the version claims.

        Of a registry that only MLflow's client can read, the claim is all there is.
        """
        if self._registry is None:
            return version.run
        with self._registry() as connection:
            return None if connection is None else store.place(connection, version)[1]

    def is_own(self, version: ModelVersion) -> bool:
        """Whether a version's files were written by this project, so that unpickling them is its own risk.

        True when the run that really logged them (not the one the version claims) was made by a job of
        this project, or is in the project's own store with the files under the state folder, which
        nobody else can write into.

        A registry that only MLflow's client can read is asked by `work.is_own`.
        """
        if self._registry is None:
            return self._tasks.ask(f"{WORK}:is_own", {"name": version.name, "version": version.version}, bool)
        with self._registry() as connection:
            if connection is None:
                return False
            location, run = store.place(connection, version)
        if location is None or run is None:
            return False
        return self._own_runs(run) or (self._is_own and self._under_state(location))

    def _under_state(self, location: str) -> bool:
        parts = urlsplit(location)
        if parts.scheme not in ("", "file"):
            return False
        path = unquote(parts.path) if parts.scheme else location
        # Links are followed: files behind one that leads out of the state folder are somebody else's.
        return Path(path).resolve().is_relative_to(self._state.resolve())

    # -- writing ----------------------------------------------------------------------------------

    def register(self, run: str, name: str, alias: str | None = None) -> TaskRef[ModelVersion]:
        """Make a run's model the next version of a registered model.

        Parameters
        ----------
        run
            A run's id or the unique beginning of it; or the URI of a model, ``models:/m-…`` or
            ``runs:/ID/NAME``, where a run logged several.
        name
            The registered model; made if there is none.
        alias
            Given to the new version, and taken from the one that had it.

        Raises
        ------
        Invalid
            A name or alias that cannot be one; a run that logged several models.
        NotFound
            No such run, or it logged no model.
        """
        _check_name(name)
        if alias is not None:
            _check_alias(alias)
        source = run if run.startswith(("models:/", "runs:/")) else self.source(run)
        args = {"source": source, "name": name, "alias": alias, "intent": uuid.uuid4().hex}
        return self._tasks.submit(f"{WORK}:register", f"models:{name}", args, ModelVersion)

    def source(self, run: str) -> str:
        """URI of the one model that a run logged; see `register` for what it raises."""
        found = self._find_run(run)
        if of := found.tags.get(REPRODUCES):
            raise Invalid(
                f"The run {found.id} only reproduces what job {of} made; it is no candidate.",
                f"Register the run of job {of} itself: mlinfra job show {of}",
            )
        models = self._logged_models(found.id)
        if not models:
            raise NotFound(
                f"The run {found.id} ({found.name}) logged no model.",
                'Log one in its notebook, e.g. mlflow.sklearn.log_model(model, name="model").',
            )
        if len(models) > 1:
            listed = ", ".join(f"{model.uri} ({model.name})" for model in models)
            raise Invalid(
                f"The run {found.id} logged {len(models)} models: {listed}.",
                "Name the one to register in place of the run.",
                {"models": [model.uri for model in models]},
            )
        return models[0].uri

    def promote(self, name: str, version: int, alias: str = "champion") -> TaskRef[ModelVersion]:
        """Point an alias to a version; the version that had it before loses it.

        Raises
        ------
        NotFound
            No such version.
        """
        _check_alias(alias)
        self.get(f"{name}/{version}")
        args = {"name": name, "version": version, "alias": alias}
        return self._tasks.submit(f"{WORK}:promote", f"models:{name}", args, ModelVersion)


def _split(ref: str) -> tuple[str, str, str]:
    """``name``, ``@`` or ``/`` or nothing, and what follows it."""
    name, sign, which = ref.partition("@")
    if not sign:
        name, sign, which = ref.rpartition("/") if "/" in ref else (ref, "", "")
    if not name or (sign and not which) or (sign == "/" and not which.isdecimal()):
        raise Invalid(f"“{ref}” names no version of a model.", "Write NAME, NAME@ALIAS or NAME/VERSION.")
    return name, sign, which


def _check_name(name: str) -> None:
    if not _NAME.match(name):
        raise Invalid(
            f"“{name}” is no name for a model.",
            "Use letters, digits, “.”, “_” and “-”; begin with a letter or digit.",
        )


def _check_alias(alias: str) -> None:
    # MLflow keeps these two for itself: “latest”, and what looks like a version.
    if not _ALIAS.match(alias) or alias.lower() == "latest" or _VERSION_LIKE.match(alias):
        raise Invalid(
            f"“{alias}” is no name for an alias.",
            "Use letters, digits, “_” and “-”, beginning with a letter; not “latest” and not like “v3”.",
        )
