"""The front in line with the rows: which revisions it holds, who answers, who is on trial."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import msgspec

from mlinfra_lab import counters
from mlinfra_lab.counters import Counts, FrontStats
from mlinfra_lab.endpoints import recall, rollout_store, store
from mlinfra_lab.endpoints.app import App
from mlinfra_lab.endpoints.backend import SocketBackend
from mlinfra_lab.endpoints.canary import Canary
from mlinfra_lab.endpoints.capture import Syncer, Writer
from mlinfra_lab.endpoints.served import Served, Target
from mlinfra_lab.endpoints.shadow import Shadow
from mlinfra_lab.endpoints.signature import make
from mlinfra_lab.endpoints.tokens import token_file
from mlinfra_lab.endpoints.truth import Known, TruthWriter
from mlinfra_lab.errors import MLInfraError
from mlinfra_lab.schema.endpoints import Endpoint, Rollout
from mlinfra_lab.segments import beside_folder
from mlinfra_lab.settings import EndpointSettings

if TYPE_CHECKING:
    from mlinfra_lab.project import Project

__all__ = ["Following", "Seen", "read"]

log = logging.getLogger(__name__)
_STATS_SECONDS = 1.0
_AGAIN_SECONDS = 1.0


class Seen(msgspec.Struct, frozen=True):
    """What the watching thread read: the rows, and the endpoints' tokens."""

    view: store.View
    tokens: dict[str, bytes | None]


def read(project: Project) -> Seen:
    """The rows as they are."""
    view = store.view(project.storage)

    def token(name: str) -> bytes | None:
        try:
            return token_file(project.state, name).read_bytes().strip() or None
        except OSError:
            return None

    return Seen(view, {name: token(name) for name, one in view.endpoints.items() if one.desired})


