"""The shell's face: the table of commands, and what happens around one."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import click

from mlinfra_lab.cli.base import Entry, LazyGroup, Meter, Session, project_option

if TYPE_CHECKING:
    from mlinfra_lab.project import Project

_HERE = "mlinfra_lab.cli"
_LIFE, _PROJECT, _DEMO = "From data to answers", "The project", "To try it"

_EPILOG = """\
\b
Exit codes: 0 done · 1 failed · 2 wrong usage · 3 not found · 4 invalid, or in conflict with
what is there · 5 something needed is not available · 130 interrupted. `job run --wait` and
`job show --exit-code` end with the job's own code, which is papermill's.

\b
Tables are for people: piped, they become tab-separated columns with exact values; --json gives
JSON, documented in mlinfra_lab/schema. NO_COLOR is honoured.

\b
Completion: eval "$(_MLINFRA_COMPLETE=bash_source mlinfra)"   (or zsh_source, fish_source)
"""


class Root(LazyGroup):
    """``mlinfra``."""

    table: ClassVar[dict[str, Entry]] = {
        "init": Entry(f"{_HERE}.init:init", "Make a folder a project.", _PROJECT),
        "up": Entry(f"{_HERE}.control:up", "Start the controller.", _PROJECT),
        "status": Entry(f"{_HERE}.control:status", "What is wanted, what is, and why they differ.", _PROJECT),
        "down": Entry(f"{_HERE}.control:down", "Stop what runs, saying first what it is.", _PROJECT),
        "data": Entry(f"{_HERE}.data:data", "Datasets and their versions.", _LIFE),
        "cluster": Entry(f"{_HERE}.cluster:cluster", "Dask clusters.", _LIFE),
        "job": Entry(f"{_HERE}.job:job", "Notebooks run as jobs.", _LIFE),
        "runs": Entry(f"{_HERE}.runs:runs", "MLflow's runs, side by side.", _LIFE),
        "model": Entry(f"{_HERE}.model:model", "Registered models and their aliases.", _LIFE),
        "endpoint": Entry(f"{_HERE}.endpoint:endpoint", "Models that answer over HTTP.", _LIFE),
        "alert": Entry(f"{_HERE}.alert:alert", "Predictions that moved, quality that fell.", _LIFE),
        "deploy": Entry(f"{_HERE}.endpoint:publish", "The same as endpoint publish.", _LIFE),
        "lineage": Entry(f"{_HERE}.lineage:lineage", "From an answer back to what made it.", _LIFE),
        "demo": Entry(f"{_HERE}.demo:demo", "The flights of 2013, as data and as traffic.", _DEMO),
    }


def _version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from mlinfra_lab.version import __version__

        click.echo(f"mlinfra {__version__}")
        context.exit()


root = Root(
    "mlinfra",
    help="The whole life of a machine-learning model: data, clusters, jobs, runs, models, endpoints.\n\n"
    "Say what you want; one controller for each project makes it so, and everything that was made can be "
    "traced back to the cell that made it.",
    epilog=_EPILOG,
    params=[
        project_option(),
        click.Option(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version,
            help="Print the version and exit.",
        ),
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)  # fmt: skip


class Terminal:
    """The shell as a `mlinfra_lab.cli.base.Face`."""

    name: Literal["shell", "notebook"] = "shell"

    def meter(self, title: str) -> AbstractContextManager[Meter]:
        """A bar on a terminal, else a line for each step, on stderr either way."""
        from mlinfra_lab.cli.progress import meter

        return meter(title)

    def say(self, text: str) -> None:
        """One line on stderr."""
        click.echo(text, err=True)

    def confirm(self, question: str, hint: str) -> bool:
        """Ask on the terminal; where nobody can answer, refuse with the hint."""
        if not sys.stdin.isatty():
            from mlinfra_lab.errors import Conflict

            raise Conflict(f"Nobody is here to answer: {question}", hint)
        return click.confirm(question, default=False, err=True)

    def namespace(self) -> dict[str, Any] | None:
        """The shell has no variables of ours."""
        return None

    def open(self, path: Path | None) -> Project:
        """The named project, else the nearest one upwards."""
        from mlinfra_lab.project import Project

        return Project.find(path)


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command line and show what it returns.

    Parameters
    ----------
    argv
        Arguments without the program's name; those of the process by default.

    Returns
    -------
    int
        The exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _complete()
    _open_streams()
    session = Session(Terminal())
    # Looked for by hand: a line that cannot be parsed must still be answered in JSON.
    session.json = "--json" in arguments
    try:
        code = _run(arguments, session)
        sys.stdout.flush()
    except BrokenPipeError:
        _give_up_stdout()
        return 141
    except OSError as error:
        return _unwritten(error, session)
    finally:
        if session.opened is not None:
            session.opened.close()
    return code


def _run(arguments: list[str], session: Session) -> int:
    try:
        with root.make_context("mlinfra", arguments, obj=session) as context:
            value = root.invoke(context)
            if value is not None:
                from mlinfra_lab.cli.render import show

                show(value, session.json, session.opened.root if session.opened else None)
    except click.exceptions.Exit as error:
        return error.exit_code
    except BrokenPipeError:
        raise
    except OSError as error:
        if _printed(error):
            raise
        from mlinfra_lab.cli.report import report

        return report(error, session)
    except (KeyboardInterrupt, click.Abort) as error:
        from mlinfra_lab.cli.report import interrupted

        return interrupted(error)
    except Exception as error:  # every class has its exit code there, the unexpected its log
        from mlinfra_lab.cli.report import report

        return report(error, session)
    return session.exit_code


def _complete() -> None:
    # Click looks at the program's name, which is __main__.py under `python -m`; ours is always the same.
    asked = os.environ.get("_MLINFRA_COMPLETE")
    if asked:
        from click.shell_completion import shell_complete

        raise SystemExit(
            shell_complete(root, {"obj": Session(Terminal())}, "mlinfra", "_MLINFRA_COMPLETE", asked)
        )


def _open_streams() -> None:
    # Under `>&-` the next file to be opened, the database for one, would become standard output.
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))
    # What a locale cannot write is shown all the same: as question marks on stdout, escaped on stderr.
    for stream, errors in ((sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def _printed(error: OSError) -> bool:
    """Whether it happened as the answer was written: click's ``echo`` or our ``show`` raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_name in ("echo", "show")


def _unwritten(error: OSError, session: Session) -> int:
    from mlinfra_lab.cli.report import report
    from mlinfra_lab.errors import Failed

    _give_up_stdout()
    return report(Failed(f"Standard output cannot be written: {error.strerror}."), session)


def _give_up_stdout() -> None:
    # Nobody reads us (`| head`, a full disk). The interpreter flushes stdout at exit and would complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
