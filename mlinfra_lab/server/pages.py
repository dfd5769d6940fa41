"""The page server: ``python -m mlinfra_lab.server.pages``.

The controller starts it when somebody opens a page. It keeps its port and its cookies, so that pages which
are open go on by themselves when it was restarted; it leaves when nobody has looked for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from mlinfra_lab import launched
from mlinfra_lab.monitoring.pages import PORT
from mlinfra_lab.project import Project
from mlinfra_lab.schema.common import JSON
from mlinfra_lab.storage import launches, meta

if TYPE_CHECKING:
    from mlinfra_lab.server.hub import Hub

log = logging.getLogger(__name__)
_HOST = "127.0.0.1"
_AGAIN_SECONDS = 0.5
_LOOK_SECONDS = 1.0
_LEASE_SECONDS = 5
_BACKLOG = 128


def bind(port: int) -> socket.socket:
    """A listening socket on the loopback address.

    Raises
    ------
    OSError
        When the port is taken.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        listener.bind((_HOST, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


async def obtain(project: Project, claim: launched.Claim, leaving: asyncio.Event) -> socket.socket | None:
    """The port that was chosen for this project; tried again until it is free, or told to leave."""
    told = ""
    while not leaving.is_set():
        kept = project.settings.pages.port or int(
            await asyncio.to_thread(meta.get, project.storage, PORT) or 0
        )
        try:
            listener = bind(kept)
        except OSError as error:
            reason = f"The page server cannot listen on port {kept} ({error.strerror}); it tries again."
            if reason != told:
                log.warning("%s", reason)
                await asyncio.to_thread(claim.info, {"reason": reason})
            told = reason
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_AGAIN_SECONDS):
                    await leaving.wait()
            continue
        if not kept:
            await asyncio.to_thread(_keep, project, listener.getsockname()[1])
        return listener
    return None


def _kept(project: Project) -> int:
    return int(meta.get(project.storage, PORT) or 0)


def _keep(project: Project, port: int) -> None:
    with project.storage.unit() as unit:
        meta.put(unit, PORT, str(port))


async def serve(
    project: Project,
    claim: launched.Claim,
    leaving: asyncio.Event,
    up: Callable[[Hub], None] = lambda _: None,
) -> JSON:
    """Listen, answer, and end in good order when told to leave, or when nobody has looked for long.

    Parameters
    ----------
    up
        Called with what the handlers share, once it answers.
    """
    loop = asyncio.get_running_loop()
    listener = await obtain(project, claim, leaving)
    if listener is None:
        return {}
    port = listener.getsockname()[1]
    from tornado.httpserver import HTTPServer

    from mlinfra_lab.server import app as application
    from mlinfra_lab.server.hub import Hub
    from mlinfra_lab.server.routes import routes

    runtime = project.state / "run" / "pages"
    # What a server that was killed left behind.
    shutil.rmtree(runtime, ignore_errors=True)
    runtime.mkdir(mode=0o700, parents=True)
    app = application.make(project, runtime)
    hub = Hub(project, loop, lambda: list(app.kernel_manager.list_kernel_ids()))
    app.web_app.settings["mlinfra_hub"] = hub
    app.web_app.add_handlers(".*$", routes())  # type: ignore[no-untyped-call]
    app.port = port
    server = HTTPServer(app.web_app, max_body_size=2**20)
    server.add_socket(listener)
    await asyncio.to_thread(claim.info, {"host": _HOST, "port": port})
    up(hub)
    log.info("the pages are at http://%s:%d", _HOST, port)
    try:
        await _until_idle(project, claim, hub, leaving)
    finally:
        server.stop()
        await asyncio.to_thread(hub.watching.close)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEASE_SECONDS):
                await application.close(app)
        await server.close_all_connections()
    return {}


async def _until_idle(project: Project, claim: launched.Claim, hub: Hub, leaving: asyncio.Event) -> None:
    looks = 0
    asked = await asyncio.to_thread(project.pages.asked)
    while not leaving.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await leaving.wait()
        looks += 1
        if looks % _LEASE_SECONDS == 0 and not await asyncio.to_thread(_is_current, project, claim.token):
            log.warning("the launch was given up: leaving")
            return
        if hub.idle_for() < project.settings.pages.idle:
            continue
        if await asyncio.to_thread(_leave, project, claim, asked):
            log.info("nobody has looked for %g s: leaving", project.settings.pages.idle)
            return
        asked = await asyncio.to_thread(project.pages.asked)
        hub.touch()


class _Came(Exception):
    """Somebody opened a page at the last moment."""


def _leave(project: Project, claim: launched.Claim, asked: str | None) -> bool:
    try:
        with claim.end() as unit:
            if not project.pages.leave(unit, asked):
                raise _Came
    except _Came:
        return False
    return True


def _is_current(project: Project, token: str) -> bool:
    with project.storage.read() as connection:
        launch = launches.get(connection, token)
    return launch is not None and launch.state == "running"


def main(project: Project, claim: launched.Claim) -> JSON:
    """The server's life; see `launched.run`."""

    async def run() -> JSON:
        leaving = asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, leaving.set)
        return await serve(project, claim, leaving)

    return asyncio.run(run())


if __name__ == "__main__":
    launched.run(main)
