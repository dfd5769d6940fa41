"""What all commands share: the session, and groups and commands that know ``--project`` and ``--json``.

A command's callback takes the `Session` (with `pass_session`), returns what it made or found, and prints
nothing but progress. The face that called it shows the value: the shell through `mlinfra_lab.cli.render`,
a magic as the cell's result.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, TypeVar

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from mlinfra_lab.project import Project

T = TypeVar("T")


class Listing(list[T]):
    """A plain list that also knows what to say when it is empty.

    Parameters
    ----------
    items
        What was found.
    kind
        Name of the items' type, so that a list of none still has its columns.
    empty
        What a person reads in place of a table without rows.
    """

    def __init__(self, items: Iterable[T], kind: str, empty: str) -> None:
        super().__init__(items)
        self.kind = kind
        self.empty = empty


class Meter(Protocol):
    """Shows how far a piece of work is."""

    def __call__(
        self, label: str, done: float = 0, total: float | None = None, line: str = "", failed: bool = False
    ) -> None:
        """Say how far it is.

        ``line`` is one finished step, for a face that cannot redraw. ``failed``: it ended, and badly,
        though the waiting for it went well.
        """


class Face(Protocol):
    """What differs between the shell and a notebook."""

    name: Literal["shell", "notebook"]

    def meter(self, title: str) -> AbstractContextManager[Meter]:
        """A bar (or lines) for as long as the block lasts."""

    def say(self, text: str) -> None:
        """One line beside the result."""

    def confirm(self, question: str, hint: str) -> bool:
        """Ask before something stops; ``hint`` is for a face on which nobody can answer."""

    def namespace(self) -> dict[str, Any] | None:
        """The person's variables, where there are any."""

    def open(self, path: Path | None) -> Project:
        """The project that is meant."""


class StoppedWaiting(KeyboardInterrupt):
    """Somebody stopped waiting.

    Parameters
    ----------
    message
        What became of the thing they waited for.
    hint
        How to look at it.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Session:
    """One invocation of one command.

    Attributes
    ----------
    path
        The project as it was named on the command line.
    json
        The result is wanted as JSON.
    exit_code
        What the process exits with when the command itself went well.
    """

    def __init__(self, face: Face, path: Path | None = None) -> None:
        self.face = face
        self.path = path
        self.json = False
        self.exit_code = 0
        self._project: Project | None = None

    @property
    def project(self) -> Project:
        """The project, opened when it is first needed."""
        if self._project is None:
            self._project = self.face.open(self.path)
        return self._project

    @property
    def opened(self) -> Project | None:
        """The project if it has been opened."""
        return self._project

    @property
    def notebook(self) -> bool:
        """Whether a notebook asks."""
        return self.face.name == "notebook"

    @property
    def program(self) -> str:
        """How the person calls us: ``mlinfra job`` or ``%job``."""
        return "%" if self.notebook else "mlinfra "

    def confirm(self, question: str, yes: bool) -> None:
        """Go on only if the person says so, or said ``--yes``."""
        if not yes and not self.face.confirm(
            question, "Say --yes to do it without a question, in a script for example."
        ):
            raise click.Abort


class Seconds(click.FloatRange):
    """A stretch of time: more than nothing, and not for ever, for which one says nothing at all."""

    name = "seconds"

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it as `click.FloatRange` does, but take no ``nan`` and no ``inf``."""
        seconds = float(super().convert(value, param, ctx))
        if not math.isfinite(seconds):
            self.fail(f"{value} is no number of seconds.", param, ctx)
        return seconds


pass_session = click.make_pass_decorator(Session)


def _set_project(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    session = context.find_object(Session)
    if session is not None and value is not None:
        session.path = value


def _set_json(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    session = context.find_object(Session)
    if session is not None and value:
        session.json = True


def project_option() -> click.Option:
    """``--project DIR``, which may stand anywhere on the line."""
    return click.Option(
        ["--project"],
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        expose_value=False,
        is_eager=True,
        callback=_set_project,
        help="The project's folder; else MLINFRA_PROJECT, else the nearest one upwards.",
    )


def json_option() -> click.Option:
    """``--json``."""
    return click.Option(
        ["--json"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_set_json,
        help="Print JSON, for programs.",
    )


yes_option = click.option("--yes", is_flag=True, help="Do it without a question; scripts need this.")
"""For commands that stop things; passed to the callback as ``yes``."""


class _WithExamples:
    examples: tuple[str, ...] = ()

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are typed on the face that asks."""
        if self.examples:
            session = ctx.find_object(Session)
            program = session.program if session is not None else "mlinfra "
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{program}{line}\n")


class Command(_WithExamples, click.Command):
    """A command with ``--project``, ``--json`` and examples at the end of its help.

    Parameters
    ----------
    examples
        Lines to type, without the program's name.
    """

    def __init__(self, *args: Any, examples: Iterable[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.params += [json_option(), project_option()]


class Group(_WithExamples, click.Group):
    """A group of `Command`; ``--project`` may stand before the subcommand, too."""

    command_class = Command

    def __init__(self, *args: Any, examples: Iterable[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.params.append(project_option())

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which one meets them, not by the alphabet."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command with the whole first sentence of its help."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, command.get_short_help_str(limit=200)) for name, command in self.commands.items()]
            )


class Entry(NamedTuple):
    """One line of the table of commands.

    Attributes
    ----------
    target
        ``module:name`` of the click command.
    help
        What ``mlinfra --help`` says of it.
    section
        Its heading there.
    """

    target: str
    help: str
    section: str


class LazyGroup(click.Group):
    """A group that knows its commands from a table and imports one when it is named."""

    table: ClassVar[Mapping[str, Entry]] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the table's order."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        entry = self.table.get(cmd_name)
        return None if entry is None else load(entry.target)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a mistyped name is answered with the nearest ones."""
        if args and args[0] not in self.table and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], self.table, n=2)
            did = f" Did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"There is no command {args[0]!r}.{did}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table, by section, without importing anything."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, entry in self.table.items():
            sections.setdefault(entry.section, []).append((name, entry.help))
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Complete a command's name from the table, options as click does."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [
            CompletionItem(name, help=entry.help)
            for name, entry in self.table.items()
            if name.startswith(incomplete)
        ]


def load(target: str) -> click.Command:
    """Import ``module:name``."""
    module, _, name = target.partition(":")
    found = getattr(importlib.import_module(module), name)
    assert isinstance(found, click.Command)
    return found
