"""Rows of rollouts, and of what happened to endpoints."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import sqlalchemy as sa

from mlinfra_lab.counters import Sides
from mlinfra_lab.endpoints import alias_store
from mlinfra_lab.schema.common import JSON, now
from mlinfra_lab.schema.endpoints import GateResult, HistoryEntry, Revision, Rollout
from mlinfra_lab.storage import Unit, from_row, to_row
from mlinfra_lab.storage.tables import endpoints, history, revisions, rollouts

OPEN = ("starting", "running")
ALIAS = "alias:"
"""How the cause of a rollout begins that was begun by moving an alias."""


class Carried(msgspec.Struct):
    """What fronts have counted for a rollout, over their restarts.

    Attributes
    ----------
    token
        Launch of the front that counted last.
    last
        What it had counted then.
    before
        The sum of what earlier fronts had counted.
    """

    token: str = ""
    last: Sides = msgspec.field(default_factory=Sides)
    before: Sides = msgspec.field(default_factory=Sides)

    def add(self, token: str, sides: Sides) -> Sides:
        """Take what a front has counted by now; returns the sum of all."""
        if token != self.token:
            self.before = self.before + self.last
            self.token = token
        self.last = sides
        return self.before + self.last


def opened(connection: sa.Connection) -> dict[str, Rollout]:
    """Rollouts that are under way, by their endpoint."""
    query = sa.select(rollouts).where(rollouts.c.state.in_(OPEN))
    return {row.endpoint: from_row(row, Rollout) for row in connection.execute(query)}


def open_of(connection: sa.Connection, name: str) -> Rollout | None:
    """The rollout of an endpoint that is under way."""
    query = sa.select(rollouts).where(rollouts.c.endpoint == name, rollouts.c.state.in_(OPEN))
    row = connection.execute(query).first()
    return None if row is None else from_row(row, Rollout)


def get(connection: sa.Connection, id: str) -> Rollout | None:
    """One rollout."""
    row = connection.execute(sa.select(rollouts).where(rollouts.c.id == id)).first()
    return None if row is None else from_row(row, Rollout)


def of(connection: sa.Connection, name: str) -> list[Rollout]:
    """An endpoint's rollouts, newest first."""
    query = sa.select(rollouts).where(rollouts.c.endpoint == name).order_by(rollouts.c.created.desc())
    return [from_row(row, Rollout) for row in connection.execute(query)]


def carried(connection: sa.Connection, id: str) -> Carried:
    """What was counted for a rollout by its last evaluation."""
    seen = connection.execute(sa.select(rollouts.c.seen).where(rollouts.c.id == id)).scalar()
    return Carried() if seen is None else msgspec.convert(seen, Carried)


def promoted_to(connection: sa.Connection, name: str, number: int) -> bool:
    """Whether a revision came to answer by a rollout."""
    query = sa.select(rollouts.c.id).where(
        rollouts.c.endpoint == name, rollouts.c.candidate == number, rollouts.c.state == "promoted"
    )
    return connection.execute(query).first() is not None


def add(unit: Unit, new: Rollout) -> None:
    """Begin a rollout."""
    unit.put(rollouts, to_row(new, rollouts))
    unit.changed("endpoint", new.endpoint, "updated")


def evaluated(
    unit: Unit, known: Rollout, results: tuple[GateResult, ...], seen: Carried, **values: Any
) -> bool:
    """Write that the gates were looked at; false when it has moved on since it was read."""
    done = unit.connection.execute(
        rollouts.update()
        .where(rollouts.c.id == known.id, rollouts.c.state == known.state, rollouts.c.step == known.step)
        .values(evaluated=now(), results=results, seen=seen, **values)
    )
    if done.rowcount and (results != known.results or values):
        unit.changed("endpoint", known.endpoint, "updated")
    return done.rowcount == 1


def end(unit: Unit, known: Rollout, state: str, reason: str, share: float = 0.0) -> bool:
    """End a rollout; false when it was over already."""
    done = unit.connection.execute(
        rollouts.update()
        .where(rollouts.c.id == known.id, rollouts.c.state.in_(OPEN))
        .values(state=state, reason=reason, share=share, ended=now())
    )
    if done.rowcount:
        unit.changed("endpoint", known.endpoint, "updated")
    return done.rowcount == 1


def retire(unit: Unit, name: str, number: int | None) -> None:
    """A revision answers no more."""
    here = sa.and_(revisions.c.endpoint == name, revisions.c.number == number)
    going = ("preparing", "starting", "up")
    unit.connection.execute(
        revisions.update().where(here, revisions.c.state.in_(going)).values(state="retired")
    )


