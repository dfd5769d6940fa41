"""``mlinfra model``: registered models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlinfra_lab.cli import complete, waiting
from mlinfra_lab.cli.base import Group, Listing, Session, pass_session

if TYPE_CHECKING:
    from mlinfra_lab.schema.models import Model, ModelVersion


@click.group(
    "model", cls=Group,
    examples=["model register 4f2c91aa --name flights-delay --alias champion", "model list"],
)  # fmt: skip
def model() -> None:
    """Models in MLflow's registry: versions and the aliases that point to them."""


@model.command(
    "register",
    examples=[
        "model register 4f2c91aa --name flights-delay",
        "model register 4f2c91aa --name m --alias champion",
    ],
)
@click.argument("run", shell_complete=complete.runs)
@click.option("--name", required=True, metavar="NAME", help="The registered model; made if there is none.")
@click.option("--alias", metavar="ALIAS", help="Let this alias point to the new version.")
@pass_session
def register(session: Session, run: str, name: str, alias: str | None) -> ModelVersion:
    """Register the model that a run has logged as the next version."""
    ref = session.project.models.register(run, name, alias)
    return waiting.task(session, ref, f"register {name}")


@model.command("list", examples=["model list"])
@pass_session
def list_(session: Session) -> Listing[Model]:
    """All registered models."""
    empty = f"No models yet. Register a run's: {session.program}model register RUN --name NAME"
    return Listing(session.project.models.list(), "Model", empty)


@model.command("show", examples=["model show flights-delay@champion", "model show flights-delay/2"])
@click.argument("ref", metavar="NAME[@ALIAS|/VERSION]", shell_complete=complete.model_refs)
@pass_session
def show(session: Session, ref: str) -> ModelVersion:
    """One version of a model; without alias and version the newest."""
    return session.project.models.get(ref)


@model.command(
    "promote", examples=["model promote flights-delay/2", "model promote flights-delay/2 --alias shadow"]
)
@click.argument("ref", metavar="NAME/VERSION", shell_complete=complete.model_refs)
@click.option("--alias", default="champion", show_default=True, metavar="ALIAS", help="The alias to move.")
@pass_session
def promote(session: Session, ref: str, alias: str) -> ModelVersion:
    """Let an alias point to a version."""
    version = session.project.models.get(ref)
    moved = session.project.models.promote(version.name, version.version, alias)
    return waiting.task(session, moved, f"{alias} to {version.ref}")
