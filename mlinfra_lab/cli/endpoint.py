"""``mlinfra endpoint``: models that answer over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlinfra_lab.cli import complete
from mlinfra_lab.cli.base import Group, Listing, Seconds, Session, StoppedWaiting, pass_session, yes_option

if TYPE_CHECKING:
    from mlinfra_lab.endpoints import EndpointRef
    from mlinfra_lab.schema.endpoints import Endpoint, Prediction


@click.group(
    "endpoint", cls=Group,
    examples=[
        "endpoint publish flights-delay@champion --name delay",
        "endpoint token delay",
        "endpoint stop delay",
    ],
)  # fmt: skip
def endpoint() -> None:
    """Models that answer over HTTP; each answer has an id that leads back to what made it."""


@endpoint.command(
    "publish",
    examples=[
        "endpoint publish flights-delay@champion --name delay",
        "endpoint publish flights-delay/2 --name delay --no-wait",
    ],
)
@click.argument("model", metavar="NAME[@ALIAS|/VERSION]", shell_complete=complete.model_refs)
@click.option("--name", metavar="NAME", help="The endpoint's name; by default the model's.")
@click.option("--wait/--no-wait", default=True, help="Wait until it answers.")
@click.option("--timeout", type=Seconds(), metavar="S", help="Seconds to wait.")
@pass_session
def publish(session: Session, model: str, name: str | None, wait: bool, timeout: float | None) -> EndpointRef:
    """Let a model answer over HTTP.

    Waits until it does, then says its URL and a line that asks it something. An endpoint that is there
    already goes on answering with what it has until the new model is ready.
    """
    name = name or model.partition("@")[0].partition("/")[0]
    ref = session.project.endpoints.publish(model, name)
    if wait:
        try:
            with session.face.meter(f"endpoint {name}") as meter:
                meter("preparing", line=f"endpoint {name}: preparing {model}")

                def report(now: Endpoint) -> None:
                    meter(now.revision.state if now.revision else now.state)

                ref.wait(timeout, report)
        except KeyboardInterrupt:
            say = session.program
            raise StoppedWaiting(
                f"Interrupted; endpoint {name} goes on starting.",
                f"{say}endpoint show {name} · {say}endpoint stop {name}",
            ) from None
    return ref


@endpoint.command("list", examples=["endpoint list"])
@pass_session
def list_(session: Session) -> Listing[Endpoint]:
    """All endpoints."""
    empty = f"No endpoints yet. Publish a model: {session.program}endpoint publish MODEL --name NAME"
    return Listing(session.project.endpoints.list(), "Endpoint", empty)


@endpoint.command("show", examples=["endpoint show delay"])
@click.argument("name", shell_complete=complete.endpoints)
@pass_session
def show(session: Session, name: str) -> Endpoint:
    """One endpoint: state, model, URL, and a line that asks it something."""
    return session.project.endpoints.get(name)


@endpoint.command("predictions", examples=["endpoint predictions delay --limit 5"])
@click.argument("name", shell_complete=complete.endpoints)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many.")
@pass_session
def predictions(session: Session, name: str, limit: int) -> Listing[Prediction]:
    """The newest answers, each with its id."""
    empty = f"{name} has answered nothing yet."
    return Listing(session.project.endpoints.predictions(name, limit), "Prediction", empty)


@endpoint.command("token", examples=["endpoint token delay"])
@click.argument("name", shell_complete=complete.endpoints)
@pass_session
def token(session: Session, name: str) -> str:
    """The token that requests must carry: "Authorization: Bearer TOKEN"."""
    return session.project.endpoints.token(name)


@endpoint.command("stop", examples=["endpoint stop delay", "endpoint stop delay --yes"])
@click.argument("name", shell_complete=complete.endpoints)
@yes_option
@pass_session
def stop(session: Session, name: str, yes: bool) -> Endpoint:
    """Stop an endpoint. What it has answered stays and can be traced."""
    found = session.project.endpoints.get(name)
    if found.desired:
        at = f" at {found.url}" if found.url else ""
        session.confirm(f"Stop endpoint {name} ({found.state}{at})? Requests to it will fail.", yes)
        session.project.endpoints.stop(name)
    return session.project.endpoints.get(name)
