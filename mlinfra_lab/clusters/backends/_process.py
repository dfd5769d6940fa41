"""The inside of a scheduler's and of a worker's process, for the backends that start such processes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import dask
import distributed
from dask.utils import parse_bytes
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.http.utils import RequestHandler
from distributed.security import Security

from mlinfra_lab.clusters import tls
from mlinfra_lab.clusters.backend import Node
from mlinfra_lab.schema.common import JSON

LOOPBACK = "127.0.0.1"
# A scheduler says at most this often how many workers it has: each time is a commit.
_PUBLISH_SECONDS = 0.25
_RETRY_SECONDS = 1.0
_LOOK_SECONDS = 30.0
_CLOSE_SECONDS = 2.0
_LEAVE_SECONDS = 4.5
# How long a worker tries one address before it looks whether the scheduler has another.
_TRY_SECONDS = 10.0
# How long a worker waits for a scheduler that does not come back.
_GONE_SECONDS = 60.0

log = logging.getLogger(__name__)
T = TypeVar("T")


def security(state: Path) -> Security:
    """What scheduler, workers and clients of this project show each other, and insist on."""
    files = tls.ensure(state)
    shown = {
        f"tls_{role}_{part}": str(path)
        for role in ("scheduler", "worker", "client")
        for part, path in (("cert", files.cert), ("key", files.key))
    }
    return Security(require_encryption=True, tls_ca_file=str(files.ca), **shown)


def memory(limit: int | str) -> int | str:
    """A memory limit in the form Dask takes: bytes, or ``"auto"``."""
    return limit if limit == "auto" else int(parse_bytes(limit))


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a process's coroutine; Dask's own loop settings apply."""
    return asyncio.run(main)


@contextlib.asynccontextmanager
async def _stopping(node: Node) -> AsyncIterator[asyncio.Event]:
    """An event that is set on SIGTERM, also when it came before the loop ran."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        node.stop.set()
        event.set()

    loop.add_signal_handler(signal.SIGTERM, stop)
    if node.stop.is_set():
        event.set()
    yield event


async def _first(*waits: Awaitable[Any]) -> None:
    """Return when one of them has; the others are cancelled, an error of the first is raised."""
    futures = [asyncio.ensure_future(wait) for wait in waits]
    done, pending = await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    for future in pending:
        future.cancel()
    for future in done:
        future.result()


# -- scheduler ------------------------------------------------------------------------------------


class _Counting(SchedulerPlugin):  # type: ignore[misc]
    """Wakes somebody when workers come or go."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()

    def add_worker(self, *_: Any, **__: Any) -> None:
        self.changed.set()

    def remove_worker(self, *_: Any, **__: Any) -> None:
        self.changed.set()


class _Nothing(RequestHandler):  # type: ignore[misc]
    """Answers 404."""

    def prepare(self) -> None:
        self.send_error(404)


def _hide(application: Any, prefix: str) -> None:
    """Answer 404 to everything outside ``prefix``.

    The dashboard has no login, so its address is a secret; and Dask's application would tell it to
    anybody who asks for ``/sitemap.json``.
    """
    find = application.find_handler

    def find_handler(request: Any, **options: Any) -> Any:
        if request.path.startswith(f"{prefix}/"):
            return find(request, **options)
        return application.get_handler_delegate(request, _Nothing, {})

    application.find_handler = find_handler


async def scheduler(node: Node, more: JSON) -> JSON:
    """Be the scheduler until asked to stop.

    Parameters
    ----------
    more
        Published besides address, dashboard and number of workers.
    """
    before = urlsplit(node.before.get("address", ""))
    board = urlsplit(node.before.get("dashboard", ""))
    # The dashboard's path stays the same too, so that an open page finds it again.
    prefix = board.path.strip("/").split("/")[0] or secrets.token_urlsafe(24)
    options: dict[str, Any] = {
        "host": LOOPBACK,
        "protocol": "tls://",
        "security": security(node.state),
        "dashboard": True,
        "dashboard_address": f"{LOOPBACK}:{board.port or 0}",
        "http_prefix": f"/{prefix}",
    }
    routes = dask.config.get("distributed.scheduler.http.routes")
    settings = {
        # Workers have no dashboards here, so there is nothing to pass on.
        "distributed.scheduler.http.routes": [name for name in routes if not name.endswith(".proxy")],
    }
    with dask.config.set(settings | _scratch(node)):
        async with _stopping(node) as stop:
            server = await _listening(options, before.port or 0)
            try:
                await _first(stop.wait(), server.finished(), _tell(node, server, prefix, more))
                await _workers_gone(server)
            finally:
                await server.close(reason="asked to stop")
    return {"stopped": "asked to" if node.stop.is_set() else "by a client"}


def _scratch(node: Node) -> JSON:
    # Dask's own choice is a folder in /tmp, where every user of the machine meets.
    node.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {"temporary-directory": str(node.scratch)}


