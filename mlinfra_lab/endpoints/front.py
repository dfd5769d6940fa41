"""The project's front: ``python -m mlinfra_lab.endpoints.front``.

One process owns the port and answers for all endpoints. What it should answer with it learns from the
rows, ten times a second and only when they changed; nobody has to tell it. A new revision gets the
requests when its model process is linked, which it is only after it has loaded and warmed; requests that
are under way end on the old one. What follows from the rows is in `following`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator

import uvicorn

from mlinfra_lab import launched
from mlinfra_lab.endpoints import listen, store
from mlinfra_lab.endpoints.app import App
from mlinfra_lab.endpoints.following import Following, Seen, read
from mlinfra_lab.endpoints.protocol import CONNECTIONS, Protocol
from mlinfra_lab.project import Project
from mlinfra_lab.schema.common import JSON
from mlinfra_lab.storage.watch import LOOK_SECONDS

log = logging.getLogger(__name__)
_FINISH_SECONDS = 7
_LEASE_SECONDS = 5.0
_OTHER_FILES = 1024


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
    front = Following(project, app, address.url, claim.token)
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
