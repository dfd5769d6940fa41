"""Single values that belong to the project as a whole."""

from __future__ import annotations

import sqlalchemy as sa

from mlinfra_lab.storage.database import Storage
from mlinfra_lab.storage.tables import meta
from mlinfra_lab.storage.unit import Unit


def get(storage: Storage, key: str) -> str | None:
    """The value, if there is one."""
    with storage.read() as connection:
        return connection.execute(sa.select(meta.c.value).where(meta.c.key == key)).scalar()


def put(unit: Unit, key: str, value: str | None) -> None:
    """Set the value; ``None`` takes it away."""
    if value is None:
        unit.connection.execute(meta.delete().where(meta.c.key == key))
    else:
        unit.put(meta, {"key": key, "value": value})
    unit.changed("meta", key, "updated")
