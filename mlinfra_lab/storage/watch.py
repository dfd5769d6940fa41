"""Telling, cheaply, that somebody committed something."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa

LOOK_SECONDS = 0.1


class Watcher(Protocol):
    """Answers whether rows were changed since it was last asked; for one thread."""

    def changed(self) -> bool:
        """Whether another connection committed since the last call."""

    def close(self) -> None:
        """Give the connection back."""


class SqliteWatcher:
    """Looks at ``PRAGMA data_version``, which costs microseconds and takes no lock."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._seen = -1

    def changed(self) -> bool:
        """See `Watcher`; the first call always says yes."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        changed = version != self._seen
        self._seen = version
        return bool(changed)

    def close(self) -> None:
        """See `Watcher`."""
        self._connection.close()


class PostgresWatcher:
    """LISTENs on the project's channel, on a connection of its own; reconnects when it is cut."""

    def __init__(self, url: sa.URL) -> None:
        self._url = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._connection: Any = None

    def changed(self) -> bool:
        """See `Watcher`; yes after every (re)connection, since something may have been missed."""
        import psycopg

        try:
            if self._connection is None:
                self._connection = psycopg.connect(self._url, autocommit=True, connect_timeout=10)
                self._connection.execute("LISTEN mlinfra")
                return True
            return any(True for _ in self._connection.notifies(timeout=0))
        except psycopg.OperationalError:
            self._connection = None
            return True

    def close(self) -> None:
        """See `Watcher`."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def wait(watcher: Watcher, seconds: float) -> bool:
    """Block until something changed (true) or the time is over (false)."""
    end = time.monotonic() + seconds
    while not watcher.changed():
        left = end - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(LOOK_SECONDS, left))
    return True
