"""An endpoint's view as it changes, for all widgets that show a part of it."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec
import traitlets

from mlinfra_lab.errors import Invalid, MLInfraError, NotFound
from mlinfra_lab.schema.monitoring import RANGES, Range, Span, View
from mlinfra_lab.widgets import still
from mlinfra_lab.widgets.base import Widget

if TYPE_CHECKING:
    from mlinfra_lab.project import Project

__all__ = ["Monitor", "open_endpoint"]

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_BETWEEN_SECONDS = 0.25
"""A view is made at most so often, however fast rows come."""
_NAMED = frozenset({"monitor", "endpoint", "rollout"})
"""Things in the change feed whose id is the endpoint's name."""


class Monitor(Widget):
    """An endpoint's monitoring, which `Drift` and the others show parts of; by itself, the whole page.

    It follows the project's change feed: when the monitor has counted newer rows, all widgets show them.

    Parameters
    ----------
    project
        The project; by default the one the notebook works in.
    name
        The endpoint.
    range
        How far back from the newest row: ``day``, ``week``, ``month``, ``all``; event time.
    live
        Whether it follows.
    actions
        Whether an alert's buttons are shown.

    Raises
    ------
    NotFound
        When there is no such endpoint.

    Examples
    --------
    >>> m = Monitor(name="delay")  # doctest: +SKIP
    >>> m.latest.tiles[3].value  # doctest: +SKIP
    0.13
    """

    view = traitlets.Dict(default_value=None, allow_none=True).tag(sync=True)
    range = traitlets.Enum(RANGES, default_value="all").tag(sync=True)
    state = traitlets.Dict().tag(sync=True)
    actions = traitlets.Bool(True).tag(sync=True)

    def __init__(
        self,
        project: Project | None = None,
        name: str | None = None,
        *,
        range: Range = "all",
        live: bool = True,
        actions: bool = True,
        view: View | None = None,
    ) -> None:
        self.project = project
        self.latest: View
        self._follower: _Follower | None = None
        if view is None:
            self.project, name = _found(project, name)
            view = self.project.monitoring.view(name, range)
        self.name = view.endpoint
        super().__init__("page", range=range, actions=actions and self.project is not None)
        self.source = f"IPY_MODEL_{self.model_id}"
        self._show(view)
        self.observe(self._ranged, "range")
        self.on_msg(self._asked)
        if live and self.project is not None:
            self._follower = _Follower(self, self.project)
            self._follower.start()

    @classmethod
    def of(cls, view: View) -> Monitor:
        """Of a view that is already there; it does not change."""
        return cls(view=view, live=False)

    # -- what a person chose ----------------------------------------------------------------------

    @property
    def selection(self) -> tuple[str | None, Span] | None:
        """The chosen cell of the drift map: its feature (``None``: the prediction) and its window."""
        chosen = self.state.get("selection")
        if not chosen:
            return None
        at = dt.datetime.fromtimestamp(chosen["window"] / 1000, dt.UTC)
        found = next((span for span in self.latest.drift.windows if span.start == at), None)
        return None if found is None else (chosen["feature"], found)

    def select(self, feature: str | None, at: str | dt.date) -> None:
        """Choose a cell of the drift map, as a click does.

        Parameters
        ----------
        feature
            Its name; ``None`` for the prediction.
        at
            A moment in the window, UTC unless it says otherwise: ``"2013-04-09"``.

        Raises
        ------
        NotFound
            When there is no such feature or window.
        """
        drift = self.latest.drift
        if feature is not None and feature not in {row.name for row in drift.features}:
            names = ", ".join(row.name for row in drift.features)
            raise NotFound(
                f"“{feature}” is no feature of “{self.name}”.", f"There are {names}." if names else None
            )
        moment = dt.datetime.fromisoformat(str(at))
        moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
        window = next((span for span in drift.windows if span.start <= moment < span.end), None)
        if window is None:
            raise NotFound(f"There is no window at {at}.", _reach(drift.windows))
        self.state = {"selection": {"window": window.start.timestamp() * 1000, "feature": feature}}

    # -- following --------------------------------------------------------------------------------

    def refresh(self) -> View:
        """Read the view anew, now."""
        if self.project is not None:
            self._show(self.project.monitoring.view(self.name, self.range))
        return self.latest

    def close(self) -> None:
        """Follow no more, and take the widget away."""
        if self._follower is not None:
            self._follower.stop()
        super().close()

    def still(self) -> tuple[str, str]:
        """The page without a script."""
        return still.page(self.latest)

    def _show(self, view: View) -> None:
        self.latest = view
        self.view = msgspec.to_builtins(view, enc_hook=str)

    def _ranged(self, change: Any) -> None:
        self.refresh()

    def _asked(self, widget: Any, content: dict[str, Any], buffers: Any) -> None:
        """A button was pressed; the browser waits for the answer."""
        error = None
        try:
            self._do(str(content.get("deed")), int(content["alert"]))
        except MLInfraError as problem:
            error = " ".join(filter(None, (str(problem), problem.hint)))
        except Exception as problem:
            log.exception("the deed of alert %s failed", content.get("alert"))
            error = f"{type(problem).__name__}: {problem}"
        self.send({"reply": content.get("id"), "error": error})

    def _do(self, deed: str, alert: int) -> None:
        if self.project is None:
            raise Invalid("This page shows a kept view.", "Open it with Monitor(project, name).")
        if deed == "act":
            self.project.monitoring.act(alert)
        elif deed == "acknowledge":
            self.project.monitoring.acknowledge(alert)
        else:
            raise Invalid(f"“{deed}” is nothing that an alert can be asked.", "act or acknowledge")
        self.refresh()


