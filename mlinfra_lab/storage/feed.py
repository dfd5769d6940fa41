"""Reading the change feed: what was committed since somebody last looked."""

from __future__ import annotations

import sqlalchemy as sa

from mlinfra_lab.schema.control import Change
from mlinfra_lab.storage.database import Storage
from mlinfra_lab.storage.rows import from_row
from mlinfra_lab.storage.tables import feed


def latest(storage: Storage) -> int:
    """The newest revision; 0 when nothing was committed yet."""
    with storage.read() as connection:
        return int(connection.execute(sa.select(sa.func.max(feed.c.revision))).scalar() or 0)


def since(storage: Storage, revision: int, most: int = 1000) -> list[Change]:
    """What was committed after a revision, oldest first, at most so many."""
    query = sa.select(feed).where(feed.c.revision > revision).order_by(feed.c.revision).limit(most)
    with storage.read() as connection:
        return [from_row(row, Change) for row in connection.execute(query)]
