"""Rows of endpoints and their revisions."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import sqlalchemy as sa

from mlinfra_lab.endpoints import alias_store, rollout_store
from mlinfra_lab.schema.common import now
from mlinfra_lab.schema.control import Launch
from mlinfra_lab.schema.endpoints import Endpoint, Revision, Rollout
from mlinfra_lab.storage import Storage, Unit, from_row, launches, to_row
from mlinfra_lab.storage import meta as metas
from mlinfra_lab.storage.tables import endpoints, meta, revisions
from mlinfra_lab.storage.tables import launches as launch_rows

FRONT = "front"
MODEL = "model"
PORT = "port"
DOWN = "down"


def owner(endpoint: str, number: int) -> str:
    """What a model process is for, and lineage's id of a revision: ``NAME.NUMBER``."""
    return f"{endpoint}.{number}"


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about endpoints that one transaction sees.

    Attributes
    ----------
    revisions
        Those that are wanted, serving, kept warm or on trial, by `owner`.
    rollouts
        Those under way, by endpoint.
    front, models
        Open launches, the latter by owner.
    down
        Whether the project was taken down.
    """

    endpoints: dict[str, Endpoint]
    revisions: dict[str, Revision]
    rollouts: dict[str, Rollout]
    front: Launch | None
    models: dict[str, Launch]
    gone: dict[str, str]
    down: bool


def view(storage: Storage) -> View:
    """All endpoints, with what is needed to say how they are."""
    with storage.read() as connection:
        rows = connection.execute(sa.select(endpoints).order_by(endpoints.c.name))
        found = {row.name: from_row(row, Endpoint) for row in rows}
        trials = rollout_store.opened(connection)
        named = (endpoints.c.wanted, endpoints.c.serving, endpoints.c.previous)
        needed = sa.and_(
            revisions.c.endpoint == endpoints.c.name,
            sa.or_(
                *(revisions.c.number == column for column in named),
                *(
                    sa.and_(revisions.c.endpoint == name, revisions.c.number == one.candidate)
                    for name, one in trials.items()
                ),
            ),
        )
        current = [
            from_row(row, Revision)
            for row in connection.execute(sa.select(revisions).join(endpoints, needed))
        ]
        opened = launches.opened(connection, (FRONT, MODEL))
        gone = alias_store.gone(connection)
        down = connection.execute(sa.select(meta.c.value).where(meta.c.key == DOWN)).scalar()
    return View(
        endpoints=found,
        revisions={owner(one.endpoint, one.number): one for one in current},
        rollouts=trials,
        front=next((one for one in opened if one.kind == FRONT), None),
        models={one.owner: one for one in opened if one.kind == MODEL},
        gone=gone,
        down=down is not None,
    )


def as_it_is(row: Endpoint, seen: View) -> Endpoint:
    """The endpoint as its processes are, not only as was last written of it."""
    number = row.serving if row.serving is not None else row.wanted
    trial = seen.rollouts.get(row.name)
    revision = seen.revisions.get(owner(row.name, number))
    if revision is not None and seen.gone.get(row.name) == f"{revision.model}@{revision.alias}":
        revision = msgspec.structs.replace(revision, alias=None)
    state, reason = row.state, row.reason
    if not row.desired:
        state = "stopped"
    elif seen.down:
        state, reason = "stopped", "The project is down; `mlinfra up` brings it back."
    elif state == "up" and (seen.front is None or "port" not in seen.front.info):
        state, reason = "starting", "The front is being started."
    elif state == "up" and "socket" not in _info(seen.models.get(owner(row.name, number))):
        state, reason = "starting", f"The process of revision {number} is being started."
    return msgspec.structs.replace(row, state=state, reason=reason, revision=revision, rollout=trial)


def _info(launch: Launch | None) -> dict[str, object]:
    return {} if launch is None else launch.info


def endpoint(connection: sa.Connection, name: str) -> Endpoint | None:
    """One endpoint's row."""
    row = connection.execute(sa.select(endpoints).where(endpoints.c.name == name)).first()
    return None if row is None else from_row(row, Endpoint)


def revision(connection: sa.Connection, name: str, number: int) -> Revision | None:
    """One revision."""
    query = sa.select(revisions).where(revisions.c.endpoint == name, revisions.c.number == number)
    row = connection.execute(query).first()
    return None if row is None else from_row(row, Revision)


def next_number(connection: sa.Connection, name: str) -> int:
    """Number of the revision that is to be made."""
    last = connection.execute(sa.select(sa.func.max(revisions.c.number)).where(revisions.c.endpoint == name))
    return int(last.scalar() or 0) + 1


def add_revision(unit: Unit, new: Revision) -> None:
    """Write a revision and make it the wanted one; the one that answers goes on until it is up."""
    unit.put(revisions, to_row(new, revisions))
    known = endpoint(unit.connection, new.endpoint)
    if known is None:
        row = Endpoint(
            name=new.endpoint,
            desired=True,
            state="starting",
            wanted=new.number,
            created=new.created,
            changed=new.created,
        )
        unit.put(endpoints, to_row(row, endpoints))
        unit.changed("endpoint", new.endpoint, "created")
        return
    if known.wanted not in (known.serving, known.previous):
        rollout_store.retire(unit, new.endpoint, known.wanted)
    state = "up" if known.serving is not None else "starting"
    update(unit, new.endpoint, desired=True, wanted=new.number, state=state, reason=None)


