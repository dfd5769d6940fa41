"""A page server inside of the test, and a View to draw, made of schema objects."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import math
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
from support import eventually

from mlinfra_lab.errors import NotFound
from mlinfra_lab.launched import Claim
from mlinfra_lab.monitoring.pages import KIND, OWNER
from mlinfra_lab.project import Project
from mlinfra_lab.schema import monitoring as m
from mlinfra_lab.server.hub import Hub
from mlinfra_lab.server.pages import serve
from mlinfra_lab.storage import feed, launches

START = dt.datetime(2013, 3, 5, tzinfo=dt.UTC)
WEEK = dt.timedelta(days=7)
FEATURES = ("temp", "dewp", "carrier", "distance")


def alert(number: int = 1, **values: Any) -> m.Alert:
    """An open alert about the prediction's drift."""
    found = m.Alert(
        number=number, endpoint="delay", revision=1, rule="prediction_drift", state="open",
        since=START + 5 * WEEK, raised=START + 7 * WEEK, value=0.33, limit=0.25,
        message="Predictions moved since 9 April; temp and dewp explain most of it.",
        explains=(("temp", 0.5), ("dewp", 0.2)),
    )  # fmt: skip
    return msgspec.structs.replace(found, **values)


def view(number: int = 1, range: m.Range = "all", weeks: int = 16, **values: Any) -> m.View:
    """An endpoint in April: 16 weeks, drifting from the sixth on."""
    times = tuple(START + place * WEEK for place in builtin_range(weeks))
    spans = tuple(m.Span(start=at, end=at + WEEK, rows=900, revision=1) for at in times)

    def row(name: str, strength: float) -> m.DriftRow:
        psi = tuple(0.02 if place < 5 else strength * (1 + place / 8) for place in builtin_range(weeks))
        category = name == "carrier"
        labels: tuple[Any, ...] = ("UA", "DL", "B6", "other") if category else (0.2, 0.4, 0.6)
        counts = tuple((100 + 20 * place, 300, 300, 200, 0) for place in builtin_range(weeks))
        return m.DriftRow(
            name=name, kind="category" if category else "number", metric="psi", values=psi,
            drifted=tuple(value > 0.1 for value in psi), labels={"1": labels},
            baseline={"1": (0.25, 0.35, 0.25, 0.15, 0.0)}, counts=counts,
            shares=tuple(0.4 if name == "temp" else 0.2 for _ in psi),
        )  # fmt: skip

    def line(tone: m.Tone, level: float) -> m.Series:
        values = tuple(level + 0.05 * math.sin(place) for place in builtin_range(weeks))
        return m.Series(
            revision=1, label="flights-delay/1", tone=tone, values=values,
            estimated=tuple(place > weeks - 3 for place in builtin_range(weeks)), rows=(900,) * weeks,
        )  # fmt: skip

    found = m.View(
        endpoint="delay", model="flights-delay", title="Is the flight late?", state="up", number=number,
        made=START + weeks * WEEK, range=range, start=times[0], end=spans[-1].end, window="7d",
        answers=(m.Answering(revision=1, label="flights-delay/1", share=1.0, alias="champion",
                             trained="trained on flights v1", tone="now"),),
        tiles=(
            m.Tile(id="requests", title="Requests", value=4.2, unit="/s", spark=(1.0, 2.0, 4.2)),
            m.Tile(id="latency", title="p95", value=3.1, unit="ms", spark=(3.0, 3.2, 3.1)),
            m.Tile(id="errors", title="Errors", value=0.0, unit="%", spark=(0.0, 0.0, 0.0)),
            m.Tile(id="drift", title="Prediction drift", value=0.33, unit="PSI", rule="prediction_drift",
                   broken=True, note="3 of 4 features drifted", spark=(0.1, 0.2, 0.33), limit=0.25),
        ),
        marks=(m.Mark(at=START + 7 * WEEK, kind="alert", text="alert 1", tone="alarm"),),
        traffic=m.Chart(times=times, step=WEEK.total_seconds(), series=(line("now", 900.0),), unit="rows"),
        drift=m.DriftMap(windows=spans, prediction=row("prediction", 0.2),
                         features=tuple(row(name, 0.9) for name in FEATURES), limit=0.25, running=2),
        quality=m.Chart(times=times, step=WEEK.total_seconds(), series=(line("now", 0.55),), unit="log loss",
                        better="lower", limit=0.63, held_out=0.5),
        metric="log_loss",
        slices=(m.Slice(column="carrier", value="UA", truths=400, values={"flights-delay/1": 0.51}),),
        alerts=(alert(),),
        recent=tuple(
            m.Recent(id=f"delay.1.1a.{place:x}", at=START + weeks * WEEK, event_time=START, latency=0.003,
                     row={"temp": 40.0 + place, "carrier": "UA"}, prediction=0, score=0.2, label="1")
            for place in builtin_range(5)
        ),
        columns=("temp", "carrier"), captured=14_400,
    )  # fmt: skip
    return msgspec.structs.replace(found, **values)


