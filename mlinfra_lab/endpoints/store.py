"""Rows of endpoints and their revisions."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from mlinfra_lab.schema.common import now
from mlinfra_lab.schema.control import Launch
from mlinfra_lab.schema.endpoints import Endpoint, Revision
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
        Those that are wanted or serving, by `owner`.
    front, models
        Open launches, the latter by owner.
    down
        Whether the project was taken down.
    """

    endpoints: dict[str, Endpoint]
    revisions: dict[str, Revision]
    front: Launch | None
    models: dict[str, Launch]
    down: bool


def view(storage: Storage) -> View:
    """All endpoints, with what is needed to say how they are."""
    with storage.read() as connection:
        rows = connection.execute(sa.select(endpoints).order_by(endpoints.c.name))
        found = {row.name: from_row(row, Endpoint) for row in rows}
        needed = sa.and_(
            revisions.c.endpoint == endpoints.c.name,
            sa.or_(revisions.c.number == endpoints.c.wanted, revisions.c.number == endpoints.c.serving),
        )
        current = [
            from_row(row, Revision)
            for row in connection.execute(sa.select(revisions).join(endpoints, needed))
        ]
        opened = launches.opened(connection, (FRONT, MODEL))
        down = connection.execute(sa.select(meta.c.value).where(meta.c.key == DOWN)).scalar()
    return View(
        endpoints=found,
        revisions={owner(one.endpoint, one.number): one for one in current},
        front=next((one for one in opened if one.kind == FRONT), None),
        models={one.owner: one for one in opened if one.kind == MODEL},
        down=down is not None,
    )


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
    if known.wanted != known.serving:
        _retire(unit, new.endpoint, known.wanted)
    state = "up" if known.serving is not None else "starting"
    update(unit, new.endpoint, desired=True, wanted=new.number, state=state, reason=None)


def _retire(unit: Unit, name: str, number: int | None) -> None:
    going = ("preparing", "starting", "up")
    here = sa.and_(revisions.c.endpoint == name, revisions.c.number == number)
    unit.connection.execute(
        revisions.update().where(here, revisions.c.state.in_(going)).values(state="retired")
    )


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


def stop(unit: Unit, known: Endpoint) -> None:
    """Nothing shall answer under this name any more."""
    _retire(unit, known.name, known.wanted)
    _retire(unit, known.name, known.serving)
    update(unit, known.name, desired=False, state="stopped", serving=None, reason=None)


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


def switched(unit: Unit, name: str, number: int, url: str) -> None:
    """The front sends requests to this revision from now on."""
    known = endpoint(unit.connection, name)
    if known is None or not known.desired or known.wanted != number:
        return
    if known.serving != number:
        _retire(unit, name, known.serving)
    update_revision(unit, name, number, "starting", state="up")
    update(unit, name, serving=number, state="up", reason=None, url=url)
    unit.audit("switch", "endpoint", name, {"from": known.serving, "to": number})


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
