"""REST of the monitoring page: its view, its events, its alerts, and where a prediction came from."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import msgspec
from tornado.iostream import StreamClosedError

from mlinfra_lab.errors import Invalid, InvalidParameter
from mlinfra_lab.schema.monitoring import RANGES, Range
from mlinfra_lab.server.handlers.base import NAME, Api, authenticated, authorized
from mlinfra_lab.server.hub import keep_kernel
from mlinfra_lab.storage import feed

_HEARTBEAT_SECONDS = 15.0
_AGAIN_MILLISECONDS = 500


def range_of(said: str) -> Range:
    """The range that was asked for."""
    for known in RANGES:
        if said == known:
            return known
    raise Invalid(f"“{said}” is no range.", f"Use one of {', '.join(RANGES)}.")


class ViewHandler(Api):
    """``GET /mlinfra/api/monitors/NAME?range=``: the `View`."""

    auth_resource = "monitors"

    @authenticated
    @authorized
    async def get(self, name: str) -> None:
        """Answer with what the page shows."""
        range = range_of(self.get_argument("range", "all"))
        self.answer(await self.aside(self.hub.view, name, range))


class EventsHandler(Api):
    """``GET /mlinfra/api/monitors/NAME/events``: server-sent events, one for each change that concerns it.

    The first one says which revision the feed is at, so that a page that was away sees what it missed.
    """

    auth_resource = "monitors"

    @authenticated
    @authorized
    async def get(self, name: str) -> None:
        """Answer until either side leaves."""
        kernel = self.get_argument("kernel", "")
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("X-Accel-Buffering", "no")
        self._leaving = asyncio.get_running_loop().create_future()
        with self.hub.watching.subscribed(name) as queue, contextlib.suppress(StreamClosedError):
            revision = await self.aside(feed.latest, self.project.storage)
            await self._send(
                f"retry: {_AGAIN_MILLISECONDS}\nid: {revision}\nevent: hello\ndata: {revision}\n\n"
            )
            while not self._leaving.done():
                next_one = asyncio.ensure_future(queue.get())
                await asyncio.wait(
                    (next_one, self._leaving),
                    timeout=_HEARTBEAT_SECONDS,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if kernel:
                    keep_kernel(self.kernel_manager, kernel)
                if not next_one.done():
                    next_one.cancel()
                    await self._send(": still here\n\n")
                    continue
                change = next_one.result()
                if change is None:
                    return
                data = msgspec.json.encode(change).decode()
                await self._send(f"id: {change.revision}\nevent: change\ndata: {data}\n\n")

    async def _send(self, text: str) -> None:
        self.write(text)
        await self.flush()

    def on_connection_close(self) -> None:
        """The page is gone."""
        super().on_connection_close()
        leaving = getattr(self, "_leaving", None)
        if leaving is not None and not leaving.done():
            leaving.set_result(None)


class AcknowledgeHandler(Api):
    """``POST /mlinfra/api/alerts/N/acknowledge``: somebody has seen it."""

    auth_resource = "alerts"

    @authenticated
    @authorized
    async def post(self, number: str) -> None:
        """Answer with the alert as it is now."""
        self.answer(await self.aside(self.project.monitoring.acknowledge, int(number)))


class ActHandler(Api):
    """``POST /mlinfra/api/alerts/N/act``: start the alert's action.

    The body may be ``{"parameters": {…}}``, in place of those of the training that is repeated.
    """

    auth_resource = "alerts"

    @authenticated
    @authorized
    async def post(self, number: str) -> None:
        """Answer with the alert as it is now."""
        parameters = self._parameters()
        self.answer(await self.aside(self.project.monitoring.act, int(number), parameters))

    def _parameters(self) -> dict[str, Any]:
        try:
            body = msgspec.json.decode(self.request.body or b"{}", type=dict[str, dict[str, Any]])
        except msgspec.DecodeError as error:
            hint = 'Send {"parameters": {…}}, or nothing.'
            raise InvalidParameter(f"The body is wrong: {error}.", hint) from error
        if unknown := body.keys() - {"parameters"}:
            raise InvalidParameter(f"Unknown: {', '.join(sorted(unknown))}.", "Send {“parameters”: {…}}.")
        return body.get("parameters", {})


class LineageHandler(Api):
    """``GET /mlinfra/api/lineage/PREDICTION``: what an answer was made from."""

    auth_resource = "lineage"

    @authenticated
    @authorized
    async def get(self, prediction: str) -> None:
        """Answer with the `Trace`; ``?as=text`` with the tree that the shell prints."""
        trace = await self.aside(self.project.lineage.show, prediction)
        if self.get_argument("as", "json") != "text":
            self.answer(trace)
            return
        from mlinfra_lab.cli.tree import as_text

        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(as_text(trace))


ROUTES = [
    (rf"/mlinfra/api/monitors/{NAME}", ViewHandler),
    (rf"/mlinfra/api/monitors/{NAME}/events", EventsHandler),
    (r"/mlinfra/api/alerts/([0-9]{1,18})/acknowledge", AcknowledgeHandler),
    (r"/mlinfra/api/alerts/([0-9]{1,18})/act", ActHandler),
    (r"/mlinfra/api/lineage/([^/]+)", LineageHandler),
]
