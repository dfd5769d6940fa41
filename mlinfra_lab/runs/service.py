"""Operations on MLflow's runs."""

from __future__ import annotations

import difflib
import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from mlinfra_lab.errors import Invalid, NotFound, Unavailable
from mlinfra_lab.runs import compare as comparing
from mlinfra_lab.runs import relocate as relocating
from mlinfra_lab.runs.store import SqliteStore
from mlinfra_lab.schema.data import DatasetVersion
from mlinfra_lab.schema.runs import LoggedModel, Run, RunComparison
from mlinfra_lab.settings import MLflowSettings
from mlinfra_lab.tasks import TaskRef, TasksService

FILE = "mlflow.db"
ARTIFACTS = "mlartifacts"
MARK = "mlflow.prepared"
WORK = "mlinfra_lab.runs.work"
_ID = re.compile(r"[0-9a-zA-Z_-]+\Z")
_NEAR = 5

# `RunsService.list` would shadow the type in annotations.
Runs = list[Run]
LoggedModels = list[LoggedModel]
Reader = Callable[[], AbstractContextManager[sqlite3.Connection | None]]
"""Opens a SQLite file for reading; gives ``None`` while there is none."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Runs as a task hands them back: JSON has no NaN, so such metrics are named beside them."""

    runs: list[Run]
    nan: dict[str, list[str]] = {}

    def restored(self) -> list[Run]:
        """The runs with their NaN metrics."""
        return [self._with_nan(run) for run in self.runs]

    def _with_nan(self, run: Run) -> Run:
        metrics = run.metrics | dict.fromkeys(self.nan.get(run.id, ()), float("nan"))
        return msgspec.structs.replace(run, metrics=dict(sorted(metrics.items())))


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """The MLflow store as it is after `RunsService.prepare`."""

    tracking_uri: str
    experiment: str


