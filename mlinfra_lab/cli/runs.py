"""``mlinfra runs``: MLflow's runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlinfra_lab.cli import complete
from mlinfra_lab.cli.base import Group, Listing, Session, pass_session

if TYPE_CHECKING:
    from mlinfra_lab.schema.runs import Run, RunComparison


@click.group("runs", cls=Group, examples=["runs list", "runs compare 4f2c91aa 8d1e0c37 --metric log_loss"])
def runs() -> None:
    """MLflow's runs: lists, one, and several side by side."""


@runs.command("list", examples=["runs list", "runs list --experiment flights --limit 10"])
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many.")
@click.option("--experiment", metavar="NAME", help="Only those of one experiment.")
@pass_session
def list_(session: Session, limit: int, experiment: str | None) -> Listing[Run]:
    """The newest runs with parameters and metrics."""
    empty = f"No runs yet. A notebook that uses mlflow makes them: {session.program}job run NOTEBOOK"
    return Listing(session.project.runs.list(limit, experiment), "Run", empty)


@runs.command("show", examples=["runs show 4f2c91aa"])
@click.argument("id", shell_complete=complete.runs)
@pass_session
def show(session: Session, id: str) -> Run:
    """One run. ID may be cut short as long as it names one run."""
    return session.project.runs.get(id)


@runs.command(
    "compare", examples=["runs compare 4f2c91aa 8d1e0c37", "runs compare 4f2c91aa 8d1e0c37 --metric log_loss"]
)
@click.argument("ids", nargs=-1, required=True, metavar="ID ID...", shell_complete=complete.runs)
@click.option("--metric", metavar="NAME", help="Say which run is better by this metric.")
@pass_session
def compare(session: Session, ids: tuple[str, ...], metric: str | None) -> RunComparison:
    """Runs side by side: what differs first."""
    if len(ids) < 2:
        raise click.UsageError("Name at least two runs.")
    return session.project.runs.compare(list(ids), metric)