class Following:
    """Keeps the application in line with the rows.

    Parameters
    ----------
    url
        The front's own address, ``http://127.0.0.1:PORT``.
    token
        Of the front's launch.
    """

    def __init__(self, project: Project, app: App, url: str, token: str) -> None:
        self._project = project
        self._captures = project.state / "captures"
        self._app = app
        self._url = url
        self._token = token
        self._syncer = Syncer()
        self._known = Known(self._captures)
        self._counts: dict[str, Counts] = {}
        self._broken: set[str] = set()
        self._said: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._last: Seen | None = None
        self._closed = False
        self._counting = asyncio.create_task(self._keep_counting())

    def url_of(self, name: str) -> str:
        """Where an endpoint's predictions are asked for."""
        return f"{self._url}/{name}/invocations"

    def apply(self, seen: Seen) -> None:
        """Make it so; called in the event loop."""
        if self._closed:
            return
        desired = {name: one for name, one in seen.view.endpoints.items() if one.desired}
        for name in self._app.served.keys() - desired.keys():
            self._forget(self._app.served.pop(name))
        for name, endpoint in desired.items():
            served = self._app.served.get(name)
            if served is None:
                truths = TruthWriter(self._captures, name)
                self._syncer.add(truths)
                served = self._app.served[name] = Served(name, truths, self._known)
            served.token = seen.tokens.get(name)
            self._follow(served, endpoint, seen.view)
        if seen is self._last:
            return
        self._last = seen
        urls = {name: self.url_of(name) for name, one in desired.items() if one.url != self.url_of(name)}
        if urls:
            self._write(lambda: self._tell_urls(urls))

    def _follow(self, served: Served, endpoint: Endpoint, view: store.View) -> None:
        name, rollout = endpoint.name, view.rollouts.get(endpoint.name)
        active = served.active
        if active is not None and endpoint.serving is None and active.revision.number != endpoint.wanted:
            # It was stopped and published again between two looks.
            served.active = active = None
        # What answers now goes on until another is ready, whatever the rows say of it.
        held = None if active is None else active.revision.number
        numbers = [held, endpoint.serving, endpoint.wanted]
        if rollout is not None:
            numbers.append(rollout.candidate)
        elif endpoint.previous is not None and self._is_up(name, endpoint.previous, view):
            numbers.append(endpoint.previous)
        self._hold(served, {number for number in numbers if number is not None}, held, view)
        if active is None and endpoint.serving is not None:
            served.active = served.targets.get(endpoint.serving)
        for target in served.targets.values():
            self._offer(target, view)
            if isinstance(target.backend, SocketBackend):
                # There is another to answer in a candidate's place.
                trial = rollout is not None and target.revision.number == rollout.candidate
                target.backend.patience = 0.0 if trial else None
        self._try(served, rollout)
        wanted = served.targets.get(endpoint.wanted)
        if wanted is None or not wanted.backend.up:
            return
        if wanted is not served.active:
            served.active = wanted
            log.info("%s: revision %d answers", name, endpoint.wanted)
        if endpoint.serving != endpoint.wanted:
            self._say(f"{name} answers", lambda: self._switched(name, wanted.revision.number))

    @staticmethod
    def _is_up(name: str, number: int, view: store.View) -> bool:
        revision = view.revisions.get(store.owner(name, number))
        return revision is not None and revision.state == "up"

    def _hold(self, served: Served, numbers: set[int], held: int | None, view: store.View) -> None:
        """Have a target for each of these revisions that can answer, and for no other."""
        for number in list(served.targets):
            revision = view.revisions.get(store.owner(served.name, number))
            useless = number != held and (revision is None or revision.state not in ("starting", "up"))
            if number not in numbers or useless:
                self._retire(served.targets.pop(number))
        for number in numbers - served.targets.keys():
            target = self._target(served.name, number, view)
            if target is not None:
                served.targets[number] = target

    def _target(self, name: str, number: int, view: store.View) -> Target | None:
        who = store.owner(name, number)
        revision = view.revisions.get(who)
        if revision is None or revision.state not in ("starting", "up") or who in self._broken:
            return None
        try:
            signature = make(revision.columns, revision.tensor)
        except MLInfraError as error:
            self._broken.add(who)
            reason = error.message
            self._write(lambda: self._fail(name, number, reason))
            return None
        backend = SocketBackend(who, lambda: self._suspect(name, number))
        columns = [column.name for column in signature.columns]
        types = [column.type for column in signature.columns]
        writer = Writer(self._captures, name, number, columns, types)
        self._syncer.add(writer)
        return Target(revision, signature, backend, writer, self._counts.setdefault(who, Counts()))

    @staticmethod
    def _offer(target: Target, view: store.View) -> None:
        launch = view.models.get(store.owner(target.revision.endpoint, target.revision.number))
        if launch is not None and "socket" in launch.info and isinstance(target.backend, SocketBackend):
            target.backend.offer(launch.token, launch.info["socket"])

    def _settings(self, name: str) -> EndpointSettings:
        return self._project.settings.endpoints.get(name) or EndpointSettings()

    # -- a rollout --------------------------------------------------------------------------------

    def _try(self, served: Served, rollout: Rollout | None) -> None:
        """Begin, follow or end the trial of a candidate."""
        canary = served.canary
        candidate = None if rollout is None else served.targets.get(rollout.candidate)
        over = canary is not None and (rollout is None or rollout.id != canary.rollout.id)
        if canary is not None and (over or candidate is not served.candidate):
            served.canary = served.candidate = None
            self._background(self._end_shadow(canary.shadow))
            canary = None
        if rollout is None or candidate is None or served.active is None:
            return
        if canary is None:
            shadow = self._shadow(served.active, candidate)
            canary = Canary(rollout, served.active.counts, candidate.counts, shadow)
            served.candidate, served.canary = candidate, canary
        canary.follow(rollout)
        if candidate.backend.up and rollout.state == "starting":
            self._say(f"{rollout.id} is up", lambda: self._is_ready(served.name, rollout.candidate))
        canary.look()
        if canary.reason is not None:
            # It gets nothing any more, whether this can be written now or not.
            self._say(f"{rollout.id} is over", lambda: self._rolled_back(canary))

    def _shadow(self, stable: Target, candidate: Target) -> Shadow:
        name, number = stable.revision.endpoint, stable.revision.number
        folder = beside_folder(self._captures, name, candidate.revision.number, number)
        writer = Writer(self._captures, name, number, folder=folder)
        self._syncer.add(writer)
        same = (stable.revision.columns, stable.revision.tensor) == (
            candidate.revision.columns,
            candidate.revision.tensor,
        )
        return Shadow(stable, writer, same)

    async def _end_shadow(self, shadow: Shadow) -> None:
        self._syncer.remove(shadow.writer)
        await shadow.close()

    def _suspect(self, name: str, number: int) -> None:
        """A request has cost two of a revision's processes their lives."""
        served = self._app.served.get(name)
        if served is not None and served.canary is not None and served.canary.rollout.candidate == number:
            served.canary.suspect = "A request killed its process twice."
        else:
            self._write(lambda: self._is_suspect(name, number))

    # -- what was counted -------------------------------------------------------------------------

    async def _keep_counting(self) -> None:
        while True:
            await asyncio.sleep(_STATS_SECONDS)
            await self._write_stats()

    async def _write_stats(self) -> None:
        trials = [served.canary for served in self._app.served.values() if served.canary is not None]
        stats = FrontStats(
            self._token,
            time.time(),
            {who: counts + Counts() for who, counts in self._counts.items()},
            {one.rollout.id: one.sides for one in trials},
        )
        try:
            await asyncio.to_thread(counters.write, self._project.state, stats)
        except OSError as error:
            log.warning("the counters could not be written: %s", error)

    # -- giving back ------------------------------------------------------------------------------

    def _forget(self, served: Served) -> None:
        if served.canary is not None:
            self._background(self._end_shadow(served.canary.shadow))
        for target in served.targets.values():
            self._retire(target)
        self._syncer.remove(served.truths)
        self._background(asyncio.to_thread(served.truths.close))

    def _retire(self, target: Target) -> None:
        self._background(self._give_back(target))

    async def _give_back(self, target: Target) -> None:
        while target.users:
            await asyncio.sleep(0.01)
        await target.backend.close()
        self._syncer.remove(target.writer)
        await asyncio.to_thread(target.writer.close)

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("work beside the requests failed", exc_info=error)

    async def close(self) -> None:
        """Give everything back; requests are over by now."""
        self._closed = True
        self._counting.cancel()
        await self._write_stats()
        for served in self._app.served.values():
            self._forget(served)
        self._app.served.clear()
        while self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.to_thread(self._syncer.close)

    # -- rows, written off the event loop ---------------------------------------------------------

    def _say(self, what: str, work: Callable[[], None]) -> None:
        """Write something until the rows say it too; not more often than they can be read back."""
        if time.monotonic() > self._said.get(what, 0.0):
            self._said[what] = time.monotonic() + _AGAIN_SECONDS
            self._write(work)

    def _write(self, work: Callable[[], None]) -> None:
        self._background(asyncio.to_thread(work))

    def _switched(self, name: str, number: int) -> None:
        seen = recall.newest_event(self._captures, name)
        with self._project.storage.unit() as unit:
            store.switched(unit, name, number, self.url_of(name), self._settings(name).keep_warm, seen)

    def _is_ready(self, name: str, number: int) -> None:
        with self._project.storage.unit() as unit:
            store.update_revision(unit, name, number, "starting", state="up")

    def _rolled_back(self, canary: Canary) -> None:
        rollout, reason = canary.rollout, canary.reason
        if reason is None:
            return
        results = tuple(
            canary.broken if canary.broken is not None and one.gate == canary.broken.gate else one
            for one in rollout.results
        ) or (() if canary.broken is None else (canary.broken,))
        seen = recall.newest_event(self._captures, rollout.endpoint)
        with self._project.storage.unit() as unit:
            if rollout_store.roll_back(unit, rollout, reason, results, seen):
                log.warning("%s: revision %d is rolled back: %s", rollout.endpoint, rollout.candidate, reason)

    def _tell_urls(self, urls: dict[str, str]) -> None:
        with self._project.storage.unit() as unit:
            store.listening(unit, urls)

    def _is_suspect(self, name: str, number: int) -> None:
        with self._project.storage.unit() as unit:
            store.update(unit, name, reason=f"A request killed the process of revision {number} twice.")

    def _fail(self, name: str, number: int, reason: str) -> None:
        with self._project.storage.unit() as unit:
            store.fail(unit, name, number, reason)
