"""Submitting notebooks as jobs and looking after them."""

from __future__ import annotations

import builtins
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlinfra_lab import git
from mlinfra_lab.control import Control
from mlinfra_lab.errors import Invalid, InvalidNotebook, NotFound, Unavailable
from mlinfra_lab.jobs import kept, options, store
from mlinfra_lab.jobs import notebook as reading
from mlinfra_lab.schema.common import now
from mlinfra_lab.schema.jobs import JOB_ENDED, Conditions, Job, JobDetail, JobProgress, Parameter
from mlinfra_lab.schema.runs import Run
from mlinfra_lab.settings import JobSettings
from mlinfra_lab.storage import Storage
from mlinfra_lab.storage.unit import new_id
from mlinfra_lab.storage.watch import wait as wait_for_change


class JobRef:
    """A job that was submitted, wherever it runs.

    Attributes
    ----------
    id
        The job's id.
    """

    def __init__(self, service: JobsService, id: str) -> None:
        self.id = id
        self._service = service

    def __repr__(self) -> str:
        job = self.job
        return f"<job {job.id}: {job.notebook}, {job.state}>"

    @property
    def job(self) -> Job:
        """The job as it is now."""
        return self._service.get(self.id)

    @property
    def state(self) -> str:
        """The job's state now."""
        return self.job.state

    @property
    def detail(self) -> JobDetail:
        """The job with its progress and the metrics of its runs."""
        return self._service.detail(self.id)

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of the MLflow runs started in the job; of several runs the newest wins."""
        return self.detail.metrics

    def wait(
        self,
        timeout: float | None = None,
        on_progress: Callable[[Job, JobProgress | None], None] | None = None,
    ) -> JobDetail:
        """Wait until the job has ended, however it ended.

        Parameters
        ----------
        timeout
            Seconds to wait at most; the job goes on.
        on_progress
            Called with the job and its progress by cell whenever either changed.
        """
        self._service.wait(self.id, timeout, on_progress)
        return self.detail

    def cancel(self) -> None:
        """Ask for the job's end."""
        self._service.cancel(self.id)

    def log(self) -> str:
        """What its process printed."""
        return self._service.log(self.id)


