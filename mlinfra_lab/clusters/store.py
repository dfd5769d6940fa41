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
    """The processes of one start of a cluster.

    Attributes
    ----------
    published
        What the newest scheduler that said anything has said, whether or not it lives.
    scheduler
        The newest launch of the scheduler.
    ended
        Launches that are over, newest first.
    workers
        How many worker launches are not over.
    """

    published: JSON
    scheduler: Launch | None
    ended: tuple[Launch, ...]
    workers: int

    @property
    def scheduler_up(self) -> bool:
        """Whether a scheduler lives and listens."""
        return _listens(self.scheduler)

    @property
    def any_open(self) -> bool:
        """Whether any process is left."""
        return self.workers > 0 or (self.scheduler is not None and self.scheduler.state in launches.OPEN)


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
    found = [from_row(row, Launch) for row in connection.execute(mine)]
    schedulers = [one for one in found if one.kind == SCHEDULER]
    return Processes(
        published=_published(schedulers),
        scheduler=schedulers[0] if schedulers else None,
        ended=tuple(one for one in found if one.state not in launches.OPEN),
        workers=sum(1 for one in found if one.kind == WORKER and one.state in launches.OPEN),
    )


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
