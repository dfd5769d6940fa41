"""``mlinfra lineage``: from a thing back to what made it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlinfra_lab.cli import complete, values
from mlinfra_lab.cli.base import Group, Session, StoppedWaiting, pass_session

if TYPE_CHECKING:
    from mlinfra_lab.schema.lineage import Environment, ReproduceReport, Trace


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


@lineage.command(
    "reproduce",
    examples=[
        "lineage reproduce delay.1.1.17",
        "lineage reproduce delay.1.1.17 delay.2.1.4 --dry-run",
        "lineage reproduce flights-delay@champion --again",
    ],
)
@click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=complete.traceable)
@click.option("--dry-run", is_flag=True, help="Only say what would be done, and what differs from then.")
@click.option("--again", is_flag=True, help="Train even where it was reproduced here before.")
@click.option(
    "--within", type=click.FloatRange(0, 1, max_open=True), default=1e-9, show_default=True, metavar="X",
    help="What numbers may be apart and still be equal.",
)  # fmt: skip
@click.option(
    "--env", "names", multiple=True, metavar="NAME",
    help="Hand on again a variable that the job was given. Repeat for more.",
)  # fmt: skip
@click.option(
    "--with-effects", "effects", is_flag=True,
    help="Let a notebook do again what it does besides training (register, publish).",
)  # fmt: skip
@pass_session
def reproduce(
    session: Session,
    ids: tuple[str, ...],
    dry_run: bool,
    again: bool,
    within: float,
    names: tuple[str, ...],
    effects: bool,
) -> ReproduceReport:
    """Train again what led to predictions or model versions, and compare.

    The kept notebook runs with its parameters, seed and numbers of threads on the data versions it read;
    one training serves all predictions of a model version. Exits 0 when everything is identical or equal, 1
    when something differs. Ctrl-C leaves the job running; asked again, it is picked up.
    """
    project = session.project
    env = values.environment(names)
    try:
        with session.face.meter("reproduce") as meter:
            report = project.reproduce(
                *ids, again=again, dry_run=dry_run, within=within, env=env, effects=effects, tell=meter
            )
    except KeyboardInterrupt:
        line = f"{session.program}lineage reproduce {' '.join(ids)}"
        raise StoppedWaiting(
            "Interrupted; what was submitted goes on.", f"Ask again for the verdict: {line}"
        ) from None
    if dry_run:
        session.exit_code = 1 if any(one.problems for one in report.trainings) else 0
    else:
        session.exit_code = 0 if report.verdict in ("identical", "equal") else 1
    return report


@lineage.command("environment", examples=["lineage environment 4f2c91aa"])
@click.argument("hash")
@pass_session
def environment(session: Session, hash: str) -> Environment:
    """A Python environment as it was: version, platform, packages."""
    return session.project.lineage.environment(hash)
