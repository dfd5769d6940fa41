"""New versions step by step: begun, evaluated, promoted, rolled back.

The controller decides here how large a candidate's share is; the front gives it that share and stops by
itself when errors or latency are bad (see `canary`). Nothing is switched blindly: an alias that somebody
moves begins a rollout, and moves back when that is rolled back.
"""

from __future__ import annotations

import datetime as dt
import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from mlinfra_lab import counters, humane
from mlinfra_lab.counters import Sides
from mlinfra_lab.endpoints import gates as judging
from mlinfra_lab.endpoints import recall, rollout_store, store
from mlinfra_lab.endpoints.aliases import Aliases
from mlinfra_lab.endpoints.refs import Controller, RolloutRef
from mlinfra_lab.errors import Conflict, Invalid, NotFound
from mlinfra_lab.schema.common import now
from mlinfra_lab.schema.endpoints import (
    Endpoint,
    GateResult,
    Gates,
    HistoryEntry,
    Paired,
    Revision,
    Rollout,
)
from mlinfra_lab.schema.models import ModelVersion
from mlinfra_lab.settings import EndpointSettings
from mlinfra_lab.storage import Storage, Unit
from mlinfra_lab.storage.unit import new_id

__all__ = ["Rollouts"]

log = logging.getLogger(__name__)

PREPARE = "mlinfra_lab.endpoints.work:prepare"
EVALUATE_SECONDS = 1.0
START_SECONDS = 900.0
"""How long a candidate may take until it answers for the first time."""
CRASHES = 3
_SMALLEST = 0.001
_BACK_SECONDS = 5.0
_LOOK_SECONDS = 0.02

PairedOf = Callable[[str, int, int], Paired | None]


