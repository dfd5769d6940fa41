"""``mlinfra alert``: what endpoints' rules say, and what is done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlinfra_lab.cli import complete, values, waiting
from mlinfra_lab.cli.base import Group, Listing, Session, pass_session

if TYPE_CHECKING:
    from mlinfra_lab.project import Project
    from mlinfra_lab.schema.monitoring import Alert


@click.group("alert", cls=Group, examples=["alert list", "alert show 1", "alert act 1 --wait"])
def alert() -> None:
    """What endpoints' rules say: predictions that moved, quality that fell."""


@alert.command("list", examples=["alert list", "alert list delay"])
@click.argument("name", required=False, shell_complete=complete.endpoints)
@pass_session
def list_(session: Session, name: str | None) -> Listing[Alert]:
    """Alerts, newest first; of one endpoint when it is named."""
    found = session.project.monitoring.alerts(name)
    return Listing(found, "Alert", f"No alerts{f' of {name}' if name else ''}.")


@alert.command("show", examples=["alert show 1"])
@click.argument("number", type=click.IntRange(min=1), shell_complete=complete.alerts)
@pass_session
def show(session: Session, number: int) -> Alert:
    """One alert: what moved, since when, how much, and which features explain it."""
    return session.project.monitoring.alert(number)


@alert.command("ack", examples=["alert ack 1"])
@click.argument("number", type=click.IntRange(min=1), shell_complete=complete.alerts)
@pass_session
def ack(session: Session, number: int) -> Alert:
    """Say that you have seen an alert and look after it."""
    return session.project.monitoring.acknowledge(number)


@alert.command(
    "act", examples=["alert act 1", "alert act 1 --wait", "alert act 1 -p months [1,2,3,4,5,6] --wait"]
)
@click.argument("number", type=click.IntRange(min=1), shell_complete=complete.alerts)
@click.option(
    "-p", "--parameter", "typed", nargs=2, multiple=True, metavar="NAME VALUE",
    help="A parameter in place of the one the model was trained with. Repeat for more.",
)  # fmt: skip
@click.option(
    "-r", "--raw", nargs=2, multiple=True, metavar="NAME VALUE",
    help="A parameter that is a string whatever it looks like.",
)  # fmt: skip
@click.option("--wait", is_flag=True, help="Wait until the new model version is registered.")
@pass_session
def act(
    session: Session,
    number: int,
    typed: tuple[tuple[str, str], ...],
    raw: tuple[tuple[str, str], ...],
    wait: bool,
) -> Alert:
    """Train the serving model again, on the newest data, as a job; what comes of it is registered.

    The notebook and its parameters are those of the job that trained the model; parameters that name a
    dataset's version get the newest one. The new version answers nothing yet: roll it out with
    "endpoint rollout".
    """
    found = session.project.monitoring.act(number, values.parameters(typed, raw))
    if wait and found.job is not None:
        waiting.job(session, session.project.jobs.ref(found.job))
        found = _registered(session.project, number)
        session.exit_code = 0 if found.state in ("answered", "closed") else 1
    return found


def _registered(project: Project, number: int) -> Alert:
    from mlinfra_lab.storage.watch import wait

    watcher = project.storage.watcher()
    try:
        while (found := project.monitoring.alert(number)).state == "acting":
            project.controller.check()
            wait(watcher, 0.5)
    finally:
        watcher.close()
    return found