class JobsService:
    """Jobs of one project.

    Parameters
    ----------
    runs_of
        The MLflow runs of a job, given its id.
    """

    def __init__(
        self,
        root: Path,
        state: Path,
        storage: Storage,
        settings: JobSettings,
        actor: str,
        control: Control,
        runs_of: Callable[[str], list[Run]],
    ) -> None:
        self._root = root
        self._state = state
        self._storage = storage
        self._settings = settings
        self._actor = actor
        self._control = control
        self._runs_of = runs_of

    def folder(self, id: str) -> Path:
        """Where a job keeps its source, its progress and, unless told otherwise, its output."""
        return self._state / "jobs" / id

    def path_of(self, recorded: str) -> Path:
        """The absolute path of a notebook or output as it stands in a job's row."""
        return self._root / recorded

    def parameters(self, notebook: str | os.PathLike[str]) -> list[Parameter]:
        """What the notebook's ``parameters`` cell offers."""
        return reading.parameters_of(reading.read(self._resolve(notebook))) or []

    def check(
        self, notebook: str | os.PathLike[str], parameters: Mapping[str, Any] | None = None
    ) -> tuple[Path, dict[str, Any], dict[str, Any]]:
        """Whether a notebook could be submitted with these parameters.

        Returns
        -------
        path, content, given
            The notebook's path, what stands in it, and the parameters as plain JSON values.

        Raises
        ------
        NotFound, InvalidNotebook, InvalidParameter
            As `submit` does.
        """
        path = self._resolve(notebook)
        content = reading.read(path)
        given = reading.plain(dict(parameters or {}), path)
        reading.check(content, given, path)
        return path, content, given

    def submit(
        self,
        notebook: str | os.PathLike[str],
        parameters: Mapping[str, Any] | None = None,
        *,
        output: str | os.PathLike[str] | None = None,
        kernel: str | None = None,
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
        cause: str | None = None,
    ) -> JobRef:
        """Queue a notebook as a job and return at once.

        Parameters
        ----------
        notebook
            Path, relative to the working directory or else to the project. It runs in its folder.
        parameters
            For the cell tagged ``parameters``.
        output
            Where the executed notebook is written as it goes; by default in the state folder.
        kernel
            A kernel's name in place of the notebook's own.
        timeout
            Seconds the job may run.
        env
            Environment variables for the job; kept in a file only this user can read, never in rows.
        cause
            What asked for it when it was not a person.

        Raises
        ------
        NotFound, InvalidNotebook, InvalidParameter
            Before anything is queued.
        """
        path, content, given = self.check(notebook, parameters)
        name = kernel or reading.kernel_of(content)
        if name is None:
            raise InvalidNotebook(
                f"{path.name} names no kernel.", "Choose one in JupyterLab and save it, or give --kernel."
            )
        options.check_kernel(name)
        limit = options.seconds(timeout) if timeout is not None else self._settings.timeout
        variables = options.variables(env)
        target = None if output is None else self._output(Path(output), path)
        asked = {"parameters": given, "kernel": name, "timeout": limit, "cause": cause}
        return self._queue(path, path, target, variables, asked)

    def repeat(
        self,
        id: str,
        *,
        cause: str,
        env: Mapping[str, str] | None = None,
        conditions: Conditions | None = None,
    ) -> JobRef:
        """Queue what a job ran, once more: its kept source with its parameters, in the notebook's folder.

        The output goes into the state folder, whatever the job's own was.

        Parameters
        ----------
        conditions
            To be set again as far as they can be.

        Raises
        ------
        NotFound, Conflict
            When the kept source is gone or is not what ran; see `kept`.
        """
        job = self.get(id)
        source, path = self.kept(job.id), self.path_of(job.notebook)
        reading.check(reading.read(source), job.parameters, path)
        options.check_kernel(job.kernel)
        asked = {name: getattr(job, name) for name in ("parameters", "kernel", "timeout")}
        asked |= {"cause": cause, "conditions": conditions}
        return self._queue(source, path, None, options.variables(env), asked)

    def kept(self, id: str) -> Path:
        """The notebook as it was when the job was submitted, see `kept.source`."""
        job = self.get(id)
        return kept.source(self.folder(job.id), job)

    def _queue(
        self, read: Path, path: Path, target: Path | None, variables: dict[str, str], asked: dict[str, Any]
    ) -> JobRef:
        job = new_id("j")
        folder = self.folder(job)
        folder.mkdir(mode=0o700, parents=True)
        source = folder / kept.SOURCE
        shutil.copyfile(read, source)
        if variables:
            kept.keep_env(folder, variables)
        commit, content = git.head(self._root), source.read_bytes()
        row = Job(
            id=job,
            notebook=self._record(path),
            output=self._record(target or folder / "output.ipynb"),
            state="queued",
            source_md5=kept.digest(content),
            commit=commit,
            dirty=commit is not None and self._differs(commit, path, content),
            created=now(),
            created_by=self._actor,
            **asked,
        )
        with self._storage.unit(self._actor) as unit:
            store.add(unit, row)
        self._control.ensure()
        return JobRef(self, job)

    def _output(self, output: Path, notebook: Path) -> Path:
        here = Path.cwd()
        base = here if here.is_relative_to(self._root) else self._root
        target = Path(os.path.normpath(base / output.expanduser()))
        if target.is_dir():
            raise Invalid(f"The output {target} is a folder.", "Name a file in it, like out.ipynb.")
        if target.exists() and target.samefile(notebook):
            raise Invalid("The output would overwrite the notebook.", "Give another --output.")
        if not target.parent.is_dir():
            raise NotFound(f"There is no folder {target.parent} for the output.", "Make it first.")
        return target

    def _differs(self, commit: str, notebook: Path, content: bytes) -> bool:
        """Whether what runs is not what the commit holds: the notebook itself, or anything tracked."""
        if not notebook.is_relative_to(self._root):
            return True
        return git.show(self._root, commit, notebook) != content or git.dirty(self._root)

    def take_env(self, id: str) -> dict[str, str]:
        """The variables given to a job, for its runner alone: the file is gone afterwards."""
        return kept.take_env(self.folder(id))

    def _resolve(self, notebook: str | os.PathLike[str]) -> Path:
        path = Path(notebook).expanduser()
        here = path.absolute()
        return here if path.is_absolute() or here.exists() else self._root / path

    def _record(self, path: Path) -> str:
        path = Path(os.path.normpath(path))
        return str(path.relative_to(self._root) if path.is_relative_to(self._root) else path)

    # -- looking ----------------------------------------------------------------------------------

    def get(self, id: str) -> Job:
        """One job, by its id or the beginning of it.

        Raises
        ------
        NotFound
            When there is none, or several begin like this.
        """
        job = store.get(self._storage, id)
        if job is not None:
            return job
        matching = store.starting_with(self._storage, id) if id else []
        if len(matching) == 1:
            return self.get(matching[0])
        hint = f"These begin like it: {', '.join(matching)}." if matching else "See `mlinfra job list`."
        raise NotFound(f"There is no job {id}.", hint)

    def ref(self, id: str) -> JobRef:
        """A handle on a job."""
        return JobRef(self, self.get(id).id)

    def list(self, limit: int = 50) -> list[Job]:
        """The newest jobs."""
        return store.newest(self._storage, limit)

    def active(self) -> builtins.list[Job]:
        """Jobs that run or wait, oldest first."""
        return store.in_states(self._storage, "running", "queued")

    def caused(self, cause: str) -> builtins.list[Job]:
        """The jobs that something asked for (``alert:12``), newest first."""
        return store.caused(self._storage, cause)

    def maker(self, run: str) -> str | None:
        """Id of the job of this project that made an MLflow run, according to our own rows."""
        return store.made_run(self._storage, run)

    def made(self, run: str) -> bool:
        """Whether an MLflow run was made by a job of this project, according to our own rows."""
        return store.made_run(self._storage, run) is not None

    def progress(self, id: str) -> JobProgress | None:
        """Progress by cell, once the kernel is up."""
        try:
            raw = (self.folder(id) / "progress.json").read_bytes()
            return msgspec.json.decode(raw, type=JobProgress)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def log(self, id: str) -> str:
        """What the job's process printed."""
        try:
            path = self._state / "logs" / f"runner-{self.get(id).id}.log"
            return path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def detail(self, id: str, log_lines: int = 20) -> JobDetail:
        """A job with its progress, the metrics of its runs and the end of its log."""
        job = self.get(id)
        metrics: dict[str, float] = {}
        for run in self._runs_of(job.id):
            metrics |= run.metrics
        log = "\n".join(self.log(job.id).splitlines()[-log_lines:])
        return JobDetail(job=job, progress=self.progress(job.id), metrics=metrics, log=log)

    def cancel(self, id: str) -> Job:
        """Ask for a job's end; one that has ended stays as it is."""
        job = self.get(id)
        if job.state not in JOB_ENDED:
            with self._storage.unit(self._actor) as unit:
                store.cancel(unit, job.id)
            if job.state == "running":
                self._control.ensure()
            else:
                self.take_env(job.id)
        return self.get(job.id)

    def wait(
        self,
        id: str,
        timeout: float | None = None,
        on_progress: Callable[[Job, JobProgress | None], None] | None = None,
    ) -> Job:
        """Wait until a job has ended; see `JobRef.wait`."""
        end = None if timeout is None else time.monotonic() + timeout
        told: tuple[str, JobProgress | None] | None = None
        watcher = self._storage.watcher()
        try:
            while True:
                job = self.get(id)
                progress = self.progress(job.id)
                if on_progress is not None and told != (job.state, progress):
                    told = (job.state, progress)
                    on_progress(job, progress)
                if job.state in JOB_ENDED:
                    return job
                if end is not None and time.monotonic() > end:
                    raise Unavailable(f"Job {job.id} is {job.state} after {timeout:g} s.", "It goes on.")
                self._control.check()
                wait_for_change(watcher, 0.2)
        finally:
            watcher.close()
