"""Endpoints as faces see them, and what the controller's loop asks of them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from mlinfra_lab.endpoints import recall, store
from mlinfra_lab.endpoints.aliases import Aliases, FindAlias
from mlinfra_lab.endpoints.refs import Controller, EndpointRef, RolloutRef, Tasks
from mlinfra_lab.endpoints.rollout_store import ALIAS
from mlinfra_lab.endpoints.rollouts import CRASHES, PREPARE, PairedOf, Rollouts, refuse_while_open
from mlinfra_lab.endpoints.tokens import make_token, token_file
from mlinfra_lab.errors import Invalid, MLInfraError, NotFound
from mlinfra_lab.schema.common import now
from mlinfra_lab.schema.control import Launch, Wanted
from mlinfra_lab.schema.endpoints import Endpoint, Gates, HistoryEntry, Prediction, Revision, Rollout
from mlinfra_lab.schema.models import ModelVersion
from mlinfra_lab.schema.tasks import Failure
from mlinfra_lab.segments import parse_id
from mlinfra_lab.settings import NAME, EndpointSettings
from mlinfra_lab.storage import Storage

__all__ = ["EndpointRef", "EndpointsService", "RolloutRef"]

# `EndpointsService.list` would shadow the type in annotations.
Endpoints = list[Endpoint]
Predictions = list[Prediction]
RolloutList = list[Rollout]
Entries = list[HistoryEntry]
WantedProcesses = list[Wanted]

_RESERVED = {"health", "metrics", "v1", "v2"}
_LONGEST = 63


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
    settings
        What ``[endpoints.NAME]`` says, by name.
    paired
        See `Rollouts`.
    find_alias
        See `Aliases`.
    """

    def __init__(
        self,
        state: Path,
        storage: Storage,
        tasks: Tasks,
        find_model: Callable[[str], ModelVersion],
        actor: str,
        controller: Controller,
        settings: Mapping[str, EndpointSettings] | None = None,
        paired: PairedOf = lambda endpoint, candidate, stable: None,
        find_alias: FindAlias = lambda model, alias: None,
    ) -> None:
        self._state = state
        self._storage = storage
        self._tasks = tasks
        self._find_model = find_model
        self._actor = actor
        self._controller = controller
        self._aliases = Aliases(storage, find_alias)
        self._rollouts = Rollouts(state, storage, actor, controller, settings or {}, paired, self._aliases)

    # -- looking ----------------------------------------------------------------------------------

    def list(self) -> Endpoints:
        """All endpoints by name, stopped ones too."""
        seen = store.view(self._storage)
        return [store.as_it_is(one, seen) for one in seen.endpoints.values()]

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
        return store.as_it_is(seen.endpoints[name], seen)

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
        Conflict
            While a rollout is under way.
        """
        if not NAME.match(name) or len(name) > _LONGEST or name in _RESERVED:
            raise Invalid(
                f"“{name}” is no name for an endpoint.",
                f"Use a-z, 0-9 and “-”, at most {_LONGEST}; not {', '.join(sorted(_RESERVED))}.",
            )
        version = self._find_model(model_ref)
        make_token(self._state, name)
        with self._storage.unit(self._actor) as unit:
            refuse_while_open(unit, name)
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
            task = unit.task(PREPARE, f"endpoint:{name}", args)
        self._controller.ensure()
        return EndpointRef(self, self._tasks, self._storage, self._controller, name, number, task)

    def rollout(
        self,
        name: str,
        model_ref: str,
        steps: Sequence[float] | None = None,
        gates: Gates | None = None,
        alias: str | None = None,
        cause: str | None = None,
    ) -> RolloutRef:
        """Try a model version beside the one that answers, and promote it step by step.

        Parameters
        ----------
        name
            The endpoint.
        model_ref
            ``name@alias``, ``name/3`` or ``name``.
        steps
            Shares of the requests, rising to 1; by default what the settings say.
        gates
            What it must hold; by default what the settings say.
        alias
            Moves to the version when it is promoted; by default the one that what answers was named by.
        cause
            What asked for it when it was not a person (``alert:12``).

        Raises
        ------
        Conflict
            While another rollout is under way, or when nothing answers yet.
        Invalid
            For steps that are none.
        NotFound
            No such endpoint or model version.
        """
        self.get(name)
        version = self._find_model(model_ref)
        said = model_ref.partition("@")[2] or None
        ref = self._rollouts.begin(name, version, said, steps, gates, alias, cause)
        self._controller.ensure()
        return ref

    def rollback(self, name: str, reason: str | None = None) -> Endpoint:
        """End the rollout that is under way; without one, go back to what answered before.

        The front does it by itself, so it works without the controller.

        Raises
        ------
        Conflict
            When there is nothing to go back to.
        NotFound
            When there is no such endpoint.
        """
        self.get(name)
        self._rollouts.roll_back(name, reason)
        self._controller.wake()
        return self.get(name)

    def rollouts(self, name: str) -> RolloutList:
        """An endpoint's rollouts, newest first."""
        self.get(name)
        return self._rollouts.of(name)

    def history(self, name: str, limit: int = 50) -> Entries:
        """What happened to an endpoint and why, newest first."""
        self.get(name)
        return self._rollouts.history(name, limit)

    def stop(self, name: str) -> Endpoint:
        """Let nothing answer under a name any more; what was captured stays. A rollout ends.

        Raises
        ------
        NotFound
            When there is no such endpoint.
        """
        known = self.get(name)
        with self._storage.unit(self._actor) as unit:
            row = store.endpoint(unit.connection, name) or known
            seen = recall.newest_event(self._state / "captures", name)
            store.stop(unit, row, seen)
            unit.audit("stop", "endpoint", name, {"serving": row.serving})
        return self.get(name)

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
            trial = seen.rollouts.get(one.name)
            # While another is on trial nobody goes back to the one before: a third process is saved.
            third = one.previous if trial is None else trial.candidate
            for number in dict.fromkeys((one.serving, one.wanted, third)):
                revision = seen.revisions.get(store.owner(one.name, number)) if number else None
                if revision is not None and revision.state in ("preparing", "starting", "up"):
                    owner = store.owner(one.name, revision.number)
                    module = "mlinfra_lab.endpoints.model_process"
                    processes.append(Wanted(kind=store.MODEL, owner=owner, module=module))
        return processes

    def evaluate(self) -> None:
        """Look at the rollouts' gates, and at aliases that somebody has moved."""
        self._rollouts.evaluate()
        for name, model, alias, at in self._aliases.moved():
            try:
                version = self._find_model(f"{model}/{at}")
                self._rollouts.begin(name, version, alias, None, None, alias, f"{ALIAS}{alias}")
            except MLInfraError as error:
                self._aliases.trouble(name, error)

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
            elif launch.state == "lost" and store.crashes(unit.connection, launch.owner) >= CRASHES:
                log = self._state / "logs" / f"{store.MODEL}-{launch.owner}.log"
                reason = f"Its process died {CRASHES} times while it loaded the model; its log is {log}."
                store.fail(unit, name, int(number), reason)
