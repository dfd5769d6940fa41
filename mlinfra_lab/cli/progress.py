"""How far a piece of work is, on stderr: a bar on a terminal, else a line for each step."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mlinfra_lab import humane
from mlinfra_lab.cli.base import Meter


@contextmanager
def meter(title: str) -> Iterator[Meter]:
    """A meter for as long as the block lasts.

    Parameters
    ----------
    title
        What is being done, with its thing: ``train_flight_delay``.
    """
    if sys.stderr.isatty():
        with _bar(title) as bar:
            yield bar
    else:
        yield _Lines()


class _Lines:
    """Prints each finished step; what is only a label goes to those who can redraw it."""

    def __call__(
        self, label: str, done: float = 0, total: float | None = None, line: str = "", failed: bool = False
    ) -> None:
        if line:
            print(line, file=sys.stderr, flush=True)


@contextmanager
def _bar(title: str) -> Iterator[Meter]:
    # Imported only here: rich takes longer to import than a table to print.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(28, complete_style="blue", finished_style="blue", pulse_style="blue"),
        TextColumn("{task.fields[label]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        console=Console(stderr=True),
        transient=True,
    )
    with progress:
        task = progress.add_task(humane.middle(title, 32), total=None, label="")

        def update(
            label: str, done: float = 0, total: float | None = None, line: str = "", failed: bool = False
        ) -> None:
            progress.update(task, label=humane.cut(label, 48), completed=done, total=total)

        yield update
