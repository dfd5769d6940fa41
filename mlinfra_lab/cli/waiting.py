"""Waiting for tasks and jobs, with progress, and what Ctrl-C means meanwhile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mlinfra_lab import humane
from mlinfra_lab.cli.base import Session, StoppedWaiting

if TYPE_CHECKING:
    from mlinfra_lab.jobs import JobRef
    from mlinfra_lab.schema.jobs import CellTime, Job, JobDetail, JobProgress
    from mlinfra_lab.schema.tasks import Progress
    from mlinfra_lab.tasks import TaskRef

T = TypeVar("T")


def task(session: Session, ref: TaskRef[T], title: str) -> T:
    """Wait for a task and return its result; Ctrl-C asks for its end."""
    said = ""
    try:
        with session.face.meter(title) as meter:

            def report(progress: Progress) -> None:
                nonlocal said
                line = f"{title}: {progress.label}" if progress.label != said else ""
                said = progress.label
                meter(progress.label, progress.done, progress.total, line)

            return ref.wait(report=report)
    except KeyboardInterrupt:
        ref.cancel()
        raise StoppedWaiting(
            f"Interrupted; {title} was asked to stop.", "Nothing is left half-done."
        ) from None


def job(session: Session, ref: JobRef) -> JobDetail:
    """Wait for a job, cell by cell; Ctrl-C leaves it running."""
    from mlinfra_lab.schema.jobs import JOB_ENDED

    watched = _Cells(session, ref)
    try:
        with session.face.meter(watched.title) as meter:

            def progress(now: Job, cells: JobProgress | None) -> None:
                for line in watched.finished(cells):
                    meter(*watched.label(now, cells), line=line)
                meter(*watched.label(now, cells), failed=now.state in JOB_ENDED and now.state != "succeeded")

            return ref.wait(on_progress=progress)
    except KeyboardInterrupt:
        say = session.program
        raise StoppedWaiting(
            f"Interrupted; job {ref.id} goes on.",
            f"{say}job show {ref.id} · {say}job cancel {ref.id} (--yes in a script)",
        ) from None


class _Cells:
    """A job's cells in words, with the first line of each one's source."""

    def __init__(self, session: Session, ref: JobRef) -> None:
        start = ref.job
        self.title = Path(start.notebook).stem
        self._words = _first_lines(session.project.root / start.notebook)
        self._said = 0

    def label(self, job: Job, cells: JobProgress | None) -> tuple[str, float, float | None]:
        """What happens now: ``cell 3 of 9  X, y = build_features(…)``."""
        if cells is None or not cells.times:
            return ("waiting for its turn" if job.state == "queued" else "starting", 0, None)
        latest = cells.times[-1]
        at = f"cell {latest.index + 1} of {cells.cells}"
        return (f"{at}  {self._of(latest)}".rstrip(), cells.done, cells.cells)

    def finished(self, cells: JobProgress | None) -> list[str]:
        """A line for each cell that has ended since."""
        ended = [] if cells is None else [one for one in cells.times if one.ended is not None]
        lines = [self._line(one, cells.cells) for one in ended[self._said :]] if cells is not None else []
        self._said = len(ended)
        return lines

    def _line(self, one: CellTime, cells: int) -> str:
        assert one.ended is not None
        took = humane.duration((one.ended - one.started).total_seconds())
        sign = "failed  " if one.failed else ""
        return f"cell {one.index + 1} of {cells}  {took:>8}  {sign}{self._of(one)}".rstrip()

    def _of(self, one: CellTime) -> str:
        # The one cell that the notebook does not have is papermill's, with the values that were given.
        return humane.cut(self._words.get(one.id or "", "(the given parameters)"), 60)


def _first_lines(notebook: Path) -> dict[str, str]:
    """The first line of each code cell that is no comment, by the cell's id; none if it cannot be read."""
    try:
        cells = json.loads(notebook.read_bytes())["cells"]
        sources = {str(cell["id"]): cell["source"] for cell in cells if "id" in cell}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    words = {}
    for id, source in sources.items():
        lines = ("".join(source) if isinstance(source, list) else str(source)).splitlines()
        said = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        words[id] = said[0] if said else ""
    return words
