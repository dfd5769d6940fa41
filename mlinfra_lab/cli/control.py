"""``mlinfra up``, ``status``, ``down``: the project as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlinfra_lab import humane
from mlinfra_lab.cli.base import Command, Session, pass_session, yes_option

if TYPE_CHECKING:
    from mlinfra_lab.schema.control import Status

# What is not running needs no question before it is stopped.
_AT_REST = {"stopped", "down", "exited", "retired"}


@click.command("up", cls=Command, examples=["up"])
@pass_session
def up(session: Session) -> Status:
    """Start the controller, and with it everything that is wanted.

    Faces that want something start it by themselves; this is for after `mlinfra down` or a reboot.
    """
    project = session.project
    with session.face.meter(project.name) as meter:
        meter("starting the controller")
        project.controller.ensure()
    return project.status()


@click.command("status", cls=Command, examples=["status", "status --json"])
@pass_session
def status(session: Session) -> Status:
    """What is wanted, what is, and why they differ."""
    return session.project.status()


@click.command("down", cls=Command, examples=["down", "down --yes"])
@yes_option
@pass_session
def down(session: Session, yes: bool) -> Status:
    """Stop everything that runs. What was made stays, and `mlinfra up` goes on where it was.

    Says first what will be stopped and whose it is.
    """
    project = session.project
    now = project.status()
    running = [line for line in now.lines if line.actual not in _AT_REST]
    if running and not yes:
        for line in running:
            session.face.say(f"  {line.kind} {line.name} ({line.actual})")
        what = humane.plural(len(running), "thing")
        session.confirm(f"Stop {what} of {project.name} at {project.root}, run by {project.actor}?", yes)
    with session.face.meter(project.name) as meter:
        meter("stopping", line=f"{project.name}: stopping")
        project.controller.down()
    return project.status()