class RunsService:
    """Runs in the project's MLflow store.

    Parameters
    ----------
    root, state
        The project's folder and its state folder.
    settings
        ``[mlflow]`` of the project's settings; where it names no store, the project's own is a SQLite
        file in ``state`` with its artifacts beside it.
    name
        The project's name: that of its experiment unless the settings name another.
    tasks
        For stores that are not SQLite files, which only MLflow's client can read.
    """

    def __init__(
        self, root: Path, state: Path, settings: MLflowSettings, name: str, tasks: TasksService
    ) -> None:
        self._root = root
        self._state = state
        self._tasks = tasks
        self.experiment = settings.experiment or name
        own = f"sqlite:///{state / FILE}"
        self.tracking_uri = own if settings.tracking_uri is None else _absolute(settings.tracking_uri, root)
        self.registry_uri = (
            self.tracking_uri if settings.registry_uri is None else _absolute(settings.registry_uri, root)
        )
        self.is_own = settings.tracking_uri is None
        self._store = _sqlite(self.tracking_uri)

    def __repr__(self) -> str:
        return f"<runs in {self.tracking_uri}>"

    # -- the store --------------------------------------------------------------------------------

    @property
    def artifacts(self) -> Path | None:
        """Where the project's own store, or a SQLite file it was given, keeps new experiments' files."""
        if self.is_own:
            return self._state / ARTIFACTS
        return self._store.path.parent / ARTIFACTS if self._store else None

    def environment(self) -> dict[str, str]:
        """Variables that make plain MLflow code in another process use this store."""
        variables = {
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "MLFLOW_REGISTRY_URI": self.registry_uri,
            "MLFLOW_EXPERIMENT_NAME": self.experiment,
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        if self.artifacts is not None:
            # MLflow names this for its server only, but obeys it wherever a SQLite store is opened. Without
            # it an experiment that a notebook makes puts its files into ./mlruns of the working directory.
            variables["_MLFLOW_SERVER_ARTIFACT_ROOT"] = str(self.artifacts)
        if self._folder is not None:
            # Such a store was there before the project; MLflow opens it only when told that this is known.
            variables["MLFLOW_ALLOW_FILE_STORE"] = "true"
        return variables

    @property
    def _folder(self) -> Path | None:
        """The folder of MLflow's old kind of store, which is files without a database."""
        if not self.tracking_uri.startswith("file:"):
            return None
        return Path(unquote(urlsplit(self.tracking_uri).path))

    @property
    def reads_directly(self) -> bool:
        """Whether runs are read from the store's own file, and not by a task."""
        return self._store is not None

    def ready(self) -> bool:
        """Whether the store was made, by the installed MLflow, and has the project's experiment."""
        try:
            mark = (self._state / MARK).read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        if mark != self.mark():
            return False
        return self._store is None or self._store.experiment(self.experiment) is not None

    def mark(self) -> str:
        """What `prepare` notes of the store it has prepared: another MLflow or store is prepared anew."""
        store = "own" if self.is_own else self.tracking_uri
        return f"{metadata.version('mlflow')} {store} {self.experiment}"

    def prepare(self) -> TaskRef[Prepared]:
        """Make the store and its experiment, so that the first job need not; harmless where they are."""
        return self._tasks.submit(f"{WORK}:prepare_store", "runs:store", {}, Prepared)

    def relocate(self, old_root: Path) -> int:
        """Mend absolute locations in a store that was copied or moved here with the project's folder.

        Parameters
        ----------
        old_root
            The project's folder before.

        Returns
        -------
        int
            Places that were mended.
        """
        place = self._store.path if self._store else self._folder
        if place is None or not place.is_relative_to(self._root):
            return 0
        mend = relocating.relocate if self._store else relocating.relocate_files
        return mend(place, old_root, self._root)

    def registry_reader(self) -> Reader | None:
        """Opens the model registry for reading, when it stands in the same SQLite file as the runs."""
        return self._store.read if self._store and self.registry_uri == self.tracking_uri else None

    def log_input(self, version: DatasetVersion, context: str = "training") -> None:
        """Write into MLflow's active run which dataset version it read, as `mlflow.log_input` does.

        Two runs that are the first to name a dataset at the same moment both succeed, which with plain
        MLflow they do not.

        Parameters
        ----------
        version
            As `project.data.open("flights@1").version`.
        context
            What it was read for: ``training``, ``validation``, …

        Raises
        ------
        Conflict
            When no run is active.
        """
        from mlinfra_lab.runs import work

        work.log_input(version, context)

    # -- runs -------------------------------------------------------------------------------------

    def list(self, limit: int = 50, experiment: str | None = None) -> Runs:
        """The newest runs, newest first.

        Parameters
        ----------
        experiment
            Only those of one experiment. By default all of the project's own store; of a store that was
            there before the project, those of the project's experiment.
        """
        if limit < 1:
            raise Invalid(f"A list of {limit} runs is none.", "Say a limit of at least 1.")
        if experiment is None and not self.is_own:
            experiment = self.experiment
        if self._store is not None:
            return self._store.newest(limit, experiment)
        return self._ask({"limit": limit, "experiment": experiment})

    def get(self, id: str) -> Run:
        """One run by its id or by the unique beginning of it.

        Raises
        ------
        NotFound
            No run's id begins so.
        Invalid
            Several do.
        """
        if not _ID.match(id):
            raise NotFound(f"“{id}” is no id of a run.", "`mlinfra runs list` shows them.")
        if self._store is None:
            runs = self._ask({"id": id})
            matches = [run.id for run in runs]
        else:
            runs = self._store.get([id])
            if runs:
                return runs[0]
            matches = self._store.matching(id, _NEAR + 1)
            runs = self._store.get(matches)
        exact = [run for run in runs if run.id == id]
        if exact or len(matches) == 1:
            return (exact or runs)[0]
        if not matches:
            known = [run.id[: len(id)] for run in self.list(200)]
            near = difflib.get_close_matches(id, known, n=1, cutoff=0.7)
            hint = f"Did you mean “{near[0]}”?" if near else "`mlinfra runs list` shows them."
            raise NotFound(f"There is no run “{id}”.", hint)
        shown = ", ".join(matches[:_NEAR]) + (", …" if len(matches) > _NEAR else "")
        raise Invalid(
            f"Several runs begin with “{id}”: {shown}.", "Write more of the id.", {"matches": matches[:_NEAR]}
        )

    def compare(self, ids: Sequence[str], metric: str | None = None) -> RunComparison:
        """Two or more runs side by side; ``metric`` names the better one (see `compare.compare`)."""
        runs = [self.get(id) for id in ids]
        if len({run.id for run in runs}) < 2:
            raise Invalid("A comparison needs two different runs.", "`mlinfra runs list` shows them.")
        return comparing.compare(runs, metric)

    def of_job(self, job: str) -> Runs:
        """The runs that a job started, oldest first."""
        if self._store is not None:
            return self._store.of_job(job)
        return self._ask({"job": job})

    def logged_models(self, run: str) -> LoggedModels:
        """The models that a run (by its full id) logged, oldest first."""
        if self._store is not None:
            return self._store.logged_models(run)
        return self._tasks.ask(f"{WORK}:logged_models", {"run": run}, LoggedModels)

    def _ask(self, args: dict[str, object]) -> Runs:
        return self._tasks.ask(f"{WORK}:search", args, Found).restored()


def _absolute(uri: str, root: Path) -> str:
    """A relative SQLite file or folder means one in the project, wherever the process works."""
    if uri.startswith("sqlite:///"):
        path, question, options = uri.removeprefix("sqlite:///").partition("?")
        return f"sqlite:///{root / path}{question}{options}"
    if "://" not in uri and not uri.startswith("databricks") and not uri.startswith("file:"):
        return (root / uri).resolve().as_uri()
    return uri


def _sqlite(uri: str) -> SqliteStore | None:
    if not uri.startswith("sqlite:///"):
        return None
    path = uri.removeprefix("sqlite:///").partition("?")[0]
    if not path:
        raise Unavailable(f"“{uri}” names no file.", "Write sqlite:///PATH.")
    return SqliteStore(Path(path))
