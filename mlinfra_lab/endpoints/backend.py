"""What answers in the name of a revision: the door, and the built-in one over a socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from mlinfra_lab.endpoints import wire
from mlinfra_lab.endpoints.forms import Batch
from mlinfra_lab.errors import Failed, InvalidRequest, MLInfraError, Unavailable

log = logging.getLogger(__name__)

AWAY_SECONDS = 15.0
"""How long a request waits for a model process that is away before it is answered 503."""
_CONNECT_SECONDS = 10.0
# A process that hangs ends itself; this is for one that cannot even do that.
_GRACE_SECONDS = 5.0
_MOST_WAITING = 1000
_MOST_ROWS = 4096
_answer = msgspec.msgpack.Decoder(wire.Answer)
_ready = msgspec.msgpack.Decoder(wire.Ready)


class Deadly(Unavailable):
    """Processes died over this request: it is given to no other."""


class Backend(Protocol):
    """Predicts for one revision. The front's event loop calls it, so it must not compute for long there."""

    @property
    def up(self) -> bool:
        """Whether it can predict at this moment."""

    async def predict(self, batch: Batch) -> list[Any]:
        """One JSON value a row.

        Raises
        ------
        InvalidRequest
            The model cannot take these rows.
        Failed
            The model did not manage.
        Unavailable
            There is nothing to predict with now; ``detail["retry_after"]`` says when to come again.
        """

    async def close(self) -> None:
        """Give everything back; nothing is asked of it any more."""