builtin_range = range


class StandIn:
    """What the server asks of `project.monitoring`, over a View that the test made."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self.changes: dict[str, Any] = {}
        self.calls: list[tuple[Any, ...]] = []

    def view(self, name: str, range: m.Range = "all") -> m.View:
        """The View, with the feed's number."""
        if name != "delay":
            raise NotFound(f"There is no endpoint “{name}”.", "mlinfra endpoint publish MODEL --name NAME")
        weeks = {"all": 16, "month": 5, "week": 2, "day": 1}[range]
        return view(feed.latest(self._project.storage), range, weeks, **self.changes)

    def change(self, **changes: Any) -> None:
        """Show something else from now on, and say so in the feed."""
        self.changes |= changes
        with self._project.storage.unit() as unit:
            unit.changed("monitor", "delay", "updated")

    def acknowledge(self, number: int) -> m.Alert:
        """Note it, and show it."""
        self.calls.append(("acknowledge", number))
        if number != 1:
            raise NotFound(f"There is no alert {number}.", "mlinfra alert list")
        found = alert(state="acknowledged", acknowledged_by="me")
        self.change(alerts=(found,))
        return found

    def act(self, number: int, parameters: dict[str, Any]) -> m.Alert:
        """Note it, and show it."""
        self.calls.append(("act", number, parameters))
        found = alert(state="acting", job="j1")
        self.change(alerts=(found,))
        return found


class Running:
    """A page server in a thread of this process.

    Attributes
    ----------
    url
        Its address.
    hub
        What its handlers share.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.url = ""
        self.token = ""
        self._leaving: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._failed: BaseException | None = None

    def _run(self) -> None:
        async def run() -> None:
            self._loop, self._leaving = asyncio.get_running_loop(), asyncio.Event()
            with self.project.storage.unit() as unit:
                self.token = launches.commit(unit, KIND, OWNER)
            launches.claim(self.project.storage, self.token)
            claim = Claim(self.project, self.token, OWNER)
            claim.outcome(await serve(self.project, claim, self._leaving, self._up))

        try:
            asyncio.run(run())
        except BaseException as problem:
            self._failed = problem

    def _up(self, hub: Hub) -> None:
        self.hub = hub

    def __enter__(self) -> Running:
        self._thread.start()

        def port() -> int | None:
            if self._failed is not None:
                raise self._failed
            with self.project.storage.read() as connection:
                launch = launches.get(connection, self.token) if self.token else None
            return None if launch is None else launch.info.get("port")

        self.url = f"http://127.0.0.1:{eventually(port, 60)}"
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._leaving is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._leaving.set)
        self._thread.join(30)
        assert not self._thread.is_alive()
        if self._failed is not None:
            raise self._failed

    def kernels(self) -> list[str]:
        """The kernels of pages that are open."""
        return list(self.hub.kernels())

    def link(self, name: str = "delay") -> str:
        """A link that lets a browser in."""
        return f"{self.url}/mlinfra/open?name={name}&ticket={self.project.pages.tickets.make(name)}"


@contextlib.contextmanager
def serving(project: Project) -> Iterator[tuple[Running, StandIn]]:
    """A page server over a stand-in for the monitor."""
    stand_in = StandIn(project)
    project.__dict__["monitoring"] = stand_in
    with Running(project) as running:
        yield running, stand_in
