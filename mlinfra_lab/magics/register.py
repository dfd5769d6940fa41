"""Registers the magics with IPython and shows what they return."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mlinfra_lab import errors
from mlinfra_lab.cli.base import Group, Listing, Session, StoppedWaiting, load
from mlinfra_lab.cli.shell import Root
from mlinfra_lab.cli.view import block
from mlinfra_lab.magics.face import Notebook

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

E = TypeVar("E", bound=BaseException)

NAMES = ("data", "cluster", "job", "runs", "model", "endpoint", "alert", "lineage", "demo")
"""The command groups that are magics."""

# Where the types of results live, by name, so that nothing is imported before one is shown.
_TYPES = {
    "mlinfra_lab.schema.data": ("Dataset", "DatasetVersion", "DatasetDiff"),
    "mlinfra_lab.schema.clusters": ("Cluster",),
    "mlinfra_lab.schema.jobs": ("Job", "JobDetail"),
    "mlinfra_lab.schema.runs": ("Run", "RunComparison"),
    "mlinfra_lab.schema.models": ("Model", "ModelVersion"),
    "mlinfra_lab.schema.endpoints": ("Endpoint", "Prediction", "Rollout", "HistoryEntry"),
    "mlinfra_lab.schema.monitoring": ("Link", "Alert"),
    "mlinfra_lab.schema.lineage": ("Trace", "Environment", "ReproduceReport"),
    "mlinfra_lab.schema.control": ("Status",),
    "mlinfra_lab.demo.traffic": ("Traffic",),
    "mlinfra_lab.demo.truth": ("TruthSent",),
    "mlinfra_lab.jobs.service": ("JobRef",),
    "mlinfra_lab.clusters.service": ("ClusterRef",),
    "mlinfra_lab.endpoints.refs": ("EndpointRef", "RolloutRef"),
}
_TEXT_COLUMNS = 110


def register(shell: InteractiveShell) -> None:
    """Register everything; see `mlinfra_lab.magics.load`."""
    from mlinfra_lab.magics.completion import IDENTIFIER, matcher

    face = Notebook(shell)
    for name in NAMES:
        shell.register_magic_function(_magic(name, face), "line", name)
    _show_results(shell, face)
    completer = shell.Completer
    if completer is not None:
        others = [
            one for one in completer.custom_matchers if getattr(one, "matcher_identifier", None) != IDENTIFIER
        ]
        completer.custom_matchers = [*others, matcher(face)]


def _magic(name: str, face: Notebook) -> Callable[[str], Any]:
    def magic(line: str) -> Any:
        return run(name, line, face)

    magic.__name__ = magic.__qualname__ = name
    magic.__doc__ = document(name)
    return magic


def document(name: str) -> str:
    """What ``%job?`` shows: the commands and lines to copy."""
    group = load(Root.table[name].target)
    assert isinstance(group, Group)
    lines = [inspect.cleandoc(group.help or ""), "", "Commands:"]
    room = max(len(one) for one in group.commands)
    for one, command in group.commands.items():
        lines.append(f"  %{name} {one:<{room}}  {command.get_short_help_str(limit=200)}")
    lines += ["", "Examples:"]
    seen = dict.fromkeys(
        [*group.examples, *(text for one in group.commands.values() for text in _examples(one))]
    )
    lines += [f"  %{text}" for text in seen]
    lines += [f"  result = %{group.examples[0]}", "", f"%{name} COMMAND --help says all about one."]
    return "\n".join(lines)


def _examples(command: click.Command) -> tuple[str, ...]:
    return getattr(command, "examples", ())


def run(name: str, line: str, face: Notebook) -> Any:
    """Run one line and return what its command returned.

    Raises
    ------
    MLInfraError
        What went wrong, shown as message and hint; the cell fails, and a job stops there.
    """
    session = Session(face)
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise short(
            errors.Invalid(f"The line cannot be split into words: {error}.", "Check its quotes.")
        ) from None
    command = load(Root.table[name].target)
    try:
        with command.make_context(f"%{name}", words, obj=session, max_content_width=100) as context:
            value = command.invoke(context)
    except click.exceptions.Exit:
        return None
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        return None
    except click.ClickException as error:
        from mlinfra_lab.cli.report import usage

        raise short(usage(error)) from None
    except click.Abort:
        raise short(errors.Conflict("Nothing was done.")) from None
    except StoppedWaiting as left:
        raise short(left) from None
    except errors.MLInfraError as error:
        raise short(error) from None
    if session.json:
        import json

        from mlinfra_lab.cli.render import as_json

        value = json.loads(as_json(value))
    if session.exit_code:
        _fail(value, session.exit_code)
    return value


def _fail(value: Any, code: int) -> None:
    """The command did what it should, and what it waited for failed: show that and fail, too."""
    from IPython.display import display

    from mlinfra_lab.cli.views import wire

    display(value)
    job = getattr(wire(value), "job", None)
    failure = getattr(job, "error", None)
    if failure is not None:
        raise short(errors.from_failure(failure))
    state = getattr(job, "state", "failed")
    raise short(errors.Failed(f"It ended with exit code {code} ({state})."))


def short(error: E) -> E:
    """The same error, which IPython shows as message and hint in place of a traceback.

    The cell's output is an ordinary ``error`` all the same: papermill needs one to stop.
    """
    name = type(error).__name__
    hint = getattr(error, "hint", None)
    # A message can quote what a notebook or a server wrote.
    first, *rest = block(str(error))
    lines = [f"\x1b[31m{name}\x1b[39m: {first}", *rest, *([f"hint: {hint}"] if hint else [])]
    error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]
    return error


# -- showing ----------------------------------------------------------------------------------------


def _show_results(shell: InteractiveShell, face: Notebook) -> None:
    formatters = shell.display_formatter.formatters
    html, text = formatters["text/html"], formatters["text/plain"]

    def as_html(value: Any) -> str | None:
        return _html(value, face.root)

    def as_text(value: Any, printer: Any, cycle: bool) -> None:
        # Inside of somebody's list or dict a card would tear it apart.
        nested = len(printer.stack) > 1
        printer.text(repr(value) if nested or cycle else _text(value, face.root))

    for module, names in _TYPES.items():
        for name in names:
            html.for_type_by_name(module, name, as_html)
            text.for_type_by_name(module, name, as_text)
    html.for_type(Listing, as_html)
    text.for_type(Listing, as_text)


def _html(value: Any, root: Path | None) -> str | None:
    from mlinfra_lab.cli.views import view
    from mlinfra_lab.magics.html import page

    seen = view(value, root)
    return None if seen is None else page(seen)


def _text(value: Any, root: Path | None) -> str:
    from mlinfra_lab.cli.term import Terminal
    from mlinfra_lab.cli.views import view

    seen = view(value, root)
    return repr(value) if seen is None else Terminal(colour=False, columns=_TEXT_COLUMNS).draw(seen)
