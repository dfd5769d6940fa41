"""Errors as the shell says them: ``error:``, ``hint:``, an exit code; the unexpected goes to a log."""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
import tempfile
import traceback
from pathlib import Path

import click

from mlinfra_lab import errors
from mlinfra_lab.cli.base import Session, StoppedWaiting
from mlinfra_lab.cli.view import block

FAILED, USAGE, NOT_FOUND, CONFLICT, UNAVAILABLE, INTERRUPTED = 1, 2, 3, 4, 5, 130

_BY_CLASS: tuple[tuple[type[errors.MLInfraError], int], ...] = (
    (errors.NotFound, NOT_FOUND),
    (errors.Invalid, CONFLICT),
    (errors.Conflict, CONFLICT),
    (errors.TooLarge, CONFLICT),
    (errors.Unavailable, UNAVAILABLE),
)


def exit_code(error: errors.MLInfraError) -> int:
    """The exit code of an error's class."""
    return next((code for cls, code in _BY_CLASS if isinstance(error, cls)), FAILED)


def usage(error: click.ClickException) -> errors.Invalid:
    """A mistake in the command line, with where to read how it goes."""
    hint = None
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None:
        hint = f"{context.command_path} --help"
    return errors.Invalid(error.format_message(), hint)


def report(error: Exception, session: Session) -> int:
    """Say what went wrong, on stderr.

    Parameters
    ----------
    error
        An `MLInfraError` and click's own errors are for a person; anything else is a fault of ours,
        said in one line, its traceback kept in a log.

    Returns
    -------
    int
        The exit code.
    """
    problem: errors.MLInfraError
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return USAGE
    if isinstance(error, click.ClickException):
        code, problem, name = USAGE, usage(error), "usage"
    elif isinstance(error, errors.MLInfraError):
        code, problem, name = exit_code(error), error, error.code
    elif isinstance(error, UnicodeEncodeError) and (word := _unreadable()) is not None:
        code, name = CONFLICT, errors.Invalid.code
        problem = errors.Invalid(
            f"This locale's encoding ({sys.getfilesystemencoding()}) cannot read {word!a}.",
            "Say it in UTF-8: export LC_ALL=C.UTF-8, and leave out PYTHONUTF8=0.",
        )
    else:
        text = str(error).strip().splitlines()
        what = f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
        problem = errors.MLInfraError(what, f"The traceback is in {_keep(error, session)}.")
        code, name = FAILED, problem.code
    _say(problem, name, session.json)
    return code


def interrupted(error: BaseException) -> int:
    """Ctrl-C, or a question that was not answered with yes."""
    click.echo("", err=True)
    if isinstance(error, StoppedWaiting):
        click.echo(error.message, err=True)
        click.echo(f"{_dim('hint:')} {error.hint}", err=True)
    elif isinstance(error, click.Abort):
        click.echo("Nothing was done.", err=True)
        return FAILED
    return INTERRUPTED


def _unreadable() -> str | None:
    """The first word of the command line, or the folder it was typed in, that is no text here."""
    for word in (*sys.argv, str(Path.cwd())):
        if any("\udc80" <= sign <= "\udcff" for sign in word):
            return word
    return None


def _say(error: errors.MLInfraError, code: str, as_json: bool) -> None:
    if as_json:
        import msgspec

        from mlinfra_lab.schema.tasks import Failure

        failure = Failure(code=code, message=error.message, hint=error.hint, detail=error.detail)
        try:
            said = msgspec.json.encode(failure).decode()
        except UnicodeEncodeError:  # a file's name that is no text; only Python's own JSON escapes it
            said = json.dumps(msgspec.to_builtins(failure))
        click.echo(said, err=True)
        return
    kind = "internal: " if code == errors.MLInfraError.code else ""
    click.echo(f"{_red('error:')} {kind}{_clean(error.message)}", err=True)
    if error.hint:
        click.echo(f"{_dim('hint:')} {_clean(error.hint)}", err=True)


def _clean(text: str) -> str:
    # A message can quote what a notebook or a server wrote.
    return "\n".join(block(text))


def _red(text: str) -> str:
    from mlinfra_lab.cli.term import colours

    return f"\x1b[1;31m{text}\x1b[0m" if colours(sys.stderr) else text


def _dim(text: str) -> str:
    from mlinfra_lab.cli.term import colours

    return f"\x1b[2m{text}\x1b[0m" if colours(sys.stderr) else text


def _keep(error: Exception, session: Session) -> Path:
    """Append the traceback to the project's log, or to a file of its own where there is no project."""
    entry = f"{dt.datetime.now(dt.UTC).isoformat(timespec='seconds')} {' '.join(sys.argv)}\n"
    entry += "".join(traceback.format_exception(error)) + "\n"
    if session.opened is not None:
        path = session.opened.state / "logs" / "cli.log"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError:
            handle, name = tempfile.mkstemp(prefix="mlinfra-", suffix=".log")
            path = Path(name)
    else:
        handle, name = tempfile.mkstemp(prefix="mlinfra-", suffix=".log")
        path = Path(name)
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as log:
        log.write(entry)
    return path
