"""HTTP/1.1 for the front: uvicorn's protocol with bounds on what one connection may cost.

Whoever can reach the port can connect, with or without a token, so nothing may grow with what is sent
before a request is let in, and nobody may keep a connection for nothing. What is refused is answered in
the form of all other errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
from typing import Any

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mlinfra_lab.schema.tasks import Failure

__all__ = ["Protocol"]

HEAD_BYTES = 64 * 2**10
"""Most bytes of a request's line and headers; ordinary ones have some hundred."""
HEAD_LINES = 256
"""Most headers; a short one costs far more memory than its bytes."""
PATIENCE_SECONDS = 30.0
"""How long a head may take, and how long a body or whoever reads an answer may stand still."""
LOOK_SECONDS = 5.0
"""How often each connection is looked at for that; the hot path sets no timer."""
CONNECTIONS = 1000
"""Most connections at a time; the next are answered 503, and beyond twice as many not at all."""
PIPELINED = 64
"""Most requests that may wait on a connection for the answer to an earlier one."""
LINGER_SECONDS = 2.0
"""How long what still comes is thrown away behind a refusal: closed at once, it would not be read."""

_IDLE, _BEGUN, _HEAD, _BODY = range(4)


class _Nothing(list[tuple[bytes, bytes]]):
    """Stands for the headers once the head is over: trailers are not kept."""

    def append(self, item: tuple[bytes, bytes]) -> None:
        """Forget it."""


_NOTHING = _Nothing()


class _Refused(Exception):
    """Ends the parsing of a request that is not taken."""


class Protocol(HttpToolsProtocol):
    """One connection; `uvicorn.Config` makes it.

    Notes
    -----
    ``_state`` says what of a request is being read: nothing, a head that began in these data, a head
    that began earlier, a body. ``_fed`` counts the bytes that came since then without being handed on,
    ``_moved`` is when it last came nearer to its end.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._state = _HEAD
        self._fed = 0
        self._moved = self._drained = self.loop.time()
        self._unsent = 0
        self._over = False
        self._why: tuple[int, str, str, str] | None = None
        self._looking: asyncio.TimerHandle | None = None

    # -- the transport's side ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        if len(self.connections) > 2 * CONNECTIONS:
            self._over = True
            transport.abort()
            return
        self._looking = self.loop.call_later(LOOK_SECONDS, self._look)
        if len(self.connections) > CONNECTIONS:
            self._refuse(503, "unavailable", "Too many connections.", "Come again in some seconds.")

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._over:
            return
        self._unset_keepalive_if_required()
        self._fed += len(data)
        before, cycle = self._state, self.cycle
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Answered as if it had not asked for another protocol; what follows cannot be read.
            self._over = True
            self.cycle.keep_alive = False
            return
        except httptools.HttpParserError:
            self._refuse(
                *(self._why or (400, "invalid_request", "This is no HTTP request.", "Send HTTP/1.1."))
            )
            return
        state = self._state
        if state == _IDLE:
            if not self.cycle.response_complete:
                return  # a whole request, as nearly always
            # Nothing began with these data, or the answer was out before the request had ended.
            self._state = _HEAD
            self._fed, self._moved = 0, self.loop.time()
            return
        if state == _BEGUN:
            # Where in these data is not known; unless something stood before it, at their beginning.
            self._state = _HEAD
            self._fed = len(data) if before != _BODY and cycle is self.cycle else 0
            self._moved = self.loop.time()
        if self._fed > HEAD_BYTES or (self.headers is not None and len(self.headers) > HEAD_LINES):
            self._refuse(*_TOO_MUCH)
        elif state == _BODY and not self._fed:
            self._moved = self.loop.time()

    # -- the parser's side ------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._state = _BEGUN
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is whole."""
        size = len(self.url)
        for name, value in self.headers:
            size += len(name) + len(value) + 4
        if size > HEAD_BYTES or len(self.headers) > HEAD_LINES:
            self._why = _TOO_MUCH
            raise _Refused
        if len(self.pipeline) >= PIPELINED:
            self._why = (429, "invalid_request", "Too many requests wait on this connection.", "Read first.")
            raise _Refused
        super().on_headers_complete()
        self.headers = _NOTHING
        self._state = _BODY
        self._fed, self._moved = 0, self.loop.time()

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        self._fed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._state = _IDLE
        super().on_message_complete()

    # -- bounds -----------------------------------------------------------------------------------

    def _look(self) -> None:
        now = self.loop.time()
        self._looking = self.loop.call_later(LOOK_SECONDS, self._look)
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent:
            self._unsent, self._drained = unsent, now
        elif now - self._drained > PATIENCE_SECONDS:
            self.transport.abort()
            return
        if self._over or self._state == _IDLE:
            return
        answering = self._state == _HEAD and self.cycle is not None and not self.cycle.response_complete
        if answering or self.pipeline or self.flow.read_paused:
            self._moved = now  # it waits for us
        elif now - self._moved <= PATIENCE_SECONDS:
            return
        elif self._state == _HEAD:
            self.transport.close()
        else:
            what = f"The body did not go on for {PATIENCE_SECONDS:g} s."
            self._refuse(408, "invalid_request", what, "Send it whole.")

    def _refuse(self, status: int, code: str, message: str, hint: str) -> None:
        """Answer that the rest of this connection is not taken, and close it."""
        self._over = True
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if self._state != _BODY:
                cycle.keep_alive = False  # what was asked before is answered still
                return
            if self.pipeline or cycle.response_started:
                self.transport.close()
                return
            # The application learns that nobody waits for it.
            cycle.disconnected = True
            cycle.message_event.set()
        elif cycle is not None and self._state == _BODY:
            self.transport.close()  # it is answered already
            return
        body = msgspec.json.encode(Failure(code=code, message=message, hint=hint))
        more = "retry-after: 2\r\n" if status == 503 else ""
        head = (
            f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n{more}connection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        with contextlib.suppress(OSError):
            self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)


_TOO_MUCH = (
    431,
    "too_large",
    f"The request's head has more than {HEAD_BYTES:,} bytes or {HEAD_LINES} headers.",
    "Send data in the body.",
)