def roll_back(
    unit: Unit,
    known: Rollout,
    reason: str,
    results: tuple[GateResult, ...] = (),
    event_time: dt.datetime | None = None,
) -> bool:
    """Give everything back to the stable version; false when the rollout was over already."""
    if not end(unit, known, "rolled_back", reason):
        return False
    if results:
        unit.connection.execute(rollouts.update().where(rollouts.c.id == known.id).values(results=results))
    retire(unit, known.endpoint, known.candidate)
    text = f"Revision {known.candidate} was rolled back: {reason}"
    _update(unit, known.endpoint, reason=text)
    detail = {"rollout": known.id, "step": known.step, "to": known.stable}
    note(unit, known.endpoint, "rolled_back", reason, known.candidate, event_time, detail)
    unit.audit("rollback", "endpoint", known.endpoint, {"rollout": known.id, "reason": reason})
    if known.alias and (known.cause or "").startswith(ALIAS):
        # Only from the candidate: somebody may have moved it on meanwhile, and that is not undone.
        tried = _revision(unit, known.endpoint, known.candidate)
        point(unit, known.endpoint, known.alias, known.stable, {"only_if": tried.version})
    return True


def promote(
    unit: Unit,
    known: Rollout,
    reason: str,
    results: tuple[GateResult, ...],
    event_time: dt.datetime | None = None,
) -> bool:
    """Let the candidate answer everything; false when the rollout was over already."""
    if not end(unit, known, "promoted", reason, share=1.0):
        return False
    unit.connection.execute(rollouts.update().where(rollouts.c.id == known.id).values(results=results))
    _update(unit, known.endpoint, wanted=known.candidate, reason=None)
    detail = {"rollout": known.id, "from": known.stable}
    note(unit, known.endpoint, "promoted", reason, known.candidate, event_time, detail)
    unit.audit("promote", "endpoint", known.endpoint, {"rollout": known.id, "revision": known.candidate})
    if known.alias:
        unit.connection.execute(
            revisions.update()
            .where(revisions.c.endpoint == known.endpoint, revisions.c.number == known.candidate)
            .values(alias=known.alias)
        )
        if not (known.cause or "").startswith(ALIAS):
            model = _revision(unit, known.endpoint, known.candidate).model
            begun = alias_store.condition(unit.connection, known.endpoint, model, known.alias)
            point(unit, known.endpoint, known.alias, known.candidate, begun)
    return True


def _update(unit: Unit, name: str, **values: Any) -> None:
    unit.connection.execute(
        endpoints.update().where(endpoints.c.name == name).values(changed=now(), **values)
    )


def point(unit: Unit, name: str, alias: str, number: int, condition: JSON) -> str:
    """Have an alias of MLflow's point to the version that a revision answers with; a task does it.

    Parameters
    ----------
    condition
        ``{"only_if": VERSION}`` when the alias shall be left alone should it point elsewhere by then
        (``None``: should it be there), else nothing.
    """
    one = _revision(unit, name, number)
    args = {"name": one.model, "version": one.version, "alias": alias, **condition}
    return unit.task(alias_store.PROMOTE, f"models:{one.model}", args)


def _revision(unit: Unit, name: str, number: int) -> Revision:
    query = sa.select(revisions).where(revisions.c.endpoint == name, revisions.c.number == number)
    return from_row(unit.connection.execute(query).one(), Revision)


# -- history --------------------------------------------------------------------------------------


def note(
    unit: Unit,
    name: str,
    kind: str,
    message: str,
    revision: int | None = None,
    event_time: dt.datetime | None = None,
    detail: JSON | None = None,
) -> None:
    """Write down what happened to an endpoint."""
    unit.connection.execute(
        history.insert().values(
            endpoint=name,
            at=now(),
            event_time=event_time,
            kind=kind,
            revision=revision,
            message=message,
            actor=unit.actor,
            detail=detail or {},
        )
    )
    unit.changed("endpoint", name, "updated")


def past(connection: sa.Connection, name: str, limit: int) -> list[HistoryEntry]:
    """What happened to an endpoint, newest first."""
    query = sa.select(history).where(history.c.endpoint == name).order_by(history.c.number.desc())
    return [from_row(row, HistoryEntry) for row in connection.execute(query.limit(limit))]


def was_held(unit: Unit, known: Rollout) -> bool:
    """Whether it was written down already that a rollout waits at its present step."""
    query = (
        sa.select(history.c.kind, history.c.detail)
        .where(history.c.endpoint == known.endpoint, history.c.kind.in_(("held", "step")))
        .order_by(history.c.number.desc())
        .limit(1)
    )
    row = unit.connection.execute(query).first()
    return row is not None and row.kind == "held" and (row.detail or {}).get("rollout") == known.id
