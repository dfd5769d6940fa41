"""The notebook as a face: progress in one display, questions on the kernel's prompt."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlinfra_lab import humane
from mlinfra_lab.cli.base import Meter
from mlinfra_lab.cli.view import Bar, Mark

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from mlinfra_lab.project import Project

# A display that is redrawn more often costs the browser more than it tells the person.
_REDRAW_SECONDS = 0.15
_SIGNS: dict[Mark, str] = {"succeeded": "✓", "failed": "✗", "running": "…"}


class Notebook:
    """A notebook as a `mlinfra_lab.cli.base.Face`.

    Parameters
    ----------
    shell
        The kernel's IPython.
    """

    name: Literal["shell", "notebook"] = "notebook"

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self.root: Path | None = None
        self._projects: dict[tuple[str, ...], Project] = {}

    def meter(self, title: str) -> AbstractContextManager[Meter]:
        """One line that is redrawn in place; IPython in a terminal gets the shell's bar."""
        if not hasattr(self.shell, "kernel"):
            from mlinfra_lab.cli.progress import meter

            return meter(title)
        return _meter(title)

    def say(self, text: str) -> None:
        """One line of the cell's output."""
        print(text)

    def confirm(self, question: str, hint: str) -> bool:
        """Ask on the kernel's prompt; where there is none (a job), refuse with the hint."""
        from IPython.core.error import StdinNotImplementedError

        from mlinfra_lab.errors import Conflict

        try:
            answer = input(f"{question} [y/N] ")
        except (StdinNotImplementedError, EOFError):
            raise Conflict(f"Nobody is here to answer: {question}", hint) from None
        return answer.strip().lower() in ("y", "yes")

    def namespace(self) -> dict[str, Any] | None:
        """The notebook's variables."""
        namespace: dict[str, Any] = self.shell.user_ns
        return namespace

    def open(self, path: Path | None) -> Project:
        """The named project, else that of the job or folder; opened once for each place."""
        from mlinfra_lab.project import Project

        place = (str(path),) if path else (os.environ.get("MLINFRA_PROJECT", ""), str(Path.cwd()))
        if place not in self._projects:
            self._projects[place] = Project.find(path) if path else Project.current()
        project = self._projects[place]
        self.root = project.root
        return project


class _Line:
    """What the display shows: HTML, and text for those who have only that."""

    def __init__(self, title: str, bar: Bar | None, text: str, mark: Mark) -> None:
        self._title, self._bar, self._text, self._mark = title, bar, text, mark

    def _repr_html_(self) -> str:
        from mlinfra_lab.magics.html import bar, line

        beside = bar(self._bar) if self._bar is not None else f"<span>{escape(self._text)}</span>"
        return line(self._mark, self._title, beside)

    def __repr__(self) -> str:
        return f"{_SIGNS[self._mark]} {self._title}  {self._bar.text if self._bar else self._text}"


@contextmanager
def _meter(title: str) -> Iterator[Meter]:
    from IPython.display import display

    shown = _Display(title, display(_Line(title, None, "starting", "running"), display_id=True))
    try:
        yield shown
    except BaseException:
        shown.end("failed")
        raise
    shown.end("failed" if shown.failed else "succeeded")


class _Display:
    """The line in the cell's output, redrawn in place."""

    def __init__(self, title: str, handle: Any) -> None:
        self.failed = False
        self._title = title
        self._handle = handle
        self._begun = self._drawn = time.monotonic()

    def __call__(
        self, label: str, done: float = 0, total: float | None = None, line: str = "", failed: bool = False
    ) -> None:
        self.failed = failed
        if time.monotonic() - self._drawn > _REDRAW_SECONDS:
            self._drawn = time.monotonic()
            bar = Bar(done / total, label) if total else None
            self._draw(bar, label, "running")

    def end(self, mark: Mark) -> None:
        """The last line, which is kept in the notebook."""
        self._draw(None, humane.duration(time.monotonic() - self._begun), mark)

    def _draw(self, bar: Bar | None, text: str, mark: Mark) -> None:
        # There is no handle outside of a cell, for instance in a startup script.
        if self._handle is not None:
            self._handle.update(_Line(self._title, bar, text, mark))
