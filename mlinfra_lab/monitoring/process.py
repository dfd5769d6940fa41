"""The project's monitor: ``python -m mlinfra_lab.monitoring.process``.

One process follows what all endpoints capture, what came true, and what the front counts. Sums and how far
was read for them are committed in one unit, so that a monitor that is killed counts nothing twice and
forgets nothing. It answers nobody: what it knows stands in rows, and the change feed says when it changed.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import gc
import logging
import signal
import threading
import time

import msgspec

from mlinfra_lab import counters, faults, launched
from mlinfra_lab.counters import Counts, FrontStats
from mlinfra_lab.monitoring import alerts, store
from mlinfra_lab.monitoring.counting import Added
from mlinfra_lab.monitoring.watching import FRONT, Positions, Watching
from mlinfra_lab.project import Project
from mlinfra_lab.schema.common import JSON, now
from mlinfra_lab.storage import Unit
from mlinfra_lab.storage.watch import LOOK_SECONDS

log = logging.getLogger(__name__)
TELL_SECONDS = 0.25
"""How often the feed is told of an endpoint at most."""
_JUDGE_SECONDS = 1.0
_LEASE_SECONDS = 5.0
_FORGET_SECONDS = 3600.0
_KEPT = dt.timedelta(days=35)
"""How long the minutes of the traffic are kept; their sum stays."""
_PATIENCE = 60.0
"""Seconds for which a unit that cannot be written is tried again, before the process begins anew."""


class GivenUp(Exception):
    """The launch is no longer this process's own."""


