"""Where aliases were last seen, and where tasks that wait will move them."""

from __future__ import annotations

import sqlalchemy as sa

from mlinfra_lab.schema.common import JSON
from mlinfra_lab.storage import Unit
from mlinfra_lab.storage import meta as metas
from mlinfra_lab.storage.tables import meta, tasks

PROMOTE = "mlinfra_lab.models.work:promote"
_KEY = "alias:"
GONE = "gone"


def seen(connection: sa.Connection, name: str, model: str, alias: str) -> str | None:
    """Where the alias of an endpoint was when it was last dealt with: a version, or that it is gone."""
    value = connection.execute(sa.select(meta.c.value).where(meta.c.key == f"{_KEY}{name}")).scalar()
    what, _, at = (value or "").rpartition("=")
    return at if what == f"{model}@{alias}" else None


def keep(unit: Unit, name: str, model: str, alias: str, at: int | None) -> None:
    """Write down where an alias is; ``None``: nowhere."""
    metas.put(unit, f"{_KEY}{name}", f"{model}@{alias}={GONE if at is None else at}")


def gone(connection: sa.Connection) -> dict[str, str]:
    """``MODEL@ALIAS`` by endpoint, of the aliases that somebody has removed."""
    query = sa.select(meta.c.key, meta.c.value).where(meta.c.key.startswith(_KEY, autoescape=True))
    found = ((row.key.removeprefix(_KEY), *row.value.rpartition("=")) for row in connection.execute(query))
    return {name: what for name, what, _, at in found if at == GONE}


def condition(connection: sa.Connection, name: str, model: str, alias: str) -> JSON:
    """What a task must find that moves an alias from where it was seen; nothing when that is not known."""
    at = seen(connection, name, model, alias)
    return {} if at is None else {"only_if": None if at == GONE else int(at)}


def waiting(connection: sa.Connection, model: str, alias: str) -> list[JSON]:
    """What the tasks are to do that will move an alias, in the order in which they will."""
    query = (
        sa.select(tasks.c.args)
        .where(tasks.c.work == PROMOTE, tasks.c.key == f"models:{model}")
        .where(tasks.c.state.in_(("queued", "running")))
        .order_by(tasks.c.created, tasks.c.id)
    )
    return [row.args for row in connection.execute(query) if row.args["alias"] == alias]
