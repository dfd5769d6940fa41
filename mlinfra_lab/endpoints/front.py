"""The project's front: ``python -m mlinfra_lab.endpoints.front``.

One process owns the port and answers for all endpoints. What it should answer with it learns from the
rows, ten times a second and only when they changed; nobody has to tell it. A new revision gets the
requests when its model process is linked, which it is only after it has loaded and warmed; requests that
are under way end on the old one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import msgspec
import uvicorn

from mlinfra_lab import launched
from mlinfra_lab.endpoints import listen, store
from mlinfra_lab.endpoints.app import App, Served, Target
from mlinfra_lab.endpoints.backend import SocketBackend
from mlinfra_lab.endpoints.capture import Syncer, Writer
from mlinfra_lab.endpoints.protocol import CONNECTIONS, Protocol
from mlinfra_lab.endpoints.signature import make
from mlinfra_lab.endpoints.tokens import token_file
from mlinfra_lab.errors import MLInfraError
from mlinfra_lab.project import Project
from mlinfra_lab.schema.common import JSON
from mlinfra_lab.schema.endpoints import Endpoint
from mlinfra_lab.storage.watch import LOOK_SECONDS

log = logging.getLogger(__name__)
_FINISH_SECONDS = 7
_LEASE_SECONDS = 5.0
_OTHER_FILES = 1024


class Seen(msgspec.Struct, frozen=True):
    """What the watching thread read: the rows, and the endpoints' tokens."""

    view: store.View
    tokens: dict[str, bytes | None]


class Front:
    """Keeps the application in line with the rows.

    Parameters
    ----------
    url
        The front's own address, ``http://127.0.0.1:PORT``.
    """

    def __init__(self, project: Project, app: App, url: str) -> None:
        self._project = project
        self._app = app
        self._url = url
        self._syncer = Syncer()
        self._candidates: dict[str, Target] = {}
        self._broken: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._last: Seen | None = None
        self._closed = False

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
            served = self._app.served.setdefault(name, Served(name))
            served.token = seen.tokens.get(name)
            self._follow(served, endpoint, seen.view)
        if seen is self._last:
            return
        self._last = seen
        urls = {name: self.url_of(name) for name, one in desired.items() if one.url != self.url_of(name)}
        if urls:
            self._write(lambda: self._tell_urls(urls))

    def _follow(self, served: Served, endpoint: Endpoint, view: store.View) -> None:
        name = endpoint.name
        serving = None if served.active is None else served.active.revision.number
        if served.active is not None and endpoint.serving is None and serving != endpoint.wanted:
            # It was stopped and published again between two looks.
            self._retire(served.active)
            served.active = serving = None
        if served.active is None and endpoint.serving is not None:
            served.active = self._target(name, endpoint.serving, view)
            serving = None if served.active is None else endpoint.serving
        candidate = self._candidates.get(name)
        wanted = view.revisions.get(store.owner(name, endpoint.wanted))
        if candidate is not None and (
            candidate.revision.number != endpoint.wanted or wanted is None or wanted.state == "failed"
        ):
            self._retire(self._candidates.pop(name))
            candidate = None
        if candidate is None and endpoint.wanted != serving:
            candidate = self._target(name, endpoint.wanted, view)
            if candidate is not None:
                self._candidates[name] = candidate
        for target in (served.active, candidate):
            if target is not None:
                self._offer(target, view)
        if candidate is not None and candidate.backend.up:
            self._switch(served, self._candidates.pop(name))

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
        backend = SocketBackend(who, lambda: self._write(lambda: self._suspect(name, number)))
        columns = [column.name for column in signature.columns]
        types = [column.type for column in signature.columns]
        writer = Writer(self._project.state / "captures", name, number, columns, types)
        self._syncer.add(writer)
        return Target(revision, signature, backend, writer)

    @staticmethod
    def _offer(target: Target, view: store.View) -> None:
        launch = view.models.get(store.owner(target.revision.endpoint, target.revision.number))
        if launch is not None and "socket" in launch.info and isinstance(target.backend, SocketBackend):
            target.backend.offer(launch.token, launch.info["socket"])

    def _switch(self, served: Served, target: Target) -> None:
        old, served.active = served.active, target
        log.info("%s: revision %d answers", served.name, target.revision.number)
        self._write(lambda: self._switched(served.name, target.revision.number))
        if old is not None:
            self._retire(old)

    def _forget(self, served: Served) -> None:
        for target in (served.active, self._candidates.pop(served.name, None)):
            if target is not None:
                self._retire(target)

    # -- giving back ------------------------------------------------------------------------------

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
        for served in self._app.served.values():
            self._forget(served)
        self._app.served.clear()
        while self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.to_thread(self._syncer.close)

    # -- rows, written off the event loop ---------------------------------------------------------

    def _write(self, work: Callable[[], None]) -> None:
        self._background(asyncio.to_thread(work))

    def _switched(self, name: str, number: int) -> None:
        with self._project.storage.unit() as unit:
            store.switched(unit, name, number, self.url_of(name))

    def _tell_urls(self, urls: dict[str, str]) -> None:
        with self._project.storage.unit() as unit:
            store.listening(unit, urls)

    def _suspect(self, name: str, number: int) -> None:
        with self._project.storage.unit() as unit:
            store.update(unit, name, reason=f"A request killed the process of revision {number} twice.")

    def _fail(self, name: str, number: int, reason: str) -> None:
        with self._project.storage.unit() as unit:
            store.fail(unit, name, number, reason)