class _Follower(threading.Thread):
    """Watches the project's changes and gives a monitor newer views.

    The view is read in this thread; it is shown in the kernel's event loop where there is one, for only there
    may the notebook's own observers run.
    """

    def __init__(self, monitor: Monitor, project: Project) -> None:
        super().__init__(name=f"monitor {monitor.name}", daemon=True)
        self._monitor = weakref.ref(monitor)
        self._project = project
        self._stopped = threading.Event()
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None

    def stop(self) -> None:
        """End soon."""
        self._stopped.set()

    def run(self) -> None:
        """See `threading.Thread`."""
        from mlinfra_lab.storage import feed
        from mlinfra_lab.storage.watch import wait

        storage = self._project.storage
        watcher = storage.watcher()
        try:
            known = self._number()
            while not self._stopped.is_set() and self._monitor() is not None:
                if not wait(watcher, _LOOK_SECONDS):
                    continue
                changes = feed.since(storage, known)
                if not changes:
                    continue
                known = changes[-1].revision
                if any(self._concerns(one.resource, one.id) for one in changes):
                    self._renew()
                    self._stopped.wait(_BETWEEN_SECONDS)
        except RuntimeError:
            log.debug("the kernel's loop is gone")
        except Exception:
            log.exception("widgets follow endpoint no more")
        finally:
            watcher.close()

    def _number(self) -> int:
        monitor = self._monitor()
        return 0 if monitor is None else monitor.latest.number

    def _concerns(self, resource: str, id: str) -> bool:
        monitor = self._monitor()
        return resource == "alert" or (monitor is not None and resource in _NAMED and id == monitor.name)

    def _renew(self) -> None:
        monitor = self._monitor()
        if monitor is None:
            return
        try:
            view = self._project.monitoring.view(monitor.name, monitor.range)
        except NotFound:
            # Taken away: what was seen of it stays.
            self.stop()
            return
        if self._loop is None:
            monitor._show(view)
        else:
            self._loop.call_soon_threadsafe(monitor._show, view)


def open_endpoint(name: str | None = None, project: Project | None = None) -> Monitor:
    """The monitor of the endpoint that a page was opened for.

    Parameters
    ----------
    name
        The endpoint; by default what the environment says (``MLINFRA_ENDPOINT``), or the page's address
        (``?endpoint=``), or the only endpoint there is.
    project
        By default the one the notebook works in.
    """
    asked = parse_qs(os.environ.get("QUERY_STRING", "")).get("endpoint", [None])[0]
    return Monitor(project, name or os.environ.get("MLINFRA_ENDPOINT") or asked)


def _found(project: Project | None, name: str | None) -> tuple[Project, str]:
    from mlinfra_lab.project import Project as Projects

    project = project or Projects.current()
    if name is not None:
        return project, name
    names = [one.name for one in project.endpoints.list()]
    if len(names) == 1:
        return project, names[0]
    hint = (
        f"One of {', '.join(names)}."
        if names
        else "Publish a model: mlinfra endpoint publish MODEL --name NAME"
    )
    raise NotFound("It is not said which endpoint is to be shown.", hint)


def _reach(windows: tuple[Span, ...]) -> str | None:
    return f"They go from {windows[0].start:%Y-%m-%d} to {windows[-1].end:%Y-%m-%d}." if windows else None
