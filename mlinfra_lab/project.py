"""A project: a folder, and the services that work on it."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlinfra_lab import identity, settings
from mlinfra_lab.errors import InvalidSettings, NoProject, Unavailable
from mlinfra_lab.storage import Storage

if TYPE_CHECKING:
    from mlinfra_lab.clusters import ClustersService
    from mlinfra_lab.control import Control
    from mlinfra_lab.data import DataService
    from mlinfra_lab.endpoints import EndpointsService
    from mlinfra_lab.jobs import JobsService
    from mlinfra_lab.lineage import LineageService
    from mlinfra_lab.models import ModelsService
    from mlinfra_lab.monitoring import MonitoringService
    from mlinfra_lab.monitoring.pages import PagesService
    from mlinfra_lab.reproduce import Tell
    from mlinfra_lab.runs import RunsService
    from mlinfra_lab.schema.control import Status
    from mlinfra_lab.schema.endpoints import Paired
    from mlinfra_lab.schema.lineage import ReproduceReport
    from mlinfra_lab.tasks import TasksService

_FOLDERS = ("captures", "data", "jobs", "logs", "models", "run", "secrets", "tls")


def find_root(start: Path) -> Path:
    """The nearest folder at or above ``start`` that holds ``mlinfra.toml``.

    Raises
    ------
    NoProject
        When there is none.
    """
    start = start.resolve()
    for folder in (start, *start.parents):
        if settings.is_there(folder):
            return folder
    raise NoProject(
        f"{start} is not in a project (there is no {settings.FILE} here or above).",
        "Run `mlinfra init` here, or name a project with --project DIR.",
    )


class Project:
    """A folder with ``mlinfra.toml`` in it, opened.

    Parameters
    ----------
    path
        The folder itself.

    Raises
    ------
    NoProject
        When the folder has no ``mlinfra.toml``.
    InvalidSettings
        When there is a mistake in it.
    DatabaseTooNew
        When a newer version of this software wrote its database; nothing is touched.

    Examples
    --------
    >>> project = Project.find()  # doctest: +SKIP
    >>> project.jobs.submit("train.ipynb", {"alpha": 0.1}).wait()  # doctest: +SKIP
    """

    def __init__(self, path: str | os.PathLike[str] = ".") -> None:
        self.root = Path(path).resolve()
        if not settings.is_there(self.root):
            raise NoProject(
                f"{self.root} is no project (there is no {settings.FILE} in it).",
                f"Run `mlinfra init {self.root}`.",
            )
        self.settings = settings.load(self.root)
        self.name = self.settings.project.name or self.root.name
        self.state = self._open_state()
        self.storage = Storage(self.state, self.settings.project.database)
        if self.storage.needs_migration():
            self.controller.hand_over()
            self.storage.migrate()
        self.identity = self._settle()
        self.id = self.identity.id

    @classmethod
    def find(cls, path: str | os.PathLike[str] | None = None) -> Project:
        """Open the nearest project at or above ``path``, else ``MLINFRA_PROJECT``, else here."""
        start = path or os.environ.get("MLINFRA_PROJECT") or "."
        return cls(find_root(Path(start)))

    @classmethod
    def current(cls) -> Project:
        """The project a notebook works in: that of its job, else the nearest one upwards."""
        return cls.find()

    def __repr__(self) -> str:
        return f"<Project {self.name} at {self.root}>"

    def close(self) -> None:
        """Give the database's connections back."""
        self.storage.close()

    # -- who and where ----------------------------------------------------------------------------

    @property
    def actor(self) -> str:
        """Who acts, for the audit log."""
        return getpass.getuser()

    @property
    def job(self) -> str | None:
        """Id of the job this process belongs to, if it runs in one of this project's."""
        return os.environ.get("MLINFRA_JOB") or None

    def _open_state(self) -> Path:
        said = self.settings.project.state_dir
        try:
            state = (self.root / Path(said).expanduser()).resolve()
        except (RuntimeError, ValueError) as error:  # ~nobody, or a NUL
            raise InvalidSettings(
                f"“project.state_dir” is wrong: {said!r} is no folder ({error}).", "Write it like .mlinfra."
            ) from error
        if self.root.is_relative_to(state):
            raise InvalidSettings(
                f"“project.state_dir” is wrong: {state} holds the project itself.",
                "Name a folder of its own, which only the project's state is in.",
            )
        ignore = state / ".gitignore"
        try:
            # Wherever it is: secrets and captured rows never go into git. Somebody's own folder stays
            # as it is.
            if not ignore.exists() and (not state.exists() or state == self.root / ".mlinfra"):
                state.mkdir(mode=0o700, parents=True, exist_ok=True)
                ignore.write_text("*\n", encoding="utf-8")
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            if state.stat().st_mode & 0o077:
                state.chmod(0o700)
            for name in _FOLDERS:
                (state / name).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise Unavailable(
                f"The state folder {state} cannot be used: {error.strerror}.",
                "Make the folder writable, or set `state_dir` under [project] in mlinfra.toml.",
            ) from error
        return state

    def _settle(self) -> identity.Identity:
        known = identity.read(self.state)
        inode = self.state.stat().st_ino
        if known and known.settled and known.root == str(self.root) and known.inode == inode:
            return known
        with identity.lock(self.state):
            arrival, mine = identity.recognise(self.root, self.state)
            if arrival in ("moved", "copied"):
                from mlinfra_lab import arrival as arriving

                arriving.put_right(self, arrival, mine)
            return identity.settle(self.state, mine)

    def status(self) -> Status:
        """What is desired, what is, and why they differ."""
        from mlinfra_lab.status import status_of

        return status_of(self)

    def reproduce(
        self,
        *ids: str,
        again: bool = False,
        dry_run: bool = False,
        within: float = 1e-9,
        env: Mapping[str, str] | None = None,
        effects: bool = False,
        tell: Tell | None = None,
    ) -> ReproduceReport:
        """Train again what led to predictions or model versions, and compare.

        The kept source of the job runs once more with its parameters, seed and numbers of threads on the
        data versions it read; one training serves everything that came of one job. Interrupted, it goes
        on, and asked again it is picked up.

        Parameters
        ----------
        ids
            Predictions, model versions, endpoint revisions, runs or jobs.
        again
            Train even where a reproduction in the present environment is there already.
        dry_run
            Only say what would be done, what stands in the way and what differs.
        within
            What numbers may be apart and still count as equal, see `schema.lineage.Compared.apart`.
        env
            Variables that the job was given by name; their values were not kept.
        effects
            Let a notebook do again what it does besides training (register, publish, …).
        tell
            Is told how far it is.

        Raises
        ------
        NotFound, Conflict, Unavailable
            When something is missing that is needed; before anything is run.
        """
        from mlinfra_lab import reproduce

        return reproduce.reproduce(
            self, ids, again=again, dry_run=dry_run, within=within, env=env, effects=effects, tell=tell
        )

    # -- services ---------------------------------------------------------------------------------

    @cached_property
    def controller(self) -> Control:
        """The controller as faces see it: starting it, asking after it, taking the project down."""
        from mlinfra_lab.control import Control

        return Control(self.root, self.state, self.storage, self.actor)

    @cached_property
    def tasks(self) -> TasksService:
        """Work that needs a heavy library."""
        from mlinfra_lab.tasks import TasksService

        return TasksService(self.state, self.storage, self.actor, self.controller)

    @cached_property
    def data(self) -> DataService:
        """Datasets and their versions."""
        from mlinfra_lab.data import DataService

        return DataService(self.root, self.state, self.storage, self.tasks, lambda: self.job, self.actor)

    @cached_property
    def jobs(self) -> JobsService:
        """Notebooks as jobs."""
        from mlinfra_lab.jobs import JobsService

        return JobsService(
            self.root,
            self.state,
            self.storage,
            self.settings.jobs,
            self.actor,
            self.controller,
            self.runs.of_job,
        )

    @cached_property
    def lineage(self) -> LineageService:
        """What was made from what."""
        from mlinfra_lab.describe import describer, resolver
        from mlinfra_lab.lineage import LineageService

        return LineageService(self.storage, describer(self), resolver(self))

    @cached_property
    def clusters(self) -> ClustersService:
        """Dask clusters."""
        from mlinfra_lab.clusters import ClustersService
        from mlinfra_lab.plugins import Plugins

        return ClustersService(
            self.root,
            self.state,
            self.storage,
            Plugins().cluster_backends,
            self.actor,
            self.job,
            self.controller,
        )

    @cached_property
    def runs(self) -> RunsService:
        """MLflow's runs."""
        from mlinfra_lab.runs import RunsService

        return RunsService(self.root, self.state, self.settings.mlflow, self.name, self.tasks)

    @cached_property
    def models(self) -> ModelsService:
        """MLflow's registered models."""
        from mlinfra_lab.models import ModelsService

        return ModelsService(
            self.state,
            self.tasks,
            self.runs.registry_reader(),
            self.runs.is_own,
            self.runs.get,
            self.runs.logged_models,
            self.jobs.made,
        )

    @cached_property
    def endpoints(self) -> EndpointsService:
        """Models as HTTP endpoints."""
        from mlinfra_lab.endpoints import EndpointsService

        def paired(endpoint: str, candidate: int, stable: int) -> Paired | None:
            return self.monitoring.paired(endpoint, candidate, stable)  # each knows the other

        return EndpointsService(
            self.state,
            self.storage,
            self.tasks,
            self.models.get,
            self.actor,
            self.controller,
            self.settings.endpoints,
            paired,
            self.models.pointed,
        )

    @cached_property
    def monitoring(self) -> MonitoringService:
        """How the endpoints do: drift, quality, alerts."""
        from mlinfra_lab import retrain
        from mlinfra_lab.monitoring import MonitoringService

        return MonitoringService(
            self.state,
            self.storage,
            self.settings.endpoints,
            self.actor,
            self.endpoints.get,
            self.endpoints.predictions,
            lambda alert, parameters: retrain.start(self, alert, parameters),
        )

    @cached_property
    def pages(self) -> PagesService:
        """Pages in a browser."""
        from mlinfra_lab.monitoring.pages import PagesService

        return PagesService(self.state, self.storage, self.endpoints.get, self.actor, self.controller)
