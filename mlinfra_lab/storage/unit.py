"""The one transaction."""

from __future__ import annotations

import base64
import os
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from mlinfra_lab.schema.common import JSON, now
from mlinfra_lab.schema.lineage import NodeKind
from mlinfra_lab.storage import tables

CHANNEL = "mlinfra"


def new_id(prefix: str) -> str:
    """A short random id: the prefix and eight letters of base 32 (40 bits)."""
    return prefix + base64.b32encode(os.urandom(5)).decode().lower()


class Unit:
    """What is written together.

    Made by `Storage.unit`. Everything goes through `connection`; what every change owes the rest of
    the product (feed, lineage, audit, follow-up work) has a method here.
    """

    def __init__(self, connection: sa.Connection, actor: str) -> None:
        self.connection = connection
        self.actor = actor
        self._fed = False

    def put(self, table: sa.Table, values: dict[str, Any]) -> None:
        """Insert the row, or replace the one with the same primary key."""
        insert = postgres_insert if self.connection.dialect.name == "postgresql" else sqlite_insert
        keys = [column.name for column in table.primary_key]
        statement = insert(table).values(**values)
        rest = {name: statement.excluded[name] for name in values if name not in keys}
        self.connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=rest))

    def changed(self, resource: str, id: str, change: str) -> None:
        """Append to the change feed: ``change`` is ``created``, ``updated`` or ``deleted``."""
        self.connection.execute(
            tables.feed.insert().values(resource=resource, id=id, change=change, at=now())
        )
        self._fed = True

    def link(
        self,
        source_kind: NodeKind,
        source: str,
        target_kind: NodeKind,
        target: str,
        relation: str,
        detail: JSON | None = None,
    ) -> None:
        """Record that ``target`` was made from, by or with ``source``; said twice it stands once."""
        self.put(
            tables.edges,
            {
                "source_kind": source_kind,
                "source": source,
                "target_kind": target_kind,
                "target": target,
                "relation": relation,
                "detail": detail or {},
                "at": now(),
            },
        )

    def audit(self, action: str, resource: str, id: str, detail: JSON | None = None) -> None:
        """Append to the audit log who did what to which thing."""
        self.connection.execute(
            tables.audit.insert().values(
                at=now(), actor=self.actor, action=action, resource=resource, id=id, detail=detail
            )
        )

    def task(self, work: str, key: str, args: JSON, idempotent: bool = True, id: str | None = None) -> str:
        """Queue a task in this same transaction and return its id.

        Parameters
        ----------
        work
            ``package.module:function``; the module's last name is ``work`` (see `tasks`).
        key
            The thing it works on; tasks of one key run one after the other.
        """
        task = id or new_id("t")
        self.connection.execute(
            tables.tasks.insert().values(
                id=task,
                work=work,
                key=key,
                state="queued",
                args=args,
                idempotent=idempotent,
                attempts=0,
                cancel_requested=False,
                created=now(),
                created_by=self.actor,
            )
        )
        self.changed("task", task, "created")
        return task

    def finish(self) -> None:
        """Last statement before the commit: on PostgreSQL, wake whoever listens."""
        if self.connection.dialect.name == "postgresql":
            self.connection.execute(sa.select(sa.func.pg_notify(CHANNEL, "")))
