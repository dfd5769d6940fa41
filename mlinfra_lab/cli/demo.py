"""``mlinfra demo``: the flights out of New York in 2013, as data and as traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from mlinfra_lab import humane
from mlinfra_lab.cli import complete, values
from mlinfra_lab.cli.base import Group, Listing, Session, pass_session

if TYPE_CHECKING:
    from mlinfra_lab.demo.traffic import Traffic


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was written; ``path`` is relative to the project, ``size`` in bytes."""

    path: str
    size: int


@click.group(
    "demo", cls=Group, examples=["demo data --months 1,2", "demo traffic --months 3 --endpoint delay"]
)
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


@demo.command(
    "traffic", examples=["demo traffic --months 3 --endpoint delay", "demo traffic --months 4 --limit 2000"]
)
@click.option("--months", required=True, metavar="M,M|M-M", help="Months of 2013.")
@click.option(
    "--endpoint", "name", default="delay", show_default=True, metavar="NAME",
    shell_complete=complete.endpoints, help="Whom to ask.",
)  # fmt: skip
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="At most so many flights, the earliest."
)
@pass_session
def traffic(session: Session, months: str, name: str, limit: int | None) -> Traffic:
    """Ask an endpoint about the flights of some months, in the order in which they left.

    Some requests have one row, most have many.
    """
    wanted = values.months(months)
    endpoint = session.project.endpoints.get(name)
    if endpoint.url is None:
        from mlinfra_lab.errors import Conflict

        hint = f"See {session.program}endpoint show {name}"
        raise Conflict(f"Endpoint {name} is {endpoint.state} and has no address.", hint)
    from mlinfra_lab.demo.traffic import send

    said = 0
    with session.face.meter(f"flights to {name}") as meter:

        def report(done: int, total: int) -> None:
            nonlocal said
            tenth = 10 * done // max(total, 1)
            text = f"{humane.count(done)} of {humane.count(total)} flights"
            meter(text, done, total, line=f"flights to {name}: {text}" if tenth > said else "")
            said = max(said, tenth)

        return send(endpoint.url, session.project.endpoints.token(name), wanted, limit=limit, report=report)
