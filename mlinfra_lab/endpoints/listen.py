"""The front's port: one that was configured, or one that was free once and is kept."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import NamedTuple

from mlinfra_lab.endpoints import store
from mlinfra_lab.settings import ServingSettings
from mlinfra_lab.storage import Storage

log = logging.getLogger(__name__)
_AGAIN_SECONDS = 1.0
_BACKLOG = 2048
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class Address(NamedTuple):
    """Where the front can be reached from this machine."""

    host: str
    port: int

    @classmethod
    def of(cls, listener: socket.socket) -> Address:
        """The address of a listening socket."""
        host, port = listener.getsockname()[:2]
        return cls(_EVERYWHERE.get(host, host), port)

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises
    ------
    OSError
        When the port is taken or the address is not ours.
    """
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind)
    try:
        # A port whose connections are still closing can be taken again; SO_REUSEPORT is left out,
        # because with it two fronts would share one port without noticing.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def who_listens(port: int) -> str | None:
    """Name and pid of the process that listens on a port, where this user may know."""
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        for one in psutil.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port and one.pid:
                return f"{psutil.Process(one.pid).name()}, process {one.pid}"
    return None


async def obtain(storage: Storage, settings: ServingSettings, leaving: asyncio.Event) -> socket.socket | None:
    """The project's port; tried again until it is free. ``None`` when told to leave before."""
    told: str | None = None
    while not leaving.is_set():
        port = settings.port or await asyncio.to_thread(store.port, storage) or 0
        try:
            listener = bind(settings.host, port)
        except OSError as error:
            reason = await asyncio.to_thread(_reason, settings.host, port, error)
            if reason != told:
                log.warning("%s", reason)
                told = reason
            await asyncio.to_thread(_write_down, storage, reason)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_AGAIN_SECONDS):
                    await leaving.wait()
            continue
        if port == 0:
            await asyncio.to_thread(store.keep_port, storage, Address.of(listener).port)
        return listener
    return None


def _reason(host: str, port: int, error: OSError) -> str:
    who = who_listens(port)
    taken = f" (by {who})" if who else ""
    what = error.strerror or str(error)
    return f"The front cannot listen on port {port} of {host}{taken}: {what}. It tries again every second."


def _write_down(storage: Storage, reason: str) -> None:
    with storage.unit() as unit:
        store.not_listening(unit, reason)
