"""``mlinfra endpoint``: models that answer over HTTP."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from mlinfra_lab import humane
from mlinfra_lab.cli import complete
from mlinfra_lab.cli.base import Group, Listing, Seconds, Session, StoppedWaiting, pass_session, yes_option

if TYPE_CHECKING:
    from mlinfra_lab.endpoints import EndpointRef, RolloutRef
    from mlinfra_lab.schema.endpoints import Endpoint, HistoryEntry, Prediction, Rollout
    from mlinfra_lab.schema.monitoring import Link


class Shares(click.ParamType[tuple[float, ...]]):
    """``20,50,100``: shares of the requests in per cent."""

    name = "shares"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """As fractions of one; whether they are steps is the service's to say."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part.strip().rstrip("%")) / 100 for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} are no shares in per cent, like 20,50,100.", param, ctx)


@click.group(
    "endpoint", cls=Group,
    examples=[
        "endpoint publish flights-delay@champion --name delay",
        "endpoint rollout delay flights-delay/2",
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


@endpoint.command(
    "rollout",
    examples=[
        "endpoint rollout delay flights-delay/2",
        "endpoint rollout delay flights-delay/2 --steps 10,50,100 --wait",
    ],
)
@click.argument("name", shell_complete=complete.endpoints)
@click.argument("model", metavar="MODEL[@ALIAS|/VERSION]", shell_complete=complete.model_refs)
@click.option("--steps", type=Shares(), metavar="20,50,100", help="Per cent of the requests, step by step.")
@click.option("--alias", metavar="ALIAS", help="Moves to the version when it is promoted.")
@click.option("--wait/--no-wait", default=False, help="Wait until it is promoted.")
@click.option("--timeout", type=Seconds(), metavar="S", help="Seconds to wait.")
@pass_session
def rollout(
    session: Session,
    name: str,
    model: str,
    steps: tuple[float, ...] | None,
    alias: str | None,
    wait: bool,
    timeout: float | None,
) -> RolloutRef:
    """Try a model beside the one that answers, and promote it step by step.

    Errors, latency and quality on the same truths are compared with the version that answers. What does not
    hold is rolled back by itself.
    """
    ref = session.project.endpoints.rollout(name, model, steps, alias=alias)
    if wait:
        try:
            with session.face.meter(f"rollout of {name}") as meter:
                said = ""

                def report(now: Rollout) -> None:
                    nonlocal said
                    label = (
                        "starting"
                        if now.state == "starting"
                        else f"{humane.share(now.share)} of the requests"
                    )
                    line = f"{name}: {label}" if label != said else ""
                    said = label
                    meter(label, now.step, len(now.steps), line, failed=now.state == "rolled_back")

                ref.wait(timeout, report)
        except KeyboardInterrupt:
            say = session.program
            raise StoppedWaiting(
                f"Interrupted; the rollout of {name} goes on.",
                f"{say}endpoint show {name} · {say}endpoint rollback {name}",
            ) from None
    return ref


@endpoint.command(
    "rollback", examples=["endpoint rollback delay", 'endpoint rollback delay --reason "too slow"']
)
@click.argument("name", shell_complete=complete.endpoints)
@click.option("--reason", metavar="TEXT", help="For the endpoint's history.")
@pass_session
def rollback(session: Session, name: str, reason: str | None) -> Endpoint:
    """End a rollout, or go back at once to the model that answered before."""
    return session.project.endpoints.rollback(name, reason)


@endpoint.command("history", examples=["endpoint history delay", "endpoint history delay --limit 5"])
@click.argument("name", shell_complete=complete.endpoints)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many.")
@pass_session
def history(session: Session, name: str, limit: int) -> Listing[HistoryEntry]:
    """What happened to an endpoint, and why; newest first."""
    empty = f"Nothing has happened to {name} yet."
    return Listing(session.project.endpoints.history(name, limit), "HistoryEntry", empty)


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
    """One endpoint: state, model, URL, its rollout, and a line that asks it something."""
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


@endpoint.command("open", examples=["endpoint open delay", "endpoint open delay --no-browser"])
@click.argument("name", shell_complete=complete.endpoints)
@click.option("--browser/--no-browser", default=True, help="Open it here, where there is a screen.")
@click.option("--timeout", type=Seconds(), default=60.0, metavar="S", help="Seconds to wait for the server.")
@pass_session
def open_(session: Session, name: str, browser: bool, timeout: float) -> Link:
    """An endpoint's page: who answers, traffic, drift, quality, alerts.

    Prints a link that lets one browser in, within a minute.
    """
    link = session.project.pages.open(name, timeout)
    if browser and not session.json and not session.notebook and has_screen():
        import webbrowser

        webbrowser.open(link.url)
    return link


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


def has_screen() -> bool:
    """Whether a person sits at a terminal with a screen beside it."""
    if not sys.stdout.isatty():
        return False
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
