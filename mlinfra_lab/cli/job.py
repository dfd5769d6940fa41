"""``mlinfra job``: notebooks run as jobs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlinfra_lab.cli import complete, values, waiting
from mlinfra_lab.cli.base import Group, Listing, Seconds, Session, pass_session, yes_option

if TYPE_CHECKING:
    from mlinfra_lab.jobs import JobRef
    from mlinfra_lab.schema.jobs import Job, Parameter

_NOT_ENDED = 5


@click.group(
    "job", cls=Group,
    examples=["job run train.ipynb -p seed 1 --wait", "job list", "job show jk4m2xqab"],
)  # fmt: skip
def job() -> None:
    """Notebooks run as jobs, each in a process of its own.

    A job outlives the shell, the notebook and the server that asked for it.
    """


@job.command(
    "run",
    examples=[
        "job run train.ipynb -p months [1,2] -p C 0.5 -p seed 1",
        "job run train.ipynb -p seed 1 --output out.ipynb --timeout 600 --wait",
        "job run score.ipynb -r month 07 --env AWS_PROFILE",
    ],
)
@click.argument("notebook", shell_complete=complete.notebooks)
@click.option(
    "-p", "--parameter", "typed", nargs=2, multiple=True, metavar="NAME VALUE",
    shell_complete=complete.parameters,
    help="A parameter: True, False, None, a number, a JSON list or object, else a string. Repeat for more.",
)  # fmt: skip
@click.option(
    "-r", "--raw", nargs=2, multiple=True, metavar="NAME VALUE", shell_complete=complete.parameters,
    help="A parameter that is a string whatever it looks like.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="OUT", help="Where the executed notebook goes."
)
@click.option("-k", "--kernel", metavar="K", help="A kernel in place of the one that the notebook names.")
@click.option("--timeout", type=Seconds(), metavar="S", help="Seconds it may run.")
@click.option(
    "--env", "names", multiple=True, metavar="NAME",
    help="Hand on an environment variable with the value it has here. Repeat for more.",
)  # fmt: skip
@click.option("--wait", is_flag=True, help="Show progress by cell and end with the job's exit code.")
@pass_session
def run(
    session: Session,
    notebook: str,
    typed: tuple[tuple[str, str], ...],
    raw: tuple[tuple[str, str], ...],
    output: Path | None,
    kernel: str | None,
    timeout: float | None,
    names: tuple[str, ...],
    wait: bool,
) -> JobRef:
    """Run a notebook as a job.

    Answers at once, or with --wait when the job has ended. Ctrl-C while waiting leaves the job running.
    The notebook runs in its own folder; the values go into its cell tagged "parameters".
    """
    ref = session.project.jobs.submit(
        notebook,
        values.parameters(typed, raw),
        output=output,
        kernel=kernel,
        timeout=timeout,
        env=values.environment(names) or None,
    )
    if wait:
        ended = waiting.job(session, ref).job
        session.exit_code = _code(ended)
    return ref


@job.command("list", examples=["job list", "job list --limit 200 --json"])
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many.")
@pass_session
def list_(session: Session, limit: int) -> Listing[Job]:
    """The newest jobs."""
    empty = f"No jobs yet. Run a notebook: {session.program}job run NOTEBOOK"
    return Listing(session.project.jobs.list(limit), "Job", empty)


@job.command("show", examples=["job show jk4m2xqab", "job show jk4m2xqab --exit-code"])
@click.argument("id", shell_complete=complete.jobs)
@click.option(
    "--exit-code", "as_exit_code", is_flag=True,
    help="End with the job's own exit code, 5 while it has not ended.",
)  # fmt: skip
@pass_session
def show(session: Session, id: str, as_exit_code: bool) -> JobRef:
    """A job's progress, parameters, metrics, error, and the end of its log.

    ID may be cut short as long as it names one job.
    """
    ref = session.project.jobs.ref(id)
    if as_exit_code:
        session.exit_code = _code(ref.job)
    return ref


@job.command("cancel", examples=["job cancel jk4m2xqab", "job cancel jk4m2xqab --yes"])
@click.argument("id", shell_complete=complete.jobs)
@yes_option
@pass_session
def cancel(session: Session, id: str, yes: bool) -> Job:
    """Stop a job. What it has logged and written so far stays.

    Asks first; a script, which cannot answer, says --yes.
    """
    from mlinfra_lab.schema.jobs import JOB_ENDED

    found = session.project.jobs.get(id)
    if found.state not in JOB_ENDED:
        session.confirm(
            f"Cancel job {found.id} ({found.notebook}, {found.state}, of {found.created_by})?", yes
        )
    return session.project.jobs.cancel(found.id)


@job.command("parameters", examples=["job parameters train.ipynb"])
@click.argument("notebook", shell_complete=complete.notebooks)
@pass_session
def parameters(session: Session, notebook: str) -> Listing[Parameter]:
    """What a notebook may be given with -p."""
    empty = f'{notebook} takes no parameters: it has no cell tagged "parameters".'
    return Listing(session.project.jobs.parameters(notebook), "Parameter", empty)


def _code(job: Job) -> int:
    from mlinfra_lab.cli.views.jobs import exit_code

    code = exit_code(job)
    return _NOT_ENDED if code is None else code
