"""``mlinfra data``: datasets and their versions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlinfra_lab.cli import complete, waiting
from mlinfra_lab.cli.base import Group, Listing, Session, pass_session

if TYPE_CHECKING:
    from mlinfra_lab.schema.data import Dataset, DatasetDiff, DatasetVersion


@click.group(
    "data", cls=Group,
    examples=["data snapshot data/flights", "data list", "data diff flights@1 flights@2"],
)  # fmt: skip
def data() -> None:
    """Datasets and their versions: plain DVC outputs, each version a git commit."""


@data.command(
    "snapshot",
    examples=[
        "data snapshot data/flights",
        'data snapshot data/raw.parquet --name raw -m "from the warehouse"',
    ],
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", metavar="NAME", help="The dataset's name; by default that of the file or folder.")
@click.option("-m", "--message", metavar="TEXT", help="What is new in this version.")
@pass_session
def snapshot(session: Session, path: Path, name: str | None, message: str | None) -> DatasetVersion:
    """Keep a file or folder as the next version of a dataset.

    Commits its own files only. When nothing has changed since the newest version, that one is the answer.
    """
    ref = session.project.data.snapshot(path, name=name, message=message)
    return waiting.task(session, ref, f"snapshot of {path.name or path}")


@data.command("list", examples=["data list", "data list --json"])
@pass_session
def list_(session: Session) -> Listing[Dataset]:
    """All datasets with their newest version."""
    empty = f"No datasets yet. Keep a file or folder: {session.program}data snapshot PATH"
    return Listing(session.project.data.list(), "Dataset", empty)


@data.command("log", examples=["data log flights"])
@click.argument("name", shell_complete=complete.dataset_names)
@pass_session
def log(session: Session, name: str) -> Listing[DatasetVersion]:
    """All versions of a dataset, newest first."""
    return Listing(session.project.data.log(name), "DatasetVersion", f"{name} has no versions.")


@data.command("show", examples=["data show flights", "data show flights@1"])
@click.argument("ref", metavar="NAME[@VERSION]", shell_complete=complete.dataset_refs)
@pass_session
def show(session: Session, ref: str) -> DatasetVersion:
    """One version: rows, size, schema and the statistics of its columns."""
    return session.project.data.get(ref)


@data.command("diff", examples=["data diff flights@1 flights@2"])
@click.argument("before", shell_complete=complete.dataset_refs)
@click.argument("after", shell_complete=complete.dataset_refs)
@pass_session
def diff(session: Session, before: str, after: str) -> DatasetDiff:
    """What differs between two versions: rows, size, columns and their statistics."""
    return session.project.data.diff(before, after)
