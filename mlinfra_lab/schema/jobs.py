"""Notebooks run as jobs."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

from mlinfra_lab.schema.common import JSON, Wire
from mlinfra_lab.schema.tasks import Failure

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled", "timed_out", "lost"]
JOB_ENDED: frozenset[str] = frozenset({"succeeded", "failed", "cancelled", "timed_out", "lost"})


class Parameter(Wire, frozen=True, kw_only=True):
    """One name of a notebook's ``parameters`` cell.

    Attributes
    ----------
    type
        Python's name of the type when the cell tells it (annotation or literal), else ``None``.
    default
        The source text of the default.
    help
        The comment behind it.
    """

    name: str
    type: str | None
    default: str
    help: str = ""


class CellTime(Wire, frozen=True, kw_only=True):
    """When one cell of a job ran; ``ended`` is ``None`` while it runs."""

    index: int
    id: str | None
    started: dt.datetime
    ended: dt.datetime | None = None
    failed: bool = False


class JobProgress(Wire, frozen=True, kw_only=True):
    """Progress of a job by cell, kept in a file beside its output."""

    cells: int
    current: int | None = None
    times: tuple[CellTime, ...] = ()

    @property
    def done(self) -> int:
        """Cells that have ended."""
        return sum(1 for cell in self.times if cell.ended is not None)


class Conditions(Wire, frozen=True, kw_only=True):
    """What else a job's results hang on, noted as it begins and set again when it is reproduced.

    Attributes
    ----------
    cpus, cores
        CPUs that its process might use, and physical cores of the machine.
    cpu
        The CPU's name.
    variables
        Numbers of threads and the like (`jobs.conditions.KEPT`), as its kernel found them.
    given
        Names of other variables that were handed on to it; their values are not kept.
    data
        Of a reproduction: the dataset versions that a name without a version stands for.
    """

    cpus: int
    cores: int | None = None
    cpu: str = ""
    variables: dict[str, str] = {}
    given: tuple[str, ...] = ()
    data: tuple[str, ...] = ()


class Job(Wire, frozen=True, kw_only=True):
    """A notebook run with parameters in a process of its own.

    Attributes
    ----------
    notebook, output
        Relative to the project's root where they lie in it, else absolute.
    source_md5
        Hash of the notebook as it was when submitted; its kept copy stands in the state folder.
    commit
        HEAD of the project's git repository at submit; ``dirty`` when the work tree differed.
    environment
        Hash of the environment record of the kernel's Python.
    exit_code
        What papermill's command would have exited with.
    runs
        MLflow runs that were started in it, oldest first.
    cause
        What asked for the job when it was not a person (``alert:12``, ``reproduce:jabcdefgh``).
    conditions
        Under which it ran; of a reproduction that waits, those that are to be set again.
    """

    id: str
    notebook: str
    output: str
    parameters: JSON
    kernel: str
    state: JobState
    source_md5: str
    commit: str | None = None
    dirty: bool = False
    environment: str | None = None
    timeout: float | None = None
    cancel_requested: bool = False
    exit_code: int | None = None
    error: Failure | None = None
    runs: tuple[str, ...] = ()
    launch: str | None = None
    cause: str | None = None
    conditions: Conditions | None = None
    created: dt.datetime
    created_by: str
    started: dt.datetime | None = None
    ended: dt.datetime | None = None


class JobDetail(Wire, frozen=True, kw_only=True):
    """A job with its progress and the metrics of its runs (``metrics`` merges them, newest wins)."""

    job: Job
    progress: JobProgress | None
    metrics: dict[str, float]
    log: str
    extra: dict[str, Any] = {}
