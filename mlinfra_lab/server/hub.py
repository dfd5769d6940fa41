"""What the handlers share: the project, who is here, and the one thread that watches for changes."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType

import msgspec
from tornado.web import Application

from mlinfra_lab.project import Project
from mlinfra_lab.schema.common import now
from mlinfra_lab.schema.control import Change
from mlinfra_lab.schema.monitoring import Range
from mlinfra_lab.storage import feed, launches
from mlinfra_lab.storage.watch import LOOK_SECONDS

log = logging.getLogger(__name__)
_BY_NAME = frozenset({"monitor", "endpoint", "rollout"})
_KINDS = frozenset({"front", "model", "monitor"})
_FRESH_SECONDS = 1.0
Events = asyncio.Queue[Change | None]


class Hub:
    """See the module.

    Parameters
    ----------
    loop
        The event loop the handlers run in.
    kernels
        Ids of those that joined a page.
    """

    def __init__(
        self,
        project: Project,
        loop: asyncio.AbstractEventLoop,
        kernels: Callable[[], list[str]],
    ) -> None:
        self.project = project
        self.kernels = kernels
        self.watching = Watching(project, loop)
        self._touched = time.monotonic()
        self._joining = asyncio.Lock()
        self._joins: ModuleType | None = None
        self._views: dict[tuple[str, Range], tuple[int, float, bytes]] = {}
        self._locks: dict[tuple[str, Range], threading.Lock] = {}

    def touch(self) -> None:
        """Somebody asked for something."""
        self._touched = time.monotonic()

    def idle_for(self) -> float:
        """Seconds since anybody was here; none while a page is open."""
        if self.watching.subscribers or self.kernels():
            self.touch()
        return time.monotonic() - self._touched

    async def joining(self, application: Application) -> ModuleType:
        """Voila, imported and with its addresses on the server from the first call on."""
        async with self._joining:
            if self._joins is None:
                module = await asyncio.to_thread(importlib.import_module, "mlinfra_lab.server.joining")
                application.add_handlers(".*$", await asyncio.to_thread(module.routes))
                self._joins = module
            return self._joins

    def view(self, name: str, range: Range) -> bytes:
        """An endpoint's `View` as JSON; made once for all who ask at the same time."""
        key = (name, range)
        with self._locks.setdefault(key, threading.Lock()):
            revision = feed.latest(self.project.storage)
            known = self._views.get(key)
            if known and known[0] == revision and time.monotonic() - known[1] < _FRESH_SECONDS:
                return known[2]
            found = msgspec.json.encode(self.project.monitoring.view(name, range), enc_hook=str)
            self._views[key] = (revision, time.monotonic(), found)
            return found


class Watching:
    """Looks at the change feed ten times a second, for all pages at once; sleeps when there is none."""

    def __init__(self, project: Project, loop: asyncio.AbstractEventLoop) -> None:
        self._project = project
        self._loop = loop
        self._queues: dict[Events, str] = {}
        self._needed = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def subscribers(self) -> int:
        """How many pages are open."""
        return len(self._queues)

    @property
    def looking(self) -> bool:
        """Whether the feed is being looked at."""
        return self._needed.is_set()

    @contextlib.contextmanager
    def subscribed(self, name: str) -> Iterator[Events]:
        """The changes that concern an endpoint, from now on; call it in the event loop."""
        queue: Events = asyncio.Queue()
        self._queues[queue] = name
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
            self._thread.start()
        self._needed.set()
        try:
            yield queue
        finally:
            del self._queues[queue]
            if not self._queues:
                self._needed.clear()

    def close(self) -> None:
        """End the thread, and tell the pages that the server leaves."""
        self._closed = True
        self._needed.set()
        for queue in self._queues:
            queue.put_nowait(None)
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        pause = threading.Event()
        while not self._closed:
            self._needed.wait()
            with contextlib.closing(self._project.storage.watcher()) as watcher:
                watcher.changed()
                seen = feed.latest(self._project.storage)
                # What was committed while nobody looked: the pages see by its number whether they have it.
                self._tell(Change(revision=seen, resource="feed", id="", change="updated"), "")
                while self._needed.is_set() and not self._closed:
                    try:
                        if watcher.changed():
                            seen = self._hand_out(seen)
                    except Exception:
                        # Whatever is wrong with the database, what is open stays open.
                        log.exception("the change feed cannot be read")
                        pause.wait(1.0)
                    pause.wait(LOOK_SECONDS)

    def _hand_out(self, seen: int) -> int:
        for change in feed.since(self._project.storage, seen):
            seen = change.revision
            names = self._whom(change)
            if names is not None:
                self._tell(change, names)
        return seen

    def _tell(self, change: Change, name: str) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._deliver, change, name)

    def _whom(self, change: Change) -> str | None:
        """The endpoint a change concerns; ``""`` is all of them."""
        if change.resource in _BY_NAME:
            return change.id
        if change.resource == "alert":
            return ""
        if change.resource == "launch":
            with self._project.storage.read() as connection:
                launch = launches.get(connection, change.id)
            if launch is not None and launch.kind in _KINDS:
                return launch.owner.rpartition(".")[0] if launch.kind == "model" else ""
        return None

    def _deliver(self, change: Change, name: str) -> None:
        for queue, wanted in self._queues.items():
            if name in ("", wanted):
                queue.put_nowait(change)


def keep_kernel(manager: object, kernel: str) -> None:
    """Say that a kernel's page is looked at, so that it is not taken for one that was left."""
    get: Callable[[str], object] = manager.get_kernel  # type: ignore[attr-defined]
    with contextlib.suppress(Exception):  # it has ended meanwhile
        get(kernel).last_activity = now()  # type: ignore[attr-defined]
