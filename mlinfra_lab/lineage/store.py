"""Rows of edges and environments."""

from __future__ import annotations

import sqlalchemy as sa

from mlinfra_lab.schema.lineage import Edge, Environment, NodeKind
from mlinfra_lab.storage import Storage, from_row, to_row
from mlinfra_lab.storage.tables import edges, environments


def sources(storage: Storage, nodes: set[tuple[NodeKind, str]]) -> list[Edge]:
    """The edges that end in any of these nodes."""
    if not nodes:
        return []
    here = sa.tuple_(edges.c.target_kind, edges.c.target).in_(sorted(nodes))
    query = sa.select(edges).where(here).order_by(edges.c.at)
    with storage.read() as connection:
        return [from_row(row, Edge) for row in connection.execute(query)]


def targets(storage: Storage, kind: NodeKind, id: str) -> list[Edge]:
    """The edges that begin in a node."""
    query = sa.select(edges).where(edges.c.source_kind == kind, edges.c.source == id).order_by(edges.c.at)
    with storage.read() as connection:
        return [from_row(row, Edge) for row in connection.execute(query)]


def add_environment(storage: Storage, environment: Environment) -> None:
    """Keep a record; one that is there already stays as it was first made."""
    if environment_of(storage, environment.hash) is not None:
        return
    with storage.unit() as unit:
        unit.put(environments, to_row(environment, environments))
        unit.changed("environment", environment.hash, "created")


def environment_of(storage: Storage, hash: str) -> Environment | None:
    """One record."""
    query = sa.select(environments).where(environments.c.hash == hash)
    with storage.read() as connection:
        row = connection.execute(query).first()
    return None if row is None else from_row(row, Environment)