class Watching(threading.Thread):
    """Reads the rows when they changed, and hands them to the event loop at each look.

    Not only when they changed, because a model process that comes or goes makes no change of its own.
    """

    def __init__(
        self, project: Project, token: str, hand: Callable[[Seen], None], leave: Callable[[], None]
    ) -> None:
        super().__init__(name="rows", daemon=True)
        self._project = project
        self._token = token
        self._hand = hand
        self._leave = leave
        self._stop_asked = threading.Event()

    def run(self) -> None:
        """Look until stopped."""
        seen: Seen | None = None
        checked = time.monotonic()
        with contextlib.closing(self._project.storage.watcher()) as watcher:
            while not self._stop_asked.wait(LOOK_SECONDS):
                try:
                    if watcher.changed() or seen is None:
                        seen = read(self._project)
                    self._hand(seen)
                    if time.monotonic() - checked > _LEASE_SECONDS:
                        checked = time.monotonic()
                        if not store.is_current(self._project.storage, self._token):
                            log.warning("the launch was given up: leaving")
                            self._leave()
                            return
                except Exception:
                    # Whatever is wrong with the database, what is served now goes on being served.
                    log.exception("the rows cannot be read")

    def stop(self) -> None:
        """End the thread."""
        self._stop_asked.set()
        self.join()


def read(project: Project) -> Seen:
    """The rows as they are."""
    view = store.view(project.storage)

    def token(name: str) -> bytes | None:
        try:
            return token_file(project.state, name).read_bytes().strip() or None
        except OSError:
            return None

    return Seen(view, {name: token(name) for name, one in view.endpoints.items() if one.desired})


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: they are the front's own."""
        yield


async def serve(project: Project, claim: launched.Claim) -> JSON:
    """Listen, answer, and end in good order."""
    loop = asyncio.get_running_loop()
    leaving = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, leaving.set)
    listener = await listen.obtain(project.storage, project.settings.serving, leaving)
    if listener is None:
        return {}
    address = listen.Address.of(listener)
    await asyncio.to_thread(claim.info, {"host": address.host, "port": address.port})
    app = App(project.settings.serving.max_body_bytes)
    front = Front(project, app, address.url)
    front.apply(await asyncio.to_thread(read, project))
    server = _Server(
        uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=_FINISH_SECONDS,
        )
    )
    watching = Watching(
        project,
        claim.token,
        lambda seen: _in_loop(loop, lambda: front.apply(seen)),
        lambda: _in_loop(loop, leaving.set),
    )
    watching.start()
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    log.info("the front listens at %s", address.url)
    await asyncio.wait([serving, asyncio.create_task(leaving.wait())], return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    await serving
    await asyncio.to_thread(watching.stop)
    await front.close()
    return {}


def _in_loop(loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> None:
    # The loop may have ended while a look was under way.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(work)


def _loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _make_room() -> None:
    """Let the process hold all connections that it takes; often 1,024 files are what it begins with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * CONNECTIONS + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        room = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (room, hard))


def main(project: Project, claim: launched.Claim) -> JSON:
    """The front's life; see `launched.run`."""
    _make_room()
    with asyncio.Runner(loop_factory=_loop()) as runner:
        return runner.run(serve(project, claim))


if __name__ == "__main__":
    launched.run(main)
