"""Handles on what was begun: a revision that is about to answer, and a rollout."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from mlinfra_lab.endpoints import store
from mlinfra_lab.errors import Conflict, Failed, Unavailable, from_failure
from mlinfra_lab.schema.endpoints import Endpoint, Revision, Rollout
from mlinfra_lab.schema.tasks import TASK_ENDED, Task
from mlinfra_lab.storage import Storage
from mlinfra_lab.storage.watch import wait as wait_for_change

__all__ = ["Controller", "EndpointRef", "RolloutRef", "Tasks"]


class Controller(Protocol):
    """What is asked of the controller."""

    def ensure(self) -> None:
        """Make sure that it is there."""

    def wake(self) -> None:
        """Have it started, and do not wait for it."""

    def check(self) -> None:
        """While waiting: see that it still is."""


class Endpoints(Protocol):
    """What is asked of the service."""

    def get(self, name: str) -> Endpoint:
        """One endpoint."""

    def revision(self, name: str, number: int) -> Revision:
        """One revision."""


class Tasks(Protocol):
    """What is asked of the tasks."""

    def get(self, id: str) -> Task:
        """One task."""


class EndpointRef:
    """A revision that was published and is about to answer.

    Attributes
    ----------
    name, number
        The endpoint and the revision.
    task
        Id of the task that prepares the model's files.
    """

    def __init__(
        self,
        service: Endpoints,
        tasks: Tasks,
        storage: Storage,
        controller: Controller,
        name: str,
        number: int,
        task: str,
    ) -> None:
        self.name = name
        self.number = number
        self.task = task
        self._service = service
        self._tasks = tasks
        self._storage = storage
        self._controller = controller

    def __repr__(self) -> str:
        return f"<endpoint {self.name}, revision {self.number}: {self.endpoint.state}>"

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint as it is now."""
        return self._service.get(self.name)

    def wait(
        self, timeout: float | None = None, report: Callable[[Endpoint], None] | None = None
    ) -> Endpoint:
        """Wait until this revision answers.

        Parameters
        ----------
        timeout
            Seconds to wait at most.
        report
            Called with the endpoint whenever it changed.

        Raises
        ------
        Failed
            With the reason. A revision that answered before goes on.
        Conflict
            When another revision was published, or the endpoint stopped, meanwhile.
        Unavailable
            When the time is over (it goes on), or `ControllerDown` when nobody makes it so.
        """
        end = None if timeout is None else time.monotonic() + timeout
        told: Endpoint | None = None
        watcher = self._storage.watcher()
        try:
            while True:
                known = self.endpoint
                if report is not None and known != told:
                    report(known)
                    told = known
                if known.serving == self.number and known.state == "up":
                    return known
                self._check(known)
                if end is not None and time.monotonic() > end:
                    raise Unavailable(
                        f"Revision {self.number} of “{self.name}” does not answer after {timeout:g} s.",
                        known.reason or "It goes on.",
                    )
                self._controller.check()
                wait_for_change(watcher, 0.5)
        finally:
            watcher.close()

    def _check(self, known: Endpoint) -> None:
        revision = self._service.revision(self.name, self.number)
        what = f"Revision {self.number} of endpoint “{self.name}”"
        if revision.state == "failed":
            goes_on = "" if known.serving is None else f"Revision {known.serving} goes on answering."
            raise Failed(f"{what} failed: {revision.error}", goes_on or None)
        if not known.desired:
            raise Conflict(f"Endpoint “{self.name}” was stopped.")
        if known.wanted != self.number:
            raise Conflict(f"{what} was replaced by revision {known.wanted}.")
        if known.state == "failed":
            raise Failed(known.reason or f"{what} failed.")
        if revision.state == "preparing":
            task = self._tasks.get(self.task)
            now = self._service.revision(self.name, self.number)
            if task.state in TASK_ENDED and now.state == "preparing":
                error = from_failure(task.error) if task.error else Failed(f"{what}: {task.state}.")
                with self._storage.unit() as unit:
                    store.fail(unit, self.name, self.number, error.message)
                raise error


class RolloutRef:
    """A rollout that was begun.

    Attributes
    ----------
    id
        The rollout's.
    name, candidate
        The endpoint, and the revision that is on trial.
    """

    def __init__(
        self,
        find: Callable[[str], Rollout],
        storage: Storage,
        controller: Controller,
        rollout: Rollout,
    ) -> None:
        self.id = rollout.id
        self.name = rollout.endpoint
        self.candidate = rollout.candidate
        self._find = find
        self._storage = storage
        self._controller = controller

    def __repr__(self) -> str:
        return f"<rollout of {self.name}, revision {self.candidate}: {self.rollout.state}>"

    @property
    def rollout(self) -> Rollout:
        """The rollout as it is now."""
        return self._find(self.id)

    def wait(self, timeout: float | None = None, report: Callable[[Rollout], None] | None = None) -> Rollout:
        """Wait until the candidate answers everything.

        Parameters
        ----------
        timeout
            Seconds to wait at most.
        report
            Called with the rollout whenever it changed.

        Raises
        ------
        Failed
            When it was rolled back, with the reason.
        Conflict
            When the endpoint was stopped meanwhile.
        Unavailable
            When the time is over (it goes on), or `ControllerDown` when nobody evaluates it.
        """
        end = None if timeout is None else time.monotonic() + timeout
        told: Rollout | None = None
        watcher = self._storage.watcher()
        try:
            while True:
                known = self.rollout
                if report is not None and known != told:
                    report(known)
                    told = known
                if known.state == "promoted":
                    return known
                what = f"Revision {known.candidate} of endpoint “{known.endpoint}”"
                if known.state == "rolled_back":
                    goes_on = f"Revision {known.stable} goes on answering."
                    raise Failed(f"{what} was rolled back: {known.reason}", goes_on)
                if known.state == "stopped":
                    raise Conflict(f"Endpoint “{known.endpoint}” was stopped.")
                if end is not None and time.monotonic() > end:
                    raise Unavailable(f"{what} is not promoted after {timeout:g} s.", "The rollout goes on.")
                self._controller.check()
                wait_for_change(watcher, 0.5)
        finally:
            watcher.close()
