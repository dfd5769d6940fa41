"""``mlinfra demo``: the flights out of New York in 2013, as data and as traffic."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
import msgspec

from mlinfra_lab import humane
from mlinfra_lab.cli import complete, values
from mlinfra_lab.cli.base import Group, Listing, Meter, Session, pass_session

if TYPE_CHECKING:
    from mlinfra_lab.demo.traffic import Traffic
    from mlinfra_lab.demo.truth import TruthSent

Callback = Callable[..., Any]

_MANY = 10_000


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was written; ``path`` is relative to the project, ``size`` in bytes."""

    path: str
    size: int


@click.group(
    "demo", cls=Group,
    examples=[
        "demo data --months 1,2",
        "demo traffic --months 3 --endpoint delay",
        "demo truth --months 3 --endpoint delay",
    ],
)  # fmt: skip
def demo() -> None:
    """The flights out of New York in 2013: will this one arrive more than 15 minutes late?"""


@demo.command("data", examples=["demo data --months 1,2", "demo data --months 1-6"])
@click.option("--months", required=True, metavar="M,M|M-M", help="Months of 2013.")
@pass_session
def data(session: Session, months: str) -> Listing[Written]:
    """Write flights and weather as Parquet files, data/flights and data/weather."""
    wanted = values.months(months)
    root = session.project.root
    with session.face.meter("flights of 2013") as meter:
        meter("reading", line=f"flights of 2013: months {months}")
        # pandas comes along, and a typing mistake should be answered before that.
        from mlinfra_lab.demo import flights

        paths = flights.write(root, wanted)
    written = [Written(path=str(path.relative_to(root)), size=path.stat().st_size) for path in paths]
    return Listing(written, "Written", "Nothing was written.")


class Day(click.ParamType[dt.date]):
    """A day of 2013, with or without the year."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dt.date:
        """Read ``2013-07-21`` and ``07-21``."""
        if isinstance(value, dt.date):
            return value
        text = str(value).strip()
        try:
            day = dt.date.fromisoformat(text if text.count("-") == 2 else f"2013-{text}")
        except ValueError:
            self.fail(f"{value!r} is no day. Write it like 2013-07-21 or 07-21.", param, ctx)
        if day.year != 2013:
            self.fail(f"{day} is not in 2013, the year of the flights.", param, ctx)
        return day


_endpoint = click.option(
    "--endpoint", "name", default="delay", show_default=True, metavar="NAME",
    shell_complete=complete.endpoints, help="Whom to ask, or to tell.",
)  # fmt: skip


def _days(command: Callback) -> Callback:
    """Options that say which flights: by month, by day, or days of these months."""
    for option in (
        click.option("--until", type=Day(), metavar="DAY", help="The last day, itself included."),
        click.option(
            "--from", "since", type=Day(), metavar="DAY", help="The first day: 2013-07-21, or 07-21."
        ),
        click.option("--months", metavar="M,M|M-M", help="Months of 2013."),
    ):
        command = option(command)
    return command


@demo.command(
    "traffic",
    examples=[
        "demo traffic --months 3 --endpoint delay",
        "demo traffic --from 07-21 --until 07-31 --batch 100",
        "demo traffic --months 4 --limit 2000",
    ],
)
@_days
@_endpoint
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="At most so many flights, the earliest."
)
@click.option(
    "--batch", type=click.IntRange(min=1), default=500, show_default=True, metavar="N",
    help="Flights in one round of requests: five alone, the others together.",
)  # fmt: skip
@pass_session
def traffic(
    session: Session,
    months: str | None,
    since: dt.date | None,
    until: dt.date | None,
    name: str,
    limit: int | None,
    batch: int,
) -> Traffic:
    """Ask an endpoint about the flights of some months or days, in the order in which they left.

    Some requests have one row, most have many. Which flight got which answer is kept in the project's
    state, for `demo truth`.
    """
    wanted = _wanted(months, since, until)
    url, token = _reach(session, name)
    from mlinfra_lab.demo.asked import path_of
    from mlinfra_lab.demo.traffic import send

    file = path_of(session.project.state, name)
    with session.face.meter(f"flights to {name}") as meter:
        report = _report(meter, f"flights to {name}", "flights")
        return send(
            url, token, wanted, since=since, until=until, batch=batch, limit=limit, file=file, report=report
        )


@demo.command("truth", examples=["demo truth --months 4", "demo truth --from 07-21 --until 07-31"])
@_days
@_endpoint
@pass_session
def truth(
    session: Session, months: str | None, since: dt.date | None, until: dt.date | None, name: str
) -> TruthSent:
    """Tell an endpoint which of the flights it was asked about were late.

    By requests of thousands to /NAME/ground-truth. Flights that never arrived have no truth.
    """
    wanted = _wanted(months, since, until)
    url, token = _reach(session, name)
    from mlinfra_lab.demo.asked import path_of
    from mlinfra_lab.demo.truth import send

    file = path_of(session.project.state, name)
    with session.face.meter(f"truth to {name}") as meter:
        report = _report(meter, f"truth to {name}", "answers")
        return send(url, token, file, wanted, since=since, until=until, report=report)


def _wanted(months: str | None, since: dt.date | None, until: dt.date | None) -> list[int] | None:
    if months is None and (since is None or until is None):
        raise click.UsageError("Say which flights: --months, or --from and --until.")
    if since is not None and until is not None and since > until:
        raise click.UsageError(f"--from {since} is after --until {until}.")
    return None if months is None else values.months(months)


def _reach(session: Session, name: str) -> tuple[str, str]:
    endpoint = session.project.endpoints.get(name)
    if endpoint.url is None:
        from mlinfra_lab.errors import Conflict

        hint = f"See {session.program}endpoint show {name}"
        raise Conflict(f"Endpoint {name} is {endpoint.state} and has no address.", hint)
    return endpoint.url, session.project.endpoints.token(name)


def _report(meter: Meter, title: str, what: str) -> Callable[[int, int], None]:
    said = 0

    def report(done: int, total: int) -> None:
        nonlocal said
        # On a face that cannot redraw: a line for each tenth of a lot, and one at the end of a little.
        part = 10 * done // max(total, 1) if total >= _MANY else done // max(total, 1)
        text = f"{humane.count(done)} of {humane.count(total)} {what}"
        meter(text, done, total, line=f"{title}: {text}" if part > said else "")
        said = max(said, part)

    return report
