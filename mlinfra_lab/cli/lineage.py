"""``mlinfra lineage``: from a thing back to what made it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlinfra_lab.cli import complete
from mlinfra_lab.cli.base import Group, Session, pass_session

if TYPE_CHECKING:
    from mlinfra_lab.schema.lineage import Environment, Trace


@click.group("lineage", cls=Group, examples=["lineage show delay.1.2c.01f4a", "lineage show flights-delay/2"])
def lineage() -> None:
    """From an answer, a model, a run or a dataset back to everything that made it."""


@lineage.command(
    "show",
    examples=[
        "lineage show delay.1.2c.01f4a",
        "lineage show flights-delay/2",
        "lineage show flights@1 --json",
    ],
)
@click.argument("id", shell_complete=complete.traceable)
@pass_session
def show(session: Session, id: str) -> Trace:
    """What a thing was made from, down to cell, data, commit and environment.

    ID is a prediction's, a run's or a job's id, or a name with its version: flights-delay/2, flights@1.
    """
    return session.project.lineage.show(id)


@lineage.command("environment", examples=["lineage environment 4f2c91aa"])
@click.argument("hash")
@pass_session
def environment(session: Session, hash: str) -> Environment:
    """A Python environment as it was: version, platform, packages."""
    return session.project.lineage.environment(hash)
