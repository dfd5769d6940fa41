"""Rows of clusters, and those of their processes."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import sqlalchemy as sa

from mlinfra_lab.schema.clusters import Cluster
from mlinfra_lab.schema.common import JSON, now
from mlinfra_lab.schema.control import Launch
from mlinfra_lab.storage import Unit, from_row, launches, to_row
from mlinfra_lab.storage.tables import clusters as table
from mlinfra_lab.storage.tables import launches as launch_table

SCHEDULER = "dask-scheduler"
WORKER = "dask-worker"
KINDS = frozenset({SCHEDULER, WORKER})


class Owner(msgspec.Struct, frozen=True):
    """Whose process it is, as launches name it: ``NAME.GENERATION`` or ``NAME.GENERATION.INDEX``."""

    cluster: str
    generation: int
    index: int | None = None

    def __str__(self) -> str:
        parts = (self.cluster, self.generation, self.index)
        return ".".join(str(part) for part in parts if part is not None)

    @classmethod
    def parse(cls, text: str) -> Owner:
        """The owner that `str` wrote."""
        name, generation, *index = text.split(".")
        return cls(name, int(generation), int(index[0]) if index else None)

    @property
    def scheduler(self) -> Owner:
        """The scheduler this process belongs to."""
        return Owner(self.cluster, self.generation)


class Processes(msgspec.Struct, frozen=True):
    """The processes of one start of a cluster, those that are over as well; newest first."""

    launches: tuple[Launch, ...] = ()

    @property
    def scheduler(self) -> Launch | None:
        """The newest launch of the scheduler."""
        return next((one for one in self.launches if one.kind == SCHEDULER), None)

    @property
    def published(self) -> JSON:
        """What the newest scheduler that said anything has said, whether or not it lives."""
        return _published(one for one in self.launches if one.kind == SCHEDULER)

    @property
    def scheduler_up(self) -> bool:
        """Whether a scheduler lives and listens."""
        return _listens(self.scheduler)

    @property
    def any_open(self) -> bool:
        """Whether any process is left."""
        return any(one.state in launches.OPEN for one in self.launches)

    def by_owner(self) -> dict[str, list[Launch]]:
        """The launches of each owner, newest first."""
        found: dict[str, list[Launch]] = {}
        for one in self.launches:
            found.setdefault(one.owner, []).append(one)
        return found


def get(connection: sa.Connection, name: str) -> Cluster | None:
    """One cluster's row."""
    row = connection.execute(sa.select(table).where(table.c.name == name)).first()
    return None if row is None else from_row(row, Cluster)


def rows(connection: sa.Connection) -> dict[str, Cluster]:
    """All clusters that were ever asked for, by name."""
    found = connection.execute(sa.select(table).order_by(table.c.name))
    return {row.name: from_row(row, Cluster) for row in found}


def put(unit: Unit, cluster: Cluster, before: Cluster | None) -> Cluster:
    """Write a cluster's row, with its moment and its feed entry."""
    cluster = msgspec.structs.replace(cluster, changed=now())
    unit.put(table, to_row(cluster, table))
    unit.changed("cluster", cluster.name, "created" if before is None else "updated")
    return cluster


def opened(connection: sa.Connection) -> list[tuple[str, Owner]]:
    """Kind and owner of every process of any cluster that is not over."""
    return [(one.kind, Owner.parse(one.owner)) for one in launches.opened(connection, KINDS)]


def processes(connection: sa.Connection, cluster: Cluster) -> Processes:
    """The processes of a cluster's present start."""
    owner = Owner(cluster.name, cluster.generation)
    mine = (
        sa.select(launch_table)
        .where(
            launch_table.c.kind.in_(KINDS),
            sa.or_(
                launch_table.c.owner == str(owner),
                launch_table.c.owner.startswith(f"{owner}.", autoescape=True),
            ),
        )
        .order_by(launch_table.c.created.desc())
    )
    return Processes(tuple(from_row(row, Launch) for row in connection.execute(mine)))


def published(connection: sa.Connection, kind: str, owner: Owner) -> JSON:
    """What the newest process of this kind and owner that said anything has said."""
    query = (
        sa.select(launch_table)
        .where(launch_table.c.kind == kind, launch_table.c.owner == str(owner))
        .order_by(launch_table.c.created.desc())
    )
    return _published(from_row(row, Launch) for row in connection.execute(query))


def living_scheduler(connection: sa.Connection, owner: Owner) -> JSON:
    """What the scheduler that lives and listens has said; empty while there is none."""
    launch = launches.latest(connection, SCHEDULER, str(owner))
    return launch.info if _listens(launch) and launch is not None else {}


def _listens(launch: Launch | None) -> bool:
    if launch is None or launch.state != "running" or "address" not in launch.info:
        return False
    return launches.alive(launch) is not False


def _published(newest_first: Iterable[Launch]) -> JSON:
    return next((one.info for one in newest_first if one.info), {})
