"""The process of one job: ``python -m mlinfra_lab.jobs.runner``.

It takes the job's row, runs the notebook, and writes in one unit how the job ended, what it made and
that this process is over. Whatever happens to it before that, the row still says ``running``, and the
controller sees that nobody is there any more.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import signal
import threading
from collections.abc import Callable

import msgspec

from mlinfra_lab import faults, launched
from mlinfra_lab.errors import MLInfraError, to_failure
from mlinfra_lab.jobs import conditions, store
from mlinfra_lab.launched import Claim
from mlinfra_lab.project import Project
from mlinfra_lab.schema.common import JSON
from mlinfra_lab.schema.jobs import CellTime, Conditions, Job, JobState
from mlinfra_lab.schema.runs import LoggedModel
from mlinfra_lab.schema.tasks import Failure
from mlinfra_lab.storage import Unit

log = logging.getLogger(__name__)


class Ending(msgspec.Struct, kw_only=True):
    """How a job ended; filled while it runs."""

    state: JobState = "failed"
    exit_code: int | None = None
    error: Failure | None = None
    environment: str | None = None
    conditions: Conditions | None = None
    times: list[CellTime] = []


class Stop:
    """Asked for by SIGTERM or by the job's own time limit, at any moment from the first on.

    Attributes
    ----------
    reason
        ``stopped`` or ``timed_out``, once it was asked for.
    act
        What to do about it now; until there is a kernel, nothing but remembering.
    """

    def __init__(self, timeout: float | None) -> None:
        self.reason: str | None = None
        self.act: Callable[[], None] = lambda: None
        signal.signal(signal.SIGTERM, lambda *_: self._ask("stopped"))
        if timeout is not None:
            timer = threading.Timer(timeout, self._ask, ["timed_out"])
            timer.daemon = True
            timer.start()

    def _ask(self, reason: str) -> None:
        self.reason = self.reason or reason
        self.act()


def main(project: Project, claim: Claim) -> JSON:
    """Run the job this process was launched for."""
    job = store.start(project.storage, claim.owner, claim.token)
    if job is None:
        return {"state": "not queued any more"}
    faults.point("runner.started")
    stop, ending = Stop(job.timeout), Ending()
    try:
        _execute(project, claim, job, stop, ending)
    except MLInfraError as problem:
        ending.exit_code, ending.error = 1, to_failure(problem)
    except Exception as problem:
        log.exception("job %s could not be run", job.id)
        ending.exit_code, ending.error = 1, to_failure(problem)
    if stop.reason and ending.state != "succeeded":
        _say_stopped(project, job, stop.reason, ending)
    faults.point("runner.executed")
    # Read before the unit is opened: a store that is not SQLite is read by a task, which writes rows.
    made = {run.id: project.runs.logged_models(run.id) for run in project.runs.of_job(job.id)}
    with claim.end(job.created_by) as unit:
        if store.end(
            unit, job.id, claim.token, ending.state, ending.exit_code, ending.error, tuple(made),
            ending.environment, ending.conditions or job.conditions,
        ):  # fmt: skip
            _leave_trace(unit, job, made, ending)
            unit.audit(ending.state, "job", job.id)
    return {"state": ending.state}


def _execute(project: Project, claim: Claim, job: Job, stop: Stop, ending: Ending) -> None:
    ending.environment = project.lineage.record_environment(job.kernel)
    given = project.jobs.take_env(job.id)
    _prepare_environ(project, job, ending.environment, given)
    ending.conditions = conditions.take(os.environ, given, job.conditions)
    preparing = None if project.runs.ready() else project.runs.prepare()
    # papermill takes seconds to import; the job can be stopped meanwhile.
    from mlinfra_lab.jobs.executor import Watch, execute

    if preparing is not None:
        # Two first jobs at once would both make MLflow's tables, and one of them would fail.
        preparing.wait()
    folder = project.jobs.folder(job.id)
    watch = Watch(folder / "progress.json", claim, project.settings.jobs.grace, given)
    stop.act = watch.stop
    if stop.reason:
        return
    notebook, output = project.jobs.path_of(job.notebook), project.jobs.path_of(job.output)
    ending.times = watch.times
    ending.exit_code, ending.error = execute(
        folder / "source.ipynb", output, notebook.parent, job.parameters, job.kernel, watch
    )
    ending.state = "failed" if ending.exit_code else "succeeded"


def _say_stopped(project: Project, job: Job, reason: str, ending: Ending) -> None:
    if reason == "timed_out":
        ending.state = "timed_out"
        ending.error = Failure(code="timed_out", message=f"The job ran longer than {job.timeout:g} s.")
        return
    ending.state = "cancelled"
    asked = project.jobs.get(job.id).cancel_requested
    ending.error = None if asked else Failure(code="cancelled", message="The project was taken down.")


def _prepare_environ(project: Project, job: Job, environment: str | None, given: dict[str, str]) -> None:
    """What the kernel, which inherits this process's environment, must know."""
    os.environ |= project.runs.environment()
    os.environ |= {
        "MLINFRA_PROJECT": str(project.root),
        "MLINFRA_PROJECT_ID": project.id,
        "MLINFRA_JOB": job.id,
        "MLINFRA_NOTEBOOK": job.notebook,
        "MLINFRA_COMMIT": job.commit or "",
        "MLINFRA_ENVIRONMENT": environment or "",
    }
    if of := conditions.repeats(job.cause):
        os.environ["MLINFRA_REPRODUCES"] = of
    if job.conditions is not None and job.conditions.data:
        os.environ["MLINFRA_DATA"] = " ".join(job.conditions.data)
    # Last, so that what the person named wins over what we guess.
    os.environ |= given


def _leave_trace(unit: Unit, job: Job, made: dict[str, list[LoggedModel]], ending: Ending) -> None:
    unit.link("notebook", job.notebook, "job", job.id, "ran", {"md5": job.source_md5})
    if job.commit:
        unit.link("commit", job.commit, "job", job.id, "at", {"dirty": job.dirty})
    if ending.environment:
        unit.link("environment", ending.environment, "job", job.id, "in")
    if of := conditions.repeats(job.cause):
        unit.link("job", of, "job", job.id, "reproduces")
    for run, models in made.items():
        unit.link("job", job.id, "run", run, "made")
        for model in models:
            cell = _cell_at(ending.times, model.created)
            if cell is not None:
                id = f"{job.id}#{cell.index}"
                detail = {"model": model.id, "name": model.name, "cell": cell.id}
                unit.link("cell", id, "run", run, "logged the model", detail)
                unit.link("job", job.id, "cell", id, "executed")


def _cell_at(times: list[CellTime], moment: dt.datetime) -> CellTime | None:
    """The cell that ran at a moment: whatever was logged then, it logged."""
    # MLflow keeps milliseconds, cut off, so a moment can seem to lie just before its cell's start.
    moment += dt.timedelta(milliseconds=1)
    return next((one for one in times if one.ended and one.started <= moment <= one.ended), None)


if __name__ == "__main__":
    launched.run(main)