def add_candidate(unit: Unit, new: Revision) -> None:
    """Write a revision that is to be tried beside the one that answers."""
    unit.put(revisions, to_row(new, revisions))
    unit.changed("endpoint", new.endpoint, "updated")


def update(unit: Unit, name: str, **values: Any) -> None:
    """Change an endpoint's row."""
    unit.connection.execute(
        endpoints.update().where(endpoints.c.name == name).values(changed=now(), **values)
    )
    unit.changed("endpoint", name, "updated")


def update_revision(unit: Unit, name: str, number: int, seen: str, **values: Any) -> bool:
    """Change a revision that is in the state ``seen``; false when it is no longer."""
    done = unit.connection.execute(
        revisions.update()
        .where(revisions.c.endpoint == name, revisions.c.number == number, revisions.c.state == seen)
        .values(**values)
    )
    unit.changed("endpoint", name, "updated")
    return done.rowcount == 1


def stop(unit: Unit, known: Endpoint, event_time: dt.datetime | None = None) -> None:
    """Nothing shall answer under this name any more."""
    for number in (known.wanted, known.serving, known.previous):
        rollout_store.retire(unit, known.name, number)
    trial = rollout_store.open_of(unit.connection, known.name)
    if trial is not None:
        rollout_store.end(unit, trial, "stopped", "The endpoint was stopped.")
        rollout_store.retire(unit, known.name, trial.candidate)
    if known.desired:
        text = "Nothing answers any more."
        rollout_store.note(unit, known.name, "stopped", text, known.serving, event_time)
    update(unit, known.name, desired=False, state="stopped", serving=None, previous=None, reason=None)


def fail(unit: Unit, name: str, number: int, reason: str) -> None:
    """A revision cannot answer; an older one that does goes on."""
    for seen in ("preparing", "starting"):
        if update_revision(unit, name, number, seen, state="failed", error=reason):
            break
    else:
        return
    known = endpoint(unit.connection, name)
    if known is None or known.wanted != number or not known.desired:
        return
    if known.serving is None:
        update(unit, name, state="failed", reason=reason)
    else:
        text = f"Revision {number} failed: {reason} Revision {known.serving} goes on answering."
        update(unit, name, reason=text)


def switched(
    unit: Unit,
    name: str,
    number: int,
    url: str,
    keep_warm: bool = True,
    event_time: dt.datetime | None = None,
) -> None:
    """The front sends requests to this revision from now on.

    Parameters
    ----------
    keep_warm
        Whether the process of the revision that answered before is kept, to go back to.
    """
    known = endpoint(unit.connection, name)
    if known is None or not known.desired or known.wanted != number:
        return
    before, previous = known.serving, known.previous
    if before is not None and before != number:
        # Nobody goes back to what was gone back from: asked twice, it would answer again.
        back = number == previous
        for gone in (before,) if back else (previous,) if keep_warm else (previous, before):
            rollout_store.retire(unit, name, gone)
        previous = None if back else before
    update_revision(unit, name, number, "starting", state="up")
    update(unit, name, serving=number, previous=previous, state="up", reason=None, url=url)
    unit.audit("switch", "endpoint", name, {"from": known.serving, "to": number})
    told = number in (before, known.previous) or rollout_store.promoted_to(unit.connection, name, number)
    if not told and (what := revision(unit.connection, name, number)) is not None:
        text = f"{what.model}/{what.version} answers."
        rollout_store.note(unit, name, "published", text, number, event_time)


def go_back(unit: Unit, known: Endpoint, number: int) -> None:
    """The front shall send requests to a revision that answered before."""
    update_revision(unit, known.name, number, "retired", state="starting")
    if known.wanted not in (known.serving, number):
        rollout_store.retire(unit, known.name, known.wanted)
    update(unit, known.name, wanted=number)


def listening(unit: Unit, urls: dict[str, str]) -> None:
    """The front listens; what failed for want of the port is over."""
    for name, url in urls.items():
        known = endpoint(unit.connection, name)
        if known is None:
            continue
        wanted = revision(unit.connection, name, known.wanted)
        values: dict[str, Any] = {"url": url}
        if known.state == "failed" and wanted is not None and wanted.state != "failed":
            values |= {"state": "starting" if known.serving is None else "up", "reason": None}
        update(unit, name, **values)


def not_listening(unit: Unit, reason: str) -> None:
    """The front cannot listen, for this reason."""
    query = sa.select(endpoints).where(endpoints.c.desired)
    for row in unit.connection.execute(query).all():
        if (row.state, row.reason) != ("failed", reason):
            update(unit, row.name, state="failed", reason=reason)


def crashes(connection: sa.Connection, who: str) -> int:
    """How often the model process of one revision was lost."""
    query = sa.select(sa.func.count()).where(
        launch_rows.c.kind == MODEL, launch_rows.c.owner == who, launch_rows.c.state == "lost"
    )
    return int(connection.execute(query).scalar() or 0)


def port(storage: Storage) -> int | None:
    """The port that was chosen for this project, if one was."""
    known = metas.get(storage, PORT)
    return int(known) if known else None


def keep_port(storage: Storage, number: int) -> None:
    """Remember the port, so that URLs stay the same over restarts."""
    with storage.unit() as unit:
        metas.put(unit, PORT, str(number))


def is_current(storage: Storage, token: str) -> bool:
    """Whether a launch is still this process's own to live by."""
    with storage.read() as connection:
        launch = launches.get(connection, token)
    return launch is not None and launch.state == "running"
