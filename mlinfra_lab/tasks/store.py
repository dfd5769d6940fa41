"""Rows of tasks."""

from __future__ import annotations

import sqlalchemy as sa

from mlinfra_lab.schema.common import now
from mlinfra_lab.schema.tasks import Failure, Task
from mlinfra_lab.storage import Storage, Unit, from_row
from mlinfra_lab.storage.tables import tasks as table

MAX_ATTEMPTS = 3


def get(storage: Storage, id: str) -> Task | None:
    """One task."""
    with storage.read() as connection:
        row = connection.execute(sa.select(table).where(table.c.id == id)).first()
    return None if row is None else from_row(row, Task)


def newest(storage: Storage, limit: int) -> list[Task]:
    """The newest tasks."""
    query = sa.select(table).order_by(table.c.created.desc()).limit(limit)
    with storage.read() as connection:
        return [from_row(row, Task) for row in connection.execute(query)]


def waiting(storage: Storage) -> int:
    """How many tasks could start now: queued, and no other of their key is running or before them."""
    with storage.read() as connection:
        return len(_startable(connection))


def running(storage: Storage) -> list[Task]:
    """The tasks some worker is at."""
    with storage.read() as connection:
        rows = connection.execute(sa.select(table).where(table.c.state == "running"))
        return [from_row(row, Task) for row in rows]


def active(storage: Storage) -> list[Task]:
    """Tasks that run or wait, oldest first."""
    query = sa.select(table).where(table.c.state.in_(("queued", "running"))).order_by(table.c.created)
    with storage.read() as connection:
        return [from_row(row, Task) for row in connection.execute(query)]


def _startable(connection: sa.Connection) -> list[str]:
    rows = connection.execute(
        sa.select(table.c.id, table.c.key, table.c.state)
        .where(table.c.state.in_(("queued", "running")))
        .order_by(table.c.created, table.c.id)
    ).all()
    busy = {row.key for row in rows if row.state == "running"}
    found: list[str] = []
    for row in rows:
        if row.state == "queued" and row.key not in busy:
            busy.add(row.key)
            found.append(row.id)
    return found


def take(storage: Storage, launch: str) -> Task | None:
    """Claim the oldest task that may start, for the worker with this launch token."""
    with storage.unit() as unit:
        startable = _startable(unit.connection)
        if not startable:
            return None
        row = unit.connection.execute(
            table.update()
            .where(table.c.id == startable[0], table.c.state == "queued")
            .values(state="running", launch=launch, started=now(), attempts=table.c.attempts + 1)
            .returning(table)
        ).one()
        unit.changed("task", row.id, "updated")
    return from_row(row, Task)


def end(
    unit: Unit, id: str, launch: str, state: str, result: object = None, error: Failure | None = None
) -> bool:
    """Write a task's end, if it is still this worker's."""
    done = unit.connection.execute(
        table.update()
        .where(table.c.id == id, table.c.launch == launch, table.c.state == "running")
        .values(state=state, result=result, error=error, ended=now())
    )
    unit.changed("task", id, "updated")
    return done.rowcount == 1


def cancel(unit: Unit, id: str) -> None:
    """Ask for a task's end; a queued one ends at once."""
    unit.connection.execute(
        table.update()
        .where(table.c.id == id, table.c.state == "queued")
        .values(state="cancelled", ended=now(), cancel_requested=True)
    )
    unit.connection.execute(
        table.update().where(table.c.id == id, table.c.state == "running").values(cancel_requested=True)
    )
    unit.changed("task", id, "updated")


def worker_gone(unit: Unit, launch: str) -> None:
    """Answer for the tasks of a worker that was lost: again where that is safe, else interrupted."""
    rows = unit.connection.execute(
        sa.select(table).where(table.c.launch == launch, table.c.state == "running")
    ).all()
    for row in rows:
        again = row.idempotent and row.attempts < MAX_ATTEMPTS and not row.cancel_requested
        failure = Failure(
            code="interrupted",
            message=f"The process that worked on {row.key} was lost ({row.attempts} of {MAX_ATTEMPTS}).",
            hint="See .mlinfra/logs for the worker's log; run the command again.",
        )
        values = (
            {"state": "queued", "launch": None, "started": None}
            if again
            else {"state": "interrupted", "error": failure, "ended": now()}
        )
        unit.connection.execute(table.update().where(table.c.id == row.id).values(**values))
        unit.changed("task", row.id, "updated")