class Monitor:
    """Follows the endpoints of a project.

    Parameters
    ----------
    token
        The launch that it lives by; a monitor that was given up writes nothing any more.
    """

    def __init__(self, project: Project, token: str | None = None) -> None:
        self._token = token
        self._project = project
        self._storage = project.storage
        self._captures = project.state / "captures"
        self._watcher = project.storage.watcher()
        self._followed: dict[str, Watching] = {}
        self._positions: dict[str, Positions] = {}
        with self._storage.read() as connection:
            for (endpoint, stream), row in store.all_positions(connection).items():
                self._positions.setdefault(endpoint, {})[stream] = row
        self._counted = self._recall()
        self._stats: FrontStats | None = None
        self._looked = False
        self._pending: Added | None = None
        self._failing = 0.0
        self._owed: set[str] = set()
        self._dirty: set[str] = set()
        self._told = self._judged = 0.0
        self._forgot = time.monotonic()

    def _recall(self) -> dict[str, tuple[str, Counts]]:
        """What of which front's counters is in the sums already, by revision."""
        return {
            f"{endpoint}.{number}": (streams[FRONT][2]["token"], msgspec.convert(counts, Counts))
            for endpoint, streams in self._positions.items()
            if FRONT in streams
            for number, counts in streams[FRONT][2]["targets"].items()
        }

    # -- one turn ---------------------------------------------------------------------------------

    def turn(self) -> bool:
        """Read what came, write it, judge; true when there is more to read at once."""
        more = False
        if self._pending is None:
            added = Added()
            self._rows()
            for one in self._followed.values():
                more = one.read(added) or more
            self._front(added)
            self._pending = added if added else None
        if self._pending is not None:
            self._commit(self._pending)
        elif self._owed and self._may_tell():
            with self._storage.unit() as unit:
                self._tell(unit)
        if self._dirty and time.monotonic() - self._judged >= _JUDGE_SECONDS:
            self._judge()
        if time.monotonic() - self._forgot > _FORGET_SECONDS:
            self._forget()
        return more and self._pending is None

    def _rows(self) -> None:
        if not self._watcher.changed() and self._looked:
            return
        with self._storage.read() as connection:
            watched = store.watched(connection)
        self._looked = True
        for name, one in watched.items():
            if name not in self._followed:
                settings = self._project.monitoring.settings(name)
                self._followed[name] = Watching(
                    self._captures, self._storage, name, settings, self._positions.get(name, {})
                )
                self._dirty.add(name)
            known = one.endpoint
            asked = {known.serving, known.wanted, known.previous}
            if one.rollout is not None:
                asked |= {one.rollout.stable, one.rollout.candidate}
            self._followed[name].hot = {number for number in asked if number is not None}

    def _front(self, added: Added) -> None:
        """Add what the front counted since it was last looked at, by the minute of the clock."""
        stats = counters.read(self._project.state)
        if stats is None or (
            self._stats is not None and (stats.token, stats.at) == (self._stats.token, self._stats.at)
        ):
            return
        minute = dt.datetime.fromtimestamp(stats.at // 60 * 60, dt.UTC)
        changed: set[str] = set()
        for target, counts in stats.targets.items():
            token, before = self._counted.get(target, ("", Counts()))
            if token != stats.token:
                before = Counts()
            name, _, number = target.rpartition(".")
            if counts == before or not number.isdigit() or name not in self._followed:
                continue
            added.traffic[name, int(number), minute] = counts - before
            self._counted[target] = (stats.token, counts)
            changed.add(name)
        self._stats = stats
        for name in changed:
            own = {
                number: msgspec.to_builtins(counts)
                for target, counts in stats.targets.items()
                for endpoint, _, number in [target.rpartition(".")]
                if endpoint == name
            }
            added.positions[name, FRONT] = (0, 0, {"token": stats.token, "targets": own})

    def _commit(self, added: Added) -> None:
        try:
            faults.point("monitor.before-commit")
            with self._storage.unit() as unit:
                self._check(unit)
                added.write(unit)
                self._owed |= added.endpoints
                if self._may_tell():
                    self._tell(unit)
                faults.point("monitor.in-unit")
            faults.point("monitor.committed")
        except GivenUp:
            raise
        except Exception:
            # A locked database, a full disk: nothing is read on meanwhile, so nothing is lost.
            if not self._failing:
                log.exception("the sums cannot be written; they are tried again")
                self._failing = time.monotonic()
            if time.monotonic() - self._failing > _PATIENCE:
                raise
            return
        self._failing = 0.0
        self._pending = None
        self._dirty |= added.endpoints

    def _check(self, unit: Unit) -> None:
        # Another one may count by now what this one has read.
        if self._token is not None and not store.is_current(unit.connection, self._token):
            raise GivenUp

    def _may_tell(self) -> bool:
        return time.monotonic() - self._told >= TELL_SECONDS

    def _tell(self, unit: Unit) -> None:
        for name in self._owed:
            unit.changed("monitor", name, "updated")
        self._owed = set()
        self._told = time.monotonic()

    def _forget(self) -> None:
        with self._storage.unit() as unit:
            store.forget_minutes(unit, now() - _KEPT)
        self._forgot = time.monotonic()

    def _judge(self) -> None:
        dirty, self._dirty = self._dirty, set()
        for name in dirty:
            try:
                alerts.judge(self._storage, name, self._project.monitoring.settings(name))
            except Exception:
                log.exception("the rules of %s cannot be judged", name)
        self._judged = time.monotonic()

    def check(self) -> None:
        """See that the launch is still this process's own.

        Raises
        ------
        GivenUp
            When it is not.
        """
        with self._storage.read() as connection:
            if self._token is not None and not store.is_current(connection, self._token):
                raise GivenUp

    def close(self) -> None:
        """Take in what is there and give everything back."""
        with contextlib.suppress(Exception):
            self.turn()
        self._watcher.close()


def main(project: Project, claim: launched.Claim) -> JSON:
    """The monitor's life; see `launched.run`."""
    leaving = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: leaving.set())
    # Rows are made and dropped by the thousand, none of them in a circle: the collector's usual zeal costs
    # as much again as counting them.
    gc.freeze()
    gc.set_threshold(50_000, 20, 1000)
    monitor = Monitor(project, claim.token)
    log.info("the monitor of %s is up", project.root)
    checked = time.monotonic()
    try:
        while not leaving.is_set():
            if not monitor.turn():
                leaving.wait(LOOK_SECONDS)
            if time.monotonic() - checked > _LEASE_SECONDS:
                checked = time.monotonic()
                monitor.check()
    except GivenUp:
        log.warning("the launch was given up: leaving")
        return {}
    monitor.close()
    return {}


if __name__ == "__main__":
    launched.run(main)