class _Request:
    """Rows that wait for their predictions.

    Attributes
    ----------
    alone
        Whether it must not be predicted together with others: something went wrong when it was.
    tried
        Whether a process died over it already.
    """

    __slots__ = ("alone", "arrived", "batch", "future", "tried")

    def __init__(self, batch: Batch, future: asyncio.Future[list[Any]], arrived: float) -> None:
        self.batch = batch
        self.future = future
        self.arrived = arrived
        self.alone = False
        self.tried = False

    @property
    def kind(self) -> type[Unavailable]:
        """What to fail with when there is nothing to predict with."""
        return Deadly if self.tried else Unavailable

    def fail(self, error: MLInfraError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class _Link:
    """A connection to one model process."""

    def __init__(self, token: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.token = token
        self._reader = reader
        self._writer = writer
        self._pending: asyncio.Future[wire.Answer] | None = None
        self.lost = asyncio.Event()
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def open(cls, token: str, path: str, owner: str) -> _Link:
        reader, writer = await asyncio.open_unix_connection(path)
        ready = _ready.decode(await wire.receive(reader))
        if ready.owner != owner:
            writer.close()
            raise ConnectionError(f"{path} belongs to {ready.owner}, not to {owner}")
        return cls(token, reader, writer)

    async def _listen(self) -> None:
        try:
            while True:
                answer = _answer.decode(await wire.receive(self._reader))
                if self._pending is not None and not self._pending.done():
                    self._pending.set_result(answer)
        except (OSError, EOFError, msgspec.DecodeError) as error:
            self._end(error)

    def _end(self, error: Exception) -> None:
        self.lost.set()
        self._writer.close()
        if self._pending is not None and not self._pending.done():
            self._pending.set_exception(ConnectionError(str(error)))

    async def call(self, message: wire.Call) -> wire.Answer:
        if self.lost.is_set():
            raise ConnectionError("the process is gone")
        self._pending = asyncio.get_running_loop().create_future()
        self._writer.write(wire.pack(message))
        async with asyncio.timeout(wire.CALL_SECONDS + _GRACE_SECONDS):
            return await self._pending

    async def close(self) -> None:
        self._listening.cancel()
        self.lost.set()
        self._writer.close()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._writer.wait_closed()


class SocketBackend:
    """A model process, reached through its Unix socket.

    Requests that come while one is being predicted are predicted together, and those that come within
    one turn of the event loop; nobody waits for company. When the process dies, each of the requests it
    died over is tried once more, by itself.

    Parameters
    ----------
    owner
        The revision, ``NAME.NUMBER``.
    suspect
        Called when one request has cost two processes their lives.

    Attributes
    ----------
    patience
        Seconds that a request waits for a process that is away, when not `AWAY_SECONDS`; one that a process
        died over waits that long in any case, for it is tried nowhere else.
    """

    def __init__(self, owner: str, suspect: Callable[[], None]) -> None:
        self.owner = owner
        self.patience: float | None = None
        self._suspect = suspect
        self._waiting: deque[_Request] = deque()
        self._work = asyncio.Event()
        self._linked = asyncio.Event()
        self._link: _Link | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._lost_at = asyncio.get_running_loop().time()
        self._closed = False
        self._pump = asyncio.create_task(self._run())

    @property
    def up(self) -> bool:
        """See `Backend`."""
        return self._link is not None and not self._link.lost.is_set()

    def offer(self, token: str, path: str) -> None:
        """Say where the process of a launch listens; connects unless one is linked already."""
        if self.up or self._closed:
            return
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._connect(token, path))

    async def _connect(self, token: str, path: str) -> None:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                self._link = await _Link.open(token, path, self.owner)
        except (OSError, EOFError, msgspec.DecodeError) as error:
            # Its socket may outlive a process for a moment, in the folder and in the rows.
            log.debug("%s does not answer at %s: %s", self.owner, path, error)
            return
        log.info("%s is linked (%s)", self.owner, token)
        self._linked.set()

    async def predict(self, batch: Batch) -> list[Any]:
        """See `Backend`."""
        if self._closed or len(self._waiting) >= _MOST_WAITING:
            raise _away(
                "too many requests wait for the model" if not self._closed else "the revision has left"
            )
        loop = asyncio.get_running_loop()
        request = _Request(batch, loop.create_future(), loop.time())
        self._waiting.append(request)
        self._work.set()
        return await request.future

    async def _run(self) -> None:
        while True:
            if not self._waiting:
                self._work.clear()
                await self._work.wait()
            elif not self.up:
                await self._away()
            else:
                group = self._take()
                try:
                    await self._call(group)
                except Exception:
                    log.exception("%s: a call failed unexpectedly", self.owner)
                    for request in group:
                        request.fail(MLInfraError("Something unexpected went wrong."))

    async def _away(self) -> None:
        """Wait for a process, and answer those who have waited long enough."""
        if self._link is not None:
            self._drop()
        loop = asyncio.get_running_loop()
        oldest = min(self._until(request) for request in self._waiting)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(oldest):
                await self._linked.wait()
        if not self.up:
            late = [request for request in self._waiting if self._until(request) <= loop.time()]
            for request in late:
                self._waiting.remove(request)
                request.fail(_away("the model's process is being started", request.kind))

    def _until(self, request: _Request) -> float:
        patience = AWAY_SECONDS if request.tried or self.patience is None else self.patience
        return max(request.arrived, self._lost_at) + patience

    def _drop(self) -> None:
        assert self._link is not None
        self._link = None
        self._linked.clear()
        self._lost_at = asyncio.get_running_loop().time()

    def _take(self) -> list[_Request]:
        """The oldest request, with those behind it that can be predicted together with it."""
        waiting = self._waiting
        first = waiting.popleft()
        group, rows = [first], len(first.batch.rows)
        while waiting and not first.alone:
            other = waiting[0]
            rows += len(other.batch.rows)
            if other.alone or rows > _MOST_ROWS or other.batch.columns != first.batch.columns:
                break
            group.append(waiting.popleft())
        return group

    async def _call(self, group: list[_Request]) -> None:
        assert self._link is not None
        batch = group[0].batch
        rows = batch.rows if len(group) == 1 else [row for request in group for row in request.batch.rows]
        try:
            answer = await self._link.call(wire.Call(rows, batch.columns))
        except OSError as error:
            # A TimeoutError is one of these: a process that hangs is left like one that is gone.
            log.warning("%s: the process was lost over a call of %d rows: %s", self.owner, len(rows), error)
            await self._link.close()
            self._drop()
            self._again(group)
            return
        if answer.predictions is not None and len(answer.predictions) == len(rows):
            _share(group, answer.predictions)
        elif len(group) > 1:
            # One of them spoils the call for the others: each is told its own.
            for request in reversed(group):
                request.alone = True
                self._waiting.appendleft(request)
        else:
            group[0].fail(_error(answer, len(rows)))

    def _again(self, group: list[_Request]) -> None:
        for request in reversed(group):
            if request.tried:
                request.fail(_away("the model's process died twice over this request", Deadly))
                self._suspect()
            else:
                # By itself, so that the one that is to blame costs the others nothing more.
                request.tried = request.alone = True
                self._waiting.appendleft(request)

    async def close(self) -> None:
        """See `Backend`."""
        self._closed = True
        self._pump.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        while self._waiting:
            request = self._waiting.popleft()
            request.fail(_away("the revision has left", request.kind))
        if self._link is not None:
            await self._link.close()


def _share(group: list[_Request], predictions: list[Any]) -> None:
    start = 0
    for request in group:
        end = start + len(request.batch.rows)
        if not request.future.done():
            request.future.set_result(predictions[start:end] if len(group) > 1 else predictions)
        start = end


def _error(answer: wire.Answer, rows: int) -> MLInfraError:
    if answer.wrong == "input":
        return InvalidRequest(answer.message, detail=answer.detail)
    if answer.wrong == "model":
        return Failed(answer.message, "The model process's log has more.")
    given = len(answer.predictions or ())
    return Failed(
        f"The model gave {given} predictions for {rows} rows.", "An endpoint needs one prediction a row."
    )


def _away(why: str, kind: type[Unavailable] = Unavailable) -> Unavailable:
    return kind(f"Not now: {why}.", "Send it again in some seconds.", {"retry_after": 2})
