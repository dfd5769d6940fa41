"""Submitting tasks and waiting for them."""

from __future__ import annotations

import builtins
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from mlinfra_lab.control import Control
from mlinfra_lab.errors import Conflict, NotFound, Unavailable, from_failure
from mlinfra_lab.schema.common import JSON
from mlinfra_lab.schema.tasks import TASK_ENDED, Progress, Task
from mlinfra_lab.storage import Storage
from mlinfra_lab.storage.unit import new_id
from mlinfra_lab.storage.watch import wait as wait_for_change
from mlinfra_lab.tasks import report, store

T = TypeVar("T")


class TaskRef(Generic[T]):
    """A task that was submitted, wherever it runs.

    Attributes
    ----------
    id
        The task's id.
    """

    def __init__(self, service: TasksService, id: str, kind: type[T]) -> None:
        self.id = id
        self._service = service
        self._kind = kind

    def __repr__(self) -> str:
        return f"<task {self.id}: {self.task.state}>"

    @property
    def task(self) -> Task:
        """The task as it is now."""
        return self._service.get(self.id)

    def wait(self, timeout: float | None = None, report: Callable[[Progress], None] | None = None) -> T:
        """Wait for the end and return the result.

        Parameters
        ----------
        timeout
            Seconds to wait at most.
        report
            Called with each new progress.

        Raises
        ------
        MLInfraError
            What the task failed with; `Unavailable` when the time is over (the task goes on);
            `ControllerDown` when nobody is there to do it.
        """
        task = self._service.wait(self.id, timeout, report)
        if task.state == "succeeded":
            return msgspec.convert(task.result, self._kind)
        if task.error is not None:
            raise from_failure(task.error)
        raise Conflict(f"Task {task.id} on {task.key} was {task.state}.")

    def cancel(self) -> None:
        """Ask for the task's end."""
        self._service.cancel(self.id)


class TasksService:
    """The queue of tasks.

    Parameters
    ----------
    state
        The project's state folder, for progress files.
    actor
        Who submits.
    control
        The controller that makes it so.
    """

    def __init__(self, state: Path, storage: Storage, actor: str, control: Control) -> None:
        self._state = state
        self._storage = storage
        self._actor = actor
        self._control = control
        self.perform: Callable[[str, JSON], object] | None = None
        """Set in a task worker: does work right there."""

    def submit(
        self, work: str, key: str, args: JSON, kind: type[T], idempotent: bool = True, id: str | None = None
    ) -> TaskRef[T]:
        """Queue work and return at once; the parameters are those of `Unit.task`.

        Parameters
        ----------
        kind
            Type of the result.
        """
        with self._storage.unit(self._actor) as unit:
            task = unit.task(work, key, args, idempotent, id)
        self._control.ensure()
        return TaskRef(self, task, kind)

    def ask(self, work: str, args: JSON, kind: type[T]) -> T:
        """Have something read by a task worker and wait for it; in a worker, read it right here.

        A worker that waited for another one would wait for ever where there is only one.
        """
        if self.perform is not None:
            return msgspec.convert(msgspec.to_builtins(self.perform(work, args)), kind)
        # A key of its own: questions need not wait for one another.
        return self.submit(work, new_id("ask:"), args, kind).wait()

    def ref(self, id: str, kind: type[T]) -> TaskRef[T]:
        """A handle on a task that somebody else queued."""
        return TaskRef(self, id, kind)

    def get(self, id: str) -> Task:
        """One task."""
        task = store.get(self._storage, id)
        if task is None:
            raise NotFound(f"There is no task {id}.")
        return task

    def list(self, limit: int = 50) -> list[Task]:
        """The newest tasks."""
        return store.newest(self._storage, limit)

    def active(self) -> builtins.list[Task]:
        """Tasks that run or wait, oldest first."""
        return store.active(self._storage)

    def cancel(self, id: str) -> None:
        """Ask for a task's end."""
        self.get(id)
        with self._storage.unit(self._actor) as unit:
            store.cancel(unit, id)
            unit.audit("cancel", "task", id)

    def progress_file(self, id: str) -> Path:
        """Where the worker writes how far it is."""
        return self._state / "run" / "tasks" / f"{id}.json"

    def wait(
        self, id: str, timeout: float | None = None, tell: Callable[[Progress], None] | None = None
    ) -> Task:
        """Wait until a task has ended; see `TaskRef.wait`."""
        end = None if timeout is None else time.monotonic() + timeout
        told: Progress | None = None
        watcher = self._storage.watcher()
        try:
            while True:
                task = self.get(id)
                if task.state in TASK_ENDED:
                    return task
                if end is not None and time.monotonic() > end:
                    raise Unavailable(
                        f"Task {id} on {task.key} is {task.state} after {timeout:g} s.", "It goes on."
                    )
                self._control.check()
                progress = report.read(self.progress_file(id))
                if tell is not None and progress is not None and progress != told:
                    told = progress
                    tell(progress)
                wait_for_change(watcher, 0.5)
        finally:
            watcher.close()