async def _workers_gone(server: distributed.Scheduler) -> None:
    """Wait a moment for the workers, which leave in peace only while there is a scheduler."""
    end = time.monotonic() + _LEAVE_SECONDS
    while server.workers and time.monotonic() < end:
        await asyncio.sleep(_CLOSE_SECONDS / 20)


async def _listening(options: dict[str, Any], port: int) -> distributed.Scheduler:
    for attempt in (port, 0):
        server = distributed.Scheduler(port=attempt, **options)
        _hide(server.http_application, options["http_prefix"])
        try:
            return await server
        # Dask wraps what went wrong at the start, and closes the server.
        except RuntimeError as error:
            if attempt == 0 or not isinstance(error.__cause__, OSError):
                raise
            # Somebody took the port while the scheduler was away. The workers will be told the new one.
            log.warning("port %s cannot be had (%s); taking another", attempt, error.__cause__)
    raise AssertionError("unreachable")


async def _tell(node: Node, server: distributed.Scheduler, prefix: str, more: JSON) -> None:
    counting = _Counting()
    server.add_plugin(counting)
    port = server.services["dashboard"].port
    last: JSON | None = None
    while True:
        counting.changed.clear()
        info = more | {
            "address": server.address,
            "dashboard": f"http://{LOOPBACK}:{port}/{prefix}/status",
            "connected": len(server.workers),
        }
        if info != last and await _published(node, info):
            last = info
        if not node.state.exists():
            log.warning("the project's folder is gone; leaving")
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RETRY_SECONDS if info != last else _LOOK_SECONDS):
                await counting.changed.wait()
        await asyncio.sleep(_PUBLISH_SECONDS)


async def _published(node: Node, info: JSON) -> bool:
    try:
        await asyncio.to_thread(node.publish, info)
    # Whatever is wrong with the database, a computation that runs must not end because of it.
    except Exception:
        log.exception("could not say what has changed; trying again")
        return False
    return True


# -- worker ---------------------------------------------------------------------------------------


class Worker(distributed.Worker):  # type: ignore[misc]
    """Dask's worker, which waits less long for tasks that run on when it closes.

    A task cannot be stopped, and the result of one that outlives its worker has nobody to go to.
    """

    async def close(self, timeout: float = _CLOSE_SECONDS, **options: Any) -> Any:
        """See `distributed.Worker.close`."""
        return await super().close(timeout=min(timeout, _CLOSE_SECONDS), **options)

    @property
    def busy(self) -> bool:
        """Whether a thread of it still runs a task."""
        return any(
            thread.is_alive()
            for name in ("default", "actor")
            for thread in getattr(self.executors[name], "_threads", ())
        )


async def worker(node: Node, make: Callable[[str, dict[str, Any]], Any]) -> JSON:
    """Be a worker until asked to stop, or until the scheduler is gone for good.

    Dask's workers end when they lose their scheduler. Here the next one is made in the same process,
    so that it is back as soon as the scheduler is.

    Parameters
    ----------
    make
        Makes the worker, from the scheduler's address and the options that all workers have.
    """
    options: dict[str, Any] = {
        "host": LOOPBACK,
        "protocol": "tls://",
        "security": security(node.state),
        "death_timeout": _TRY_SECONDS,
        "dashboard": False,
        "dashboard_address": f"{LOOPBACK}:0",
    }
    connected = time.monotonic()
    # A worker's HTTP server cannot be switched off; with no routes it has nothing to tell.
    with dask.config.set({"distributed.worker.http.routes": []} | _scratch(node)):
        async with _stopping(node) as stop:
            while not stop.is_set():
                if not await asyncio.to_thread(node.wanted):
                    return {"stopped": "not wanted any more"}
                if time.monotonic() - connected > _GONE_SECONDS:
                    return {"stopped": "the scheduler is gone"}
                address = (await asyncio.to_thread(node.scheduler)).get("address")
                if address is None:
                    await _first(stop.wait(), asyncio.sleep(_PUBLISH_SECONDS))
                    continue
                server = make(address, options)
                if await _work(node, server, stop):
                    connected = time.monotonic()
                if getattr(server, "busy", False):
                    return {"stopped": "a task outlived its scheduler"}
    return {"stopped": "asked to"}


async def _work(node: Node, server: Any, stop: asyncio.Event) -> bool:
    """One worker's life; whether it was ever connected."""
    try:
        await _first(_started(server), stop.wait())
    except (OSError, RuntimeError) as error:
        # Dask wraps what went wrong at the start into a RuntimeError and closes the worker.
        log.warning("no connection to the scheduler: %s", error)
        return False
    if not stop.is_set():
        await _first(server.finished(), stop.wait())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LEAVE_SECONDS):
            # Scaled down rather than stopped: its results go to the others first.
            if stop.is_set() and hasattr(server, "close_gracefully") and await _others_stay(node):
                await server.close_gracefully(reason="scaled down")
            else:
                await server.close()
    return True


async def _started(server: Any) -> None:
    await server


async def _others_stay(node: Node) -> bool:
    published = await asyncio.to_thread(node.scheduler)
    return bool(published.get("connected", 0) > 1) and await asyncio.to_thread(node.wanted)
