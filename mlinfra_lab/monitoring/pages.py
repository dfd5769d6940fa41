"""Opening an endpoint's page: the server that is wanted, and one-time tickets for it.

The page server has a random token that nobody is told. Who opens a page is let in by a ticket: a file that
only this user can write, good for one browser and one minute. So no address bar, shell history or saved
notebook ever holds something that opens the page a second time.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from mlinfra_lab.errors import Failed, Unavailable, from_failure
from mlinfra_lab.schema.common import now
from mlinfra_lab.schema.control import Launch, Wanted
from mlinfra_lab.schema.endpoints import Endpoint
from mlinfra_lab.schema.monitoring import Link
from mlinfra_lab.schema.tasks import Failure
from mlinfra_lab.storage import Storage, Unit, launches, meta
from mlinfra_lab.storage.watch import wait as wait_for_change

__all__ = ["PagesService", "Tickets"]

KIND = OWNER = "pages"
MODULE = "mlinfra_lab.server.pages"
PORT = "pages-port"
"""Under which the port that was chosen is kept."""
WANTED = "pages"
"""Under which it stands that the server is wanted, and since which opening."""
TICKET_SECONDS = 60
_START_SECONDS = 60.0
_LOOK_SECONDS = 0.5


class Controller(Protocol):
    """What is asked of the controller."""

    def ensure(self) -> None:
        """Make sure that it is there."""

    def check(self) -> None:
        """While waiting: see that it still is."""


class _Ticket(msgspec.Struct, frozen=True):
    endpoint: str
    expires: float


class Tickets:
    """One-time tickets, a file each, named by what only the holder of the ticket can compute.

    Parameters
    ----------
    state
        The project's state folder.
    """

    def __init__(self, state: Path) -> None:
        self._folder = state / "run" / "tickets"

    def make(self, endpoint: str, seconds: float = TICKET_SECONDS) -> str:
        """A new ticket for an endpoint's page; tickets that are over are thrown away."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sweep()
        ticket = secrets.token_urlsafe(32)
        descriptor = os.open(self._path(ticket), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(_Ticket(endpoint, time.time() + seconds)))
        return ticket

    def take(self, ticket: str) -> str | None:
        """The endpoint a ticket is for; ``None`` when it was used, is over, or never was one.

        Whoever comes second, also at the same moment, gets ``None``: a file can be unlinked once.
        """
        path = self._path(ticket)
        try:
            found = msgspec.json.decode(path.read_bytes(), type=_Ticket)
            path.unlink()
        except (OSError, msgspec.DecodeError):
            return None
        return found.endpoint if time.time() < found.expires else None

    def _path(self, ticket: str) -> Path:
        return self._folder / hashlib.sha256(ticket.encode()).hexdigest()

    def _sweep(self) -> None:
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > 2 * TICKET_SECONDS:
                    path.unlink()


class PagesService:
    """The project's pages in a browser.

    Parameters
    ----------
    state
        The project's state folder.
    find
        An endpoint by its name.
    actor
        Who acts.
    controller
        Starts the server.
    """

    def __init__(
        self,
        state: Path,
        storage: Storage,
        find: Callable[[str], Endpoint],
        actor: str,
        controller: Controller,
    ) -> None:
        self._state = state
        self._storage = storage
        self._find = find
        self._actor = actor
        self._controller = controller
        self.tickets = Tickets(state)

    def open(self, name: str, timeout: float = _START_SECONDS) -> Link:
        """A link to an endpoint's page; waits until the server answers at it.

        Parameters
        ----------
        timeout
            Seconds to wait at most.

        Returns
        -------
        Link
            Good for one browser, for a minute.

        Raises
        ------
        NotFound
            No such endpoint.
        Unavailable
            When the server does not listen in time, with the reason.
        """
        self._find(name)
        url = self.serve(timeout)
        page = f"{url}/mlinfra/endpoints/{name}"
        expires = now() + dt.timedelta(seconds=TICKET_SECONDS)
        ticket = self.tickets.make(name)
        way_in = f"{url}/mlinfra/open?name={name}&ticket={ticket}"
        return Link(endpoint=name, url=way_in, page=page, expires=expires)

    def serve(self, timeout: float = _START_SECONDS) -> str:
        """Have the page server running; returns its address.

        Raises
        ------
        Unavailable
            When it does not listen in time.
        """
        with self._storage.unit(self._actor) as unit:
            # Another value each time: a server that is about to leave sees that somebody came.
            meta.put(unit, WANTED, secrets.token_hex(8))
        self._controller.ensure()
        end = time.monotonic() + timeout
        watcher = self._storage.watcher()
        try:
            while True:
                launch = self.launch()
                port = launch.info.get("port") if launch is not None else None
                if port is not None and listens(port):
                    return f"http://127.0.0.1:{port}"
                self._check(launch, end, timeout)
                self._controller.check()
                wait_for_change(watcher, _LOOK_SECONDS)
        finally:
            watcher.close()

    def launch(self) -> Launch | None:
        """The server's process, if one lives."""
        with self._storage.read() as connection:
            found = launches.opened(connection, [KIND])
        return next((one for one in found if launches.alive(one) is not False), None)

    def _check(self, launch: Launch | None, end: float, timeout: float) -> None:
        if launch is None and meta.get(self._storage, WANTED) is None:
            with self._storage.read() as connection:
                last = launches.latest(connection, KIND, OWNER)
            error = (last.outcome or {}).get("error") if last is not None else None
            if error is not None:
                raise from_failure(msgspec.convert(error, Failure))
            raise Failed("The page server has left.", f"Its log is {self._log}.")
        if time.monotonic() > end:
            reason = launch.info.get("reason") if launch is not None else None
            raise Unavailable(
                str(reason or f"The page server does not answer after {timeout:g} s."),
                f"Its log is {self._log}.",
            )

    @property
    def _log(self) -> Path:
        return self._state / "logs" / f"{KIND}-{OWNER}.log"

    # -- for the controller's loop ----------------------------------------------------------------

    def wanted(self) -> list[Wanted]:
        """The page server, from the first opening of a page until it was idle."""
        if meta.get(self._storage, WANTED) is None:
            return []
        return [Wanted(kind=KIND, owner=OWNER, module=MODULE)]

    def ended(self, launch: Launch) -> None:
        """The server is over: one that says why is not started again until somebody opens a page."""
        if launch.kind == KIND and (launch.outcome or {}).get("error") is not None:
            with self._storage.unit() as unit:
                meta.put(unit, WANTED, None)

    # -- for the server ---------------------------------------------------------------------------

    def asked(self) -> str | None:
        """What stands for the newest opening."""
        return meta.get(self._storage, WANTED)

    def leave(self, unit: Unit, seen: str | None) -> bool:
        """In the unit that ends the server: nobody wants it any more; false when somebody came since."""
        if self.asked() != seen:  # nobody else can commit while the unit is open
            return False
        meta.put(unit, WANTED, None)
        return True


def listens(port: int) -> bool:
    """Whether something takes connections on a port of this machine."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