class Rollouts:
    """The rollouts of the project's endpoints.

    Parameters
    ----------
    state
        The project's state folder.
    settings
        What ``[endpoints.NAME]`` says, by name.
    paired
        Quality of a candidate and of the stable version on the same truths: of an endpoint, the candidate's
        revision, the stable one's; ``None`` while nothing is known.
    aliases
        Where they point.
    """

    def __init__(
        self,
        state: Path,
        storage: Storage,
        actor: str,
        controller: Controller,
        settings: Mapping[str, EndpointSettings],
        paired: PairedOf,
        aliases: Aliases,
    ) -> None:
        self._state = state
        self._storage = storage
        self._actor = actor
        self._controller = controller
        self._settings = settings
        self._paired = paired
        self._aliases = aliases
        self._evaluated: dict[str, float] = {}
        self._troubles: dict[str, str] = {}

    # -- looking ----------------------------------------------------------------------------------

    def get(self, id: str) -> Rollout:
        """One rollout."""
        with self._storage.read() as connection:
            found = rollout_store.get(connection, id)
        if found is None:
            raise NotFound(f"There is no rollout {id}.")
        return found

    def of(self, name: str) -> list[Rollout]:
        """An endpoint's rollouts, newest first."""
        with self._storage.read() as connection:
            return rollout_store.of(connection, name)

    def history(self, name: str, limit: int) -> list[HistoryEntry]:
        """What happened to an endpoint, newest first."""
        with self._storage.read() as connection:
            return rollout_store.past(connection, name, limit)

    def _settings_of(self, name: str) -> EndpointSettings:
        return self._settings.get(name) or EndpointSettings()

    def gates_of(self, name: str) -> Gates:
        """The gates an endpoint's settings say."""
        said = self._settings_of(name)
        return Gates(
            errors=said.gate_errors,
            latency=said.gate_latency,
            quality=said.gate_quality,
            requests=said.gate_requests,
            truths=said.gate_truths,
        )

    def _event_time(self, name: str) -> dt.datetime | None:
        return recall.newest_event(self._state / "captures", name)

    # -- beginning --------------------------------------------------------------------------------

    def begin(
        self,
        name: str,
        version: ModelVersion,
        said: str | None,
        steps: Sequence[float] | None,
        gates: Gates | None,
        alias: str | None,
        cause: str | None,
    ) -> RolloutRef:
        """Try a model version beside the one that answers; see `EndpointsService.rollout`."""
        chosen = _steps(self._settings_of(name).steps if steps is None else steps)
        wanted = gates or self.gates_of(name)
        seen = self._event_time(name)
        with self._storage.unit(self._actor) as unit:
            row = store.endpoint(unit.connection, name)
            if row is None:
                raise NotFound(f"There is no endpoint “{name}”.")
            stable = self._stable(unit, row)
            if (stable.model, stable.version) == (version.name, version.version):
                raise Conflict(
                    f"{version.ref} answers at endpoint “{name}” already (revision {stable.number}).",
                    "Name another version.",
                )
            number = store.next_number(unit.connection, name)
            candidate = Revision(
                endpoint=name,
                number=number,
                model=version.name,
                version=version.version,
                run=version.run,
                alias=said,
                state="preparing",
                created=now(),
                created_by=self._actor,
            )
            store.add_candidate(unit, candidate)
            # The alias that names what answers follows on promotion.
            follows = alias or (self._aliases.of(unit, stable) if stable.model == version.name else None)
            rollout = Rollout(
                id=new_id("r"),
                endpoint=name,
                stable=stable.number,
                candidate=number,
                state="starting",
                steps=chosen,
                gates=wanted,
                alias=follows,
                cause=cause,
                created=now(),
                created_by=self._actor,
            )
            rollout_store.add(unit, rollout)
            shares = ", ".join(humane.share(share) for share in chosen)
            text = f"{version.ref} is tried beside revision {stable.number}: {shares} of the requests."
            detail = {"rollout": rollout.id, "cause": cause}
            rollout_store.note(unit, name, "rollout", text, number, seen, detail)
            # One that began it was noted when it was seen to be moved; it may have been moved on since.
            if follows is not None and not (cause or "").startswith(rollout_store.ALIAS):
                self._aliases.note(unit, name, version.name, follows)
            unit.audit("rollout", "endpoint", name, {"revision": number, "model": version.ref})
            args = {"endpoint": name, "number": number, "model": msgspec.to_builtins(version)}
            unit.task(PREPARE, f"endpoint:{name}", args)
        return RolloutRef(self.get, self._storage, self._controller, rollout)

    def _stable(self, unit: Unit, row: Endpoint) -> Revision:
        refuse_while_open(unit, row.name)
        found = row.serving and store.revision(unit.connection, row.name, row.serving)
        if not row.desired or not found:
            what = "is stopped" if not row.desired else "answers with nothing yet"
            raise Conflict(
                f"Endpoint “{row.name}” {what}.", f"mlinfra endpoint publish MODEL --name {row.name}"
            )
        if row.wanted != row.serving:
            raise Conflict(
                f"Endpoint “{row.name}” is about to answer with revision {row.wanted}.",
                "Wait until it does, or publish anew.",
            )
        return found

    # -- going back -------------------------------------------------------------------------------

    def roll_back(self, name: str, reason: str | None) -> None:
        """End the rollout, or go back to what answered before; see `EndpointsService.rollback`."""
        seen = self._event_time(name)
        text = reason or f"{self._actor} rolled it back."
        with self._storage.unit(self._actor) as unit:
            row = store.endpoint(unit.connection, name)
            if row is None or not row.desired:
                raise Conflict(
                    f"Endpoint “{name}” is stopped.", f"mlinfra endpoint publish MODEL --name {name}"
                )
            trial = rollout_store.open_of(unit.connection, name)
            if trial is not None:
                rollout_store.roll_back(unit, trial, text, event_time=seen)
                return
            left, back = self._way_back(row)
            store.go_back(unit, row, back)
            detail = {"to": back}
            rollout_store.note(unit, name, "rolled_back", text, left, seen, detail)
            unit.audit("rollback", "endpoint", name, {"from": left, "to": back, "reason": reason})
            self._alias_back(unit, name, left, back)
        self._await_switch(name, back)

    @staticmethod
    def _way_back(row: Endpoint) -> tuple[int, int]:
        """The revision that is left, and the one that shall answer."""
        if row.serving is not None and row.wanted != row.serving:
            return row.wanted, row.serving  # the newer one does not answer yet
        if row.serving is not None and row.previous is not None:
            return row.serving, row.previous
        what = "nothing answers yet" if row.serving is None else "no other revision answered before it"
        raise Conflict(
            f"Endpoint “{row.name}” has nothing to go back to: {what}.",
            f"mlinfra endpoint rollout {row.name} MODEL tries another version.",
        )

    def _alias_back(self, unit: Unit, name: str, left: int, back: int) -> None:
        was = store.revision(unit.connection, name, left)
        will = store.revision(unit.connection, name, back)
        if was is None or will is None or was.alias is None or was.model != will.model:
            return
        if self._aliases.note(unit, name, was.model, was.alias) == was.version:
            rollout_store.point(unit, name, was.alias, back, {"only_if": was.version})

    def _await_switch(self, name: str, number: int) -> None:
        """Wait for the front where it can do it at once: without the controller, when it is there."""
        end = time.monotonic() + _BACK_SECONDS
        while time.monotonic() < end:
            seen = store.view(self._storage)
            launch = seen.models.get(store.owner(name, number))
            if seen.endpoints[name].serving == number:
                return
            if seen.front is None or launch is None or "socket" not in launch.info:
                break  # it has to be started first
            time.sleep(_LOOK_SECONDS)

    # -- for the controller's loop ----------------------------------------------------------------

    def evaluate(self) -> None:
        """Look at the gates of each rollout; take a step, promote, or roll back."""
        with self._storage.read() as connection:
            trials = rollout_store.opened(connection)
        for name, trial in trials.items():
            if time.monotonic() - self._evaluated.get(trial.id, -EVALUATE_SECONDS) >= EVALUATE_SECONDS:
                self._evaluated[trial.id] = time.monotonic()
                try:
                    self._evaluate(name, trial)
                    self._troubles.pop(trial.id, None)
                except Exception as problem:
                    # One that cannot be evaluated gets no requests after a while; the others go on.
                    if self._troubles.get(trial.id) != repr(problem):
                        log.exception("%s: the rollout cannot be evaluated", name)
                    self._troubles[trial.id] = repr(problem)

    def _evaluate(self, name: str, trial: Rollout) -> None:
        with self._storage.read() as connection:
            candidate = store.revision(connection, name, trial.candidate)
            carried = rollout_store.carried(connection, trial.id)
            crashes = store.crashes(connection, store.owner(name, trial.candidate))
        sides = self._counted(trial, carried)
        reason = self._hopeless(trial, candidate, crashes)
        if reason is not None:
            seen = self._event_time(name)
            with self._storage.unit() as unit:
                rollout_store.roll_back(unit, trial, reason, event_time=seen)
            return
        if trial.state == "starting":
            if candidate is not None and candidate.state == "up":
                self._step(trial, 0, (), carried, "It is up.")
            return
        paired = self._paired(name, trial.candidate, trial.stable)
        results = judging.judge(trial.gates, sides, paired, trial.step)
        bad = judging.broken(results)
        if bad is not None:
            seen = self._event_time(name)
            with self._storage.unit() as unit:
                rollout_store.roll_back(unit, trial, f"{bad.text}.", results, seen)
        elif not judging.held(results):
            self._hold(trial, results, carried)
        elif trial.step + 1 < len(trial.steps):
            self._step(trial, trial.step + 1, results, carried, judging.said(results))
        else:
            seen = self._event_time(name)
            with self._storage.unit() as unit:
                rollout_store.promote(unit, trial, judging.said(results), results, seen)

    def _counted(self, trial: Rollout, carried: rollout_store.Carried) -> Sides:
        """What both sides were asked in this rollout, over all fronts that carried it out."""
        found = counters.read(self._state)
        sides = carried.before + carried.last
        if found is not None and trial.id in found.rollouts:
            sides = carried.add(found.token, found.rollouts[trial.id])
        if not sides.stable.requests and found is not None:
            # It gets nothing when the candidate gets everything from the start: go by what it did before.
            whole = found.targets.get(store.owner(trial.endpoint, trial.stable))
            sides = Sides(sides.candidate, whole or sides.stable)
        return sides

    @staticmethod
    def _hopeless(trial: Rollout, candidate: Revision | None, crashes: int) -> str | None:
        if candidate is None or candidate.state in ("failed", "retired"):
            error = (candidate.error if candidate is not None else None) or "It is gone."
            return f"It cannot answer: {error}"
        if crashes >= CRASHES:
            return f"Its process died {crashes} times."
        age = (now() - trial.created).total_seconds()
        if trial.state == "starting" and age > START_SECONDS:
            return f"It did not come up within {humane.duration(START_SECONDS)}."
        return None

    def _step(
        self,
        trial: Rollout,
        step: int,
        results: tuple[GateResult, ...],
        carried: rollout_store.Carried,
        why: str,
    ) -> None:
        share, seen = trial.steps[step], self._event_time(trial.endpoint)
        with self._storage.unit() as unit:
            values = {"state": "running", "step": step, "share": share, "stepped": now()}
            if rollout_store.evaluated(unit, trial, results, carried, **values):
                text = f"{humane.share(share)} of the requests. {why}"
                detail = {"rollout": trial.id, "step": step, "share": share}
                rollout_store.note(unit, trial.endpoint, "step", text, trial.candidate, seen, detail)

    def _hold(self, trial: Rollout, results: tuple[GateResult, ...], carried: rollout_store.Carried) -> None:
        with self._storage.unit() as unit:
            if not rollout_store.evaluated(unit, trial, results, carried):
                return
            # Once a step, when everything else is well: it is the truth that takes its time.
            late = [one for one in results if one.held is None]
            if [one.gate for one in late] == ["quality"] and not rollout_store.was_held(unit, trial):
                text = f"{late[0].text[:1].upper()}{late[0].text[1:]}."
                seen = self._event_time(trial.endpoint)
                detail = {"rollout": trial.id, "step": trial.step}
                rollout_store.note(unit, trial.endpoint, "held", text, trial.candidate, seen, detail)


def refuse_while_open(unit: Unit, name: str) -> None:
    """One rollout at a time.

    Raises
    ------
    Conflict
        When one is under way.
    """
    trial = rollout_store.open_of(unit.connection, name)
    if trial is not None:
        raise Conflict(
            f"A rollout of endpoint “{name}” is under way (revision {trial.candidate}, {trial.state}).",
            f"Wait for it, or end it: mlinfra endpoint rollback {name}",
            {"rollout": trial.id},
        )


def _steps(given: Sequence[float]) -> tuple[float, ...]:
    steps = tuple(float(one) for one in given)
    rising = all(before < after for before, after in itertools.pairwise(steps))
    if not steps or not rising or steps[0] < _SMALLEST or steps[-1] != 1.0:
        shown = ", ".join(f"{100 * one:g}" for one in steps) or "none"
        raise Invalid(
            f"These are no steps of a rollout: {shown} (per cent).",
            "Name rising shares of the requests up to 100, like 20,50,100.",
        )
    return steps
