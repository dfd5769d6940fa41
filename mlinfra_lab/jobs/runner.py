"""The process of one job: ``python -m mlinfra_lab.jobs.runner``.

It takes the job's row, runs the notebook, and writes in one unit how the job ended, what it made and
that this process is over. Whatever happens to it before that, the row still says ``running``, and the
controller sees that nobody is there any more.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from typing import Any

from mlinfra_lab import faults
from mlinfra_lab.errors import MLInfraError, to_failure
from mlinfra_lab.jobs import store
from mlinfra_lab.launched import Claim, run
from mlinfra_lab.project import Project
from mlinfra_lab.schema.common import JSON
from mlinfra_lab.schema.jobs import CellTime, Job, JobState
from mlinfra_lab.schema.runs import Run
from mlinfra_lab.schema.tasks import Failure
from mlinfra_lab.storage import Unit

log = logging.getLogger(__name__)


def main(project: Project, claim: Claim) -> JSON:
    """Run the job this process was launched for."""
    job = store.start(project.storage, claim.owner, claim.token)
    if job is None:
        return {"state": "not queued any more"}
    faults.point("runner.started")
    state, code, error, times, hash = _perform(project, claim, job)
    faults.point("runner.executed")
    runs = project.runs.of_job(job.id)
    with claim.end(job.created_by) as unit:
        done = store.end(
            unit, job.id, claim.token, state, code, error, tuple(one.id for one in runs), hash
        )
        if done:
            _leave_trace(unit, project, job, runs, times, hash)
            unit.audit(state, "job", job.id)
    return {"state": state}


def _perform(
    project: Project, claim: Claim, job: Job
) -> tuple[JobState, int | None, Failure | None, list[CellTime], str | None]:
    # Stopping must be possible from the first moment on, so the handler stands before the imports.
    pending: list[str] = []
    stop: list[Any] = [pending.append]

    def stop_for(why: str) -> None:
        pending.append(why)
        stop[0](why)

    signal.signal(signal.SIGTERM, lambda *_: stop_for("stopped"))
    if job.timeout is not None:
        timer = threading.Timer(job.timeout, stop_for, ["timed_out"])
        timer.daemon = True
        timer.start()

    hash = None
    try:
        hash = project.lineage.record_environment(job.kernel)
        _prepare_environ(project, job, hash)
        from mlinfra_lab.jobs.executor import Watch, execute

        folder = project.jobs.folder(job.id)
        watch = Watch(folder / "progress.json", claim, project.settings.jobs.grace)
        stop[0] = lambda _why: watch.stop()
        if pending:
            watch.stop()
        notebook = project.jobs.path_of(job.notebook)
        output = project.jobs.path_of(job.output)
        code, error = execute(
            folder / "source.ipynb", output, notebook.parent, job.parameters, job.kernel, watch
        )
    except MLInfraError as problem:
        return "failed", 1, to_failure(problem), [], hash
    except Exception as problem:
        log.exception("job %s could not be run", job.id)
        return "failed", 1, to_failure(problem), [], hash
    if pending and code != 0:
        asked = project.jobs.get(job.id).cancel_requested
        state: JobState = "timed_out" if pending[0] == "timed_out" else "cancelled"
        if state == "timed_out":
            error = Failure(code="timed_out", message=f"The job ran longer than {job.timeout:g} s.")
        else:
            error = None if asked else Failure(code="cancelled", message="The project was taken down.")
        return state, code, error, watch.times, hash
    return ("failed" if code else "succeeded"), code, error, watch.times, hash


def _prepare_environ(project: Project, job: Job, hash: str | None) -> None:
    """What the kernel, which inherits this process's environment, must know."""
    os.environ |= project.runs.environment()
    os.environ |= {
        "MLINFRA_PROJECT": str(project.root),
        "MLINFRA_PROJECT_ID": project.id,
        "MLINFRA_JOB": job.id,
        "MLINFRA_NOTEBOOK": job.notebook,
        "MLINFRA_COMMIT": job.commit or "",
        "MLINFRA_ENVIRONMENT": hash or "",
    }
    # Last, so that what the person named wins over what we guess.
    os.environ |= project.jobs.env(job.id)


def _leave_trace(
    unit: Unit, project: Project, job: Job, runs: list[Run], times: list[CellTime], hash: str | None
) -> None:
    unit.link("notebook", job.notebook, "job", job.id, "ran", {"md5": job.source_md5})
    if job.commit:
        unit.link("commit", job.commit, "job", job.id, "at", {"dirty": job.dirty})
    if hash:
        unit.link("environment", hash, "job", job.id, "in")
    for run in runs:
        unit.link("job", job.id, "run", run.id, "made")
        for model in project.runs.logged_models(run.id):
            cell = next(
                (one for one in times if one.ended and one.started <= model.created <= one.ended), None
            )
            if cell is not None:
                detail = {"model": model.id, "name": model.name, "index": cell.index, "cell": cell.id}
                unit.link("cell", f"{job.id}#{cell.index}", "run", run.id, "logged the model", detail)
                unit.link("job", job.id, "cell", f"{job.id}#{cell.index}", "executed")




if __name__ == "__main__":
    run(main)
