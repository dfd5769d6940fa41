"""Rows of jobs."""

from __future__ import annotations

import sqlalchemy as sa

from mlinfra_lab.errors import Conflict
from mlinfra_lab.schema.common import now
from mlinfra_lab.schema.jobs import Conditions, Job, JobState
from mlinfra_lab.schema.tasks import Failure
from mlinfra_lab.storage import Storage, Unit, from_row, to_row
from mlinfra_lab.storage.tables import jobs as table


def get(storage: Storage, id: str) -> Job | None:
    """One job."""
    with storage.read() as connection:
        row = connection.execute(sa.select(table).where(table.c.id == id)).first()
    return None if row is None else from_row(row, Job)


def starting_with(storage: Storage, prefix: str) -> list[str]:
    """Ids that begin like this, ten at most."""
    query = sa.select(table.c.id).where(table.c.id.startswith(prefix, autoescape=True)).limit(10)
    with storage.read() as connection:
        return list(connection.execute(query).scalars())


def newest(storage: Storage, limit: int) -> list[Job]:
    """The newest jobs."""
    query = sa.select(table).order_by(table.c.created.desc(), table.c.id).limit(limit)
    with storage.read() as connection:
        return [from_row(row, Job) for row in connection.execute(query)]


def in_states(storage: Storage, *states: JobState) -> list[Job]:
    """Jobs in these states, oldest first."""
    query = sa.select(table).where(table.c.state.in_(states)).order_by(table.c.created, table.c.id)
    with storage.read() as connection:
        return [from_row(row, Job) for row in connection.execute(query)]


def made_run(storage: Storage, run: str) -> str | None:
    """Id of the job that made an MLflow run, according to our own rows."""
    # The runs are a JSON list of ids without anything to escape, so a plain LIKE finds one.
    query = sa.select(table.c.id).where(table.c.runs.cast(sa.Text).like(f'%"{run}"%')).limit(1)
    with storage.read() as connection:
        return connection.execute(query).scalar()


def caused(storage: Storage, cause: str) -> list[Job]:
    """The jobs that something asked for, newest first."""
    query = sa.select(table).where(table.c.cause == cause).order_by(table.c.created.desc(), table.c.id)
    with storage.read() as connection:
        return [from_row(row, Job) for row in connection.execute(query)]


def add(unit: Unit, job: Job) -> None:
    """A new job.

    Raises
    ------
    Conflict
        When another job that has not ended writes the same output.
    """
    query = sa.select(table.c.id).where(
        table.c.output == job.output, table.c.state.in_(("queued", "running"))
    )
    if (other := unit.connection.execute(query).scalar()) is not None:
        raise Conflict(
            f"Job {other} is going to write {job.output}.", "Wait for it, or give another --output."
        )
    unit.connection.execute(table.insert().values(**to_row(job, table)))
    unit.changed("job", job.id, "created")
    unit.audit("submit", "job", job.id, {"notebook": job.notebook, "parameters": job.parameters})


def start(storage: Storage, id: str, launch: str) -> Job | None:
    """Take a queued job for the runner with this launch; ``None`` when it is not to be had."""
    with storage.unit() as unit:
        row = unit.connection.execute(
            table.update()
            .where(table.c.id == id, table.c.state == "queued")
            .values(state="running", launch=launch, started=now())
            .returning(table)
        ).first()
        unit.changed("job", id, "updated")
    return None if row is None else from_row(row, Job)


# MLflow shows a run that nobody ended as running for ever.
_CLOSE_RUNS = "mlinfra_lab.runs.work:close_runs"


def _close_runs(unit: Unit, id: str) -> None:
    unit.task(_CLOSE_RUNS, "runs:store", {"job": id, "status": "KILLED"})


def end(
    unit: Unit,
    id: str,
    launch: str,
    state: JobState,
    exit_code: int | None,
    error: Failure | None,
    runs: tuple[str, ...],
    environment: str | None,
    conditions: Conditions | None,
) -> bool:
    """Write a job's end, if it is still this runner's."""
    done = unit.connection.execute(
        table.update()
        .where(table.c.id == id, table.c.launch == launch, table.c.state == "running")
        .values(
            state=state,
            exit_code=exit_code,
            error=error,
            runs=runs,
            environment=environment,
            conditions=conditions,
            ended=now(),
        )
    )
    unit.changed("job", id, "updated")
    if state in ("cancelled", "timed_out"):
        _close_runs(unit, id)
    return done.rowcount == 1


def cancel(unit: Unit, id: str) -> None:
    """Ask for a job's end; a queued one ends at once."""
    unit.connection.execute(
        table.update()
        .where(table.c.id == id, table.c.state == "queued")
        .values(state="cancelled", cancel_requested=True, ended=now())
    )
    unit.connection.execute(
        table.update().where(table.c.id == id, table.c.state == "running").values(cancel_requested=True)
    )
    unit.changed("job", id, "updated")
    unit.audit("cancel", "job", id)


def never_started(unit: Unit, id: str, times: int) -> None:
    """A queued job whose runners all died before they could take it."""
    error = Failure(
        code="failed",
        message=f"The process that should run the job died {times} times before it began.",
        hint=f"Its log is .mlinfra/logs/runner-{id}.log.",
    )
    done = unit.connection.execute(
        table.update()
        .where(table.c.id == id, table.c.state == "queued")
        .values(state="failed", exit_code=1, error=error, ended=now())
    )
    if done.rowcount:
        unit.changed("job", id, "updated")


def runner_gone(unit: Unit, job: Job, timed_out: bool, error: Failure | None = None) -> None:
    """A running job whose runner is gone without having written the job's end.

    Parameters
    ----------
    error
        What the runner itself failed with, where it could still say so.
    """
    state: JobState = "timed_out" if timed_out else "cancelled" if job.cancel_requested else "lost"
    if error is not None:
        state = "failed"
    elif state == "lost":
        error = Failure(
            code="interrupted",
            message="The process that ran the job is gone.",
            hint="It may have been killed for memory, or the machine was restarted. Run it again.",
        )
    unit.connection.execute(
        table.update()
        .where(table.c.id == job.id, table.c.state == "running", table.c.launch == job.launch)
        .values(state=state, error=error, ended=now())
    )
    unit.changed("job", job.id, "updated")
    _close_runs(unit, job.id)
