"""Rows of dataset versions."""

from __future__ import annotations

import sqlalchemy as sa

from mlinfra_lab.errors import Conflict
from mlinfra_lab.schema.data import Dataset, DatasetVersion
from mlinfra_lab.storage import Storage, Unit, from_row, to_row
from mlinfra_lab.storage.tables import dataset_versions as table
from mlinfra_lab.storage.tables import edges


def versions(storage: Storage, name: str) -> list[DatasetVersion]:
    """All versions of a dataset, newest first."""
    query = sa.select(table).where(table.c.dataset == name).order_by(table.c.version.desc())
    with storage.read() as connection:
        return [from_row(row, DatasetVersion) for row in connection.execute(query)]


def get(storage: Storage, name: str, version: int | None) -> DatasetVersion | None:
    """One version, the newest where none is named."""
    query = sa.select(table).where(table.c.dataset == name)
    if version is None:
        query = query.order_by(table.c.version.desc()).limit(1)
    else:
        query = query.where(table.c.version == version)
    with storage.read() as connection:
        row = connection.execute(query).first()
    return None if row is None else from_row(row, DatasetVersion)


def made_by(storage: Storage, name: str, commit: str, md5: str) -> DatasetVersion | None:
    """The version that stands for this hash at this commit."""
    query = sa.select(table).where(table.c.dataset == name, table.c["commit"] == commit, table.c.md5 == md5)
    with storage.read() as connection:
        row = connection.execute(query).first()
    return None if row is None else from_row(row, DatasetVersion)


def datasets(storage: Storage) -> list[Dataset]:
    """All datasets, by name."""
    counted = (
        sa.select(
            table.c.dataset, sa.func.count().label("count"), sa.func.max(table.c.version).label("newest")
        )
        .group_by(table.c.dataset)
        .subquery()
    )
    query = (
        sa.select(table, counted.c.count.label("count_"))
        .join(counted, (table.c.dataset == counted.c.dataset) & (table.c.version == counted.c.newest))
        .order_by(table.c.dataset)
    )
    found = []
    with storage.read() as connection:
        for row in connection.execute(query):
            latest = from_row(row, DatasetVersion)
            found.append(Dataset(name=latest.dataset, path=latest.path, versions=row.count_, latest=latest))
    return found


def check_binding(storage: Storage, name: str, path: str) -> None:
    """Hold that a dataset has one place, and a place one dataset.

    Raises
    ------
    Conflict
        Naming the other place, or the other dataset.
    """
    for dataset in datasets(storage):
        if dataset.name == name and dataset.path != path:
            raise Conflict(
                f"The dataset “{name}” is {dataset.path}, not {path}.", "Give the new one another name."
            )
        if dataset.path == path and dataset.name != name:
            raise Conflict(
                f"{path} is the dataset “{dataset.name}” already.",
                f"Leave the name out, or say “{dataset.name}”.",
            )


def next_version(unit: Unit, name: str) -> int:
    """The number of a dataset's next version, as this transaction sees it."""
    newest = sa.select(sa.func.max(table.c.version)).where(table.c.dataset == name)
    return (unit.connection.execute(newest).scalar() or 0) + 1


def add(unit: Unit, version: DatasetVersion, dvc_file: str) -> None:
    """Write a version with its lineage, feed and audit entries."""
    unit.connection.execute(table.insert().values(to_row(version, table)))
    unit.link("commit", version.commit, "dataset", version.ref, "holds", {"file": dvc_file})
    unit.changed("dataset", version.ref, "created")
    unit.audit("snapshot", "dataset", version.ref, {"path": version.path, "md5": version.md5})


def was_read(storage: Storage, version: DatasetVersion, job: str) -> bool:
    """Whether it is recorded that a job read this version."""
    query = sa.select(sa.literal(1)).where(
        edges.c.source_kind == "dataset",
        edges.c.source == version.ref,
        edges.c.target_kind == "job",
        edges.c.target == job,
        edges.c.relation == "read",
    )
    with storage.read() as connection:
        return connection.execute(query).first() is not None
