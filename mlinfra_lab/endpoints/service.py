"""Endpoints as faces see them, and what the controller's loop asks of them."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from mlinfra_lab.endpoints import recall, store
from mlinfra_lab.endpoints.capture import parse_id
from mlinfra_lab.endpoints.tokens import make_token, token_file
from mlinfra_lab.errors import Conflict, Failed, Invalid, NotFound, Unavailable, from_failure
from mlinfra_lab.schema.common import now
from mlinfra_lab.schema.control import Launch, Wanted
from mlinfra_lab.schema.endpoints import Endpoint, Prediction, Revision
from mlinfra_lab.schema.models import ModelVersion
from mlinfra_lab.schema.tasks import TASK_ENDED, Failure, Task
from mlinfra_lab.settings import NAME
from mlinfra_lab.storage import Storage
from mlinfra_lab.storage.watch import wait as wait_for_change

__all__ = ["EndpointRef", "EndpointsService"]

# `EndpointsService.list` would shadow the type in annotations.
Endpoints = list[Endpoint]
Predictions = list[Prediction]
WantedProcesses = list[Wanted]

WORK = "mlinfra_lab.endpoints.work:prepare"
_RESERVED = {"health", "metrics", "v1", "v2"}
_LONGEST = 63
_CRASHES = 3


class Controller(Protocol):
    """What is asked of the controller."""

    def ensure(self) -> None:
        """Make sure that it is there."""

    def check(self) -> None:
        """While waiting: see that it still is."""


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

    def __init__(self, service: EndpointsService, name: str, number: int, task: str) -> None:
        self.name = name
        self.number = number
        self.task = task
        self._service = service

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
        return self._service.wait(self, timeout, report)


class EndpointsService:
    """The project's endpoints.

    Parameters
    ----------
    state
        The project's state folder.
    tasks
        Where the task that prepares a revision is looked up.
    find_model
        A model version by ``name@alias``, ``name/3`` or ``name``.
    actor
        Who acts.
    controller
        Makes so what is desired.
    """

    def __init__(
        self,
        state: Path,
        storage: Storage,
        tasks: Tasks,
        find_model: Callable[[str], ModelVersion],
        actor: str,
        controller: Controller,
    ) -> None:
        self._state = state
        self._storage = storage
        self._tasks = tasks
        self._find_model = find_model
        self._actor = actor
        self._controller = controller

    # -- looking ----------------------------------------------------------------------------------

    def list(self) -> Endpoints:
        """All endpoints by name, stopped ones too."""
        seen = store.view(self._storage)
        return [_true(one, seen) for one in seen.endpoints.values()]

    def get(self, name: str) -> Endpoint:
        """One endpoint, with the revision that answers or, until one does, that should.

        Raises
        ------
        NotFound
            With the nearest name.
        """
        seen = store.view(self._storage)
        if name not in seen.endpoints:
            near = difflib.get_close_matches(name, seen.endpoints, n=1, cutoff=0.5)
            hint = f"Did you mean “{near[0]}”?" if near else "mlinfra endpoint publish MODEL --name NAME"
            raise NotFound(f"There is no endpoint “{name}”.", hint)
        return _true(seen.endpoints[name], seen)

    def revision(self, name: str, number: int) -> Revision:
        """One revision of an endpoint.

        Raises
        ------
        NotFound
            When there is none of this number.
        """
        with self._storage.read() as connection:
            found = store.revision(connection, name, number)
        if found is None:
            known = self.get(name)
            hint = f"Its newest is revision {known.wanted}; see `mlinfra endpoint predictions {name}`."
            raise NotFound(f"Endpoint “{name}” has no revision {number}.", hint)
        return found

    def token(self, name: str) -> str:
        """What a request must bring as ``Authorization: Bearer TOKEN``.

        Raises
        ------
        NotFound
            When there is no such endpoint.
        """
        self.get(name)
        path = token_file(self._state, name)
        try:
            return path.read_text(encoding="ascii").strip()
        except FileNotFoundError as error:
            raise NotFound(
                f"The token of endpoint “{name}” is gone: {path} is missing.", "Publish the endpoint again."
            ) from error

    def prediction(self, id: str) -> Prediction:
        """One captured row.

        Parameters
        ----------
        id
            ``endpoint.revision.segment.row``.

        Raises
        ------
        NotFound
            When it is no such id, or no such row was captured; the hint names the newest that was.
        """
        try:
            return recall.find(self._state / "captures", id)
        except NotFound as error:
            place = parse_id(id)
            if place is None:
                raise
            self.get(place.endpoint)
            self.revision(place.endpoint, place.revision)
            newest = recall.newest(self._state / "captures", place.endpoint, 1)
            if newest:
                hint = f"The newest is {newest[0].id}; see `mlinfra endpoint predictions {place.endpoint}`."
            else:
                hint = f"Endpoint “{place.endpoint}” has answered no request yet."
            raise NotFound(error.message, hint) from error

    def predictions(self, name: str, limit: int = 50) -> Predictions:
        """The newest captured rows of an endpoint, newest first."""
        self.get(name)
        return recall.newest(self._state / "captures", name, limit)

    # -- asking -----------------------------------------------------------------------------------

    def publish(self, model_ref: str, name: str) -> EndpointRef:
        """Let a model version answer under a name, in place of the one that does.

        Parameters
        ----------
        model_ref
            ``name@alias``, ``name/3`` or ``name``.
        name
            The endpoint: lower-case letters, digits and ``-``.

        Raises
        ------
        Invalid
            For a name that cannot be one.
        NotFound
            No such model version; the hint names the nearest.
        """
        if not NAME.match(name) or len(name) > _LONGEST or name in _RESERVED:
            raise Invalid(
                f"“{name}” is no name for an endpoint.",
                f"Use a-z, 0-9 and “-”, at most {_LONGEST}; not {', '.join(sorted(_RESERVED))}.",
            )
        version = self._find_model(model_ref)
        make_token(self._state, name)
        with self._storage.unit(self._actor) as unit:
            number = store.next_number(unit.connection, name)
            revision = Revision(
                endpoint=name,
                number=number,
                model=version.name,
                version=version.version,
                run=version.run,
                alias=model_ref.partition("@")[2] or None,
                state="preparing",
                created=now(),
                created_by=self._actor,
            )
            store.add_revision(unit, revision)
            unit.audit("publish", "endpoint", name, {"revision": number, "model": version.ref})
            args = {"endpoint": name, "number": number, "model": msgspec.to_builtins(version)}
            task = unit.task(WORK, f"endpoint:{name}", args)
        self._controller.ensure()
        return EndpointRef(self, name, number, task)

    def stop(self, name: str) -> Endpoint:
        """Let nothing answer under a name any more; what was captured stays.

        Raises
        ------
        NotFound
            When there is no such endpoint.
        """
        known = self.get(name)
        with self._storage.unit(self._actor) as unit:
            row = store.endpoint(unit.connection, name) or known
            store.stop(unit, row)
            unit.audit("stop", "endpoint", name, {"serving": row.serving})
        return self.get(name)

    def wait(
        self,
        ref: EndpointRef,
        timeout: float | None = None,
        report: Callable[[Endpoint], None] | None = None,
    ) -> Endpoint:
        """See `EndpointRef.wait`."""
        end = None if timeout is None else time.monotonic() + timeout
        told: Endpoint | None = None
        watcher = self._storage.watcher()
        try:
            while True:
                known = self.get(ref.name)
                if report is not None and known != told:
                    report(known)
                    told = known
                if known.serving == ref.number and known.state == "up":
                    return known
                self._check(ref, known)
                if end is not None and time.monotonic() > end:
                    raise Unavailable(
                        f"Revision {ref.number} of “{ref.name}” does not answer after {timeout:g} s.",
                        known.reason or "It goes on.",
                    )
                self._controller.check()
                wait_for_change(watcher, 0.5)
        finally:
            watcher.close()

    def _check(self, ref: EndpointRef, known: Endpoint) -> None:
        revision = self.revision(ref.name, ref.number)
        what = f"Revision {ref.number} of endpoint “{ref.name}”"
        if revision.state == "failed":
            goes_on = "" if known.serving is None else f"Revision {known.serving} goes on answering."
            raise Failed(f"{what} failed: {revision.error}", goes_on or None)
        if not known.desired:
            raise Conflict(f"Endpoint “{ref.name}” was stopped.")
        if known.wanted != ref.number:
            raise Conflict(f"{what} was replaced by revision {known.wanted}.")
        if known.state == "failed":
            raise Failed(known.reason or f"{what} failed.")
        if revision.state == "preparing":
            task = self._tasks.get(ref.task)
            if task.state in TASK_ENDED and self.revision(ref.name, ref.number).state == "preparing":
                error = from_failure(task.error) if task.error else Failed(f"{what}: {task.state}.")
                with self._storage.unit(self._actor) as unit:
                    store.fail(unit, ref.name, ref.number, error.message)
                raise error

    # -- for the controller's loop ----------------------------------------------------------------

    def wanted(self) -> WantedProcesses:
        """The front while any endpoint is desired, and a model process for each revision in use.

        Also for one that is still being prepared: its process imports meanwhile.
        """
        seen = store.view(self._storage)
        desired = [one for one in seen.endpoints.values() if one.desired]
        if not desired:
            return []
        processes = [Wanted(kind=store.FRONT, owner="http", module="mlinfra_lab.endpoints.front")]
        for one in desired:
            for number in dict.fromkeys((one.serving, one.wanted)):
                revision = seen.revisions.get(store.owner(one.name, number)) if number else None
                if revision is not None and revision.state in ("preparing", "starting", "up"):
                    owner = store.owner(one.name, revision.number)
                    module = "mlinfra_lab.endpoints.model_process"
                    processes.append(Wanted(kind=store.MODEL, owner=owner, module=module))
        return processes

    def ended(self, launch: Launch) -> None:
        """A front or model process is over: a model that cannot be loaded fails its revision.

        One that was loaded before is started again, as often as it takes; so is one that was lost while
        it loaded, but only so often.
        """
        if launch.kind != store.MODEL:
            return
        name, _, number = launch.owner.rpartition(".")
        error = (launch.outcome or {}).get("error")
        with self._storage.unit() as unit:
            if error is not None:
                store.fail(unit, name, int(number), msgspec.convert(error, Failure).message)
            elif launch.state == "lost" and store.crashes(unit.connection, launch.owner) >= _CRASHES:
                log = self._state / "logs" / f"{store.MODEL}-{launch.owner}.log"
                reason = f"Its process died {_CRASHES} times while it loaded the model; its log is {log}."
                store.fail(unit, name, int(number), reason)


def _true(row: Endpoint, seen: store.View) -> Endpoint:
    """The endpoint as its processes are, not only as was last written of it."""
    number = row.serving if row.serving is not None else row.wanted
    revision = seen.revisions.get(store.owner(row.name, number))
    state, reason = row.state, row.reason
    if not row.desired:
        state = "stopped"
    elif seen.down:
        state, reason = "stopped", "The project is down; `mlinfra up` brings it back."
    elif state == "up" and (seen.front is None or "port" not in seen.front.info):
        state, reason = "starting", "The front is being started."
    elif state == "up" and "socket" not in _info(seen.models.get(store.owner(row.name, number))):
        state, reason = "starting", f"The process of revision {number} is being started."
    return msgspec.structs.replace(row, state=state, reason=reason, revision=revision)


def _info(launch: Launch | None) -> dict[str, object]:
    return {} if launch is None else launch.info
