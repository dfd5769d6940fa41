"""``mlinfra init``: a folder becomes a project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlinfra_lab.cli.base import Command, Session, pass_session

if TYPE_CHECKING:
    from mlinfra_lab.schema.project import InitReport


@click.command("init", cls=Command, examples=["init", "init ~/flights --tutorial"])
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--tutorial", is_flag=True, help="Copy the tutorials and the job templates into the folder.")
@pass_session
def init(session: Session, folder: Path | None, tutorial: bool) -> InitReport:
    """Make a folder a project: this one, or FOLDER, which is made if it is not there.

    git, DVC and MLflow that are there are taken as they are; what is missing is added, and what was added
    is one git commit of its own files. Done again, it only adds what is missing.
    """
    from mlinfra_lab.initialise import initialise

    place = folder or session.path or Path()
    with session.face.meter(f"project in {place}") as meter:
        meter("git, DVC, mlinfra.toml")
        return initialise(place, tutorial)
