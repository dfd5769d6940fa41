"""The stable version's answers to what the candidate was asked, so that both are judged on the same truths.

They are made after the answer went out, one request at a time, when the stable version has nothing else to
do or has let it wait for long enough; when more comes than can be answered so, some is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from mlinfra_lab.endpoints.capture import NotCaptured, Writer
from mlinfra_lab.endpoints.forms import Batch
from mlinfra_lab.errors import MLInfraError

if TYPE_CHECKING:
    from mlinfra_lab.endpoints.served import Target

__all__ = ["Shadow"]

log = logging.getLogger(__name__)
_MOST_REQUESTS = 512
_MOST_ROWS = 20_000
_PATIENCE_SECONDS = 0.25
_LOOK_SECONDS = 0.005


class _Asked(NamedTuple):
    id: str
    body: bytes
    csv: bool
    batch: Batch


class Shadow:
    """Asks the stable version.

    Parameters
    ----------
    stable
        What answers most requests.
    writer
        Of the ``beside`` segments.
    same
        Whether both take the very same rows; else each request is read anew.

    Attributes
    ----------
    dropped
        Rows that were left out.
    """

    def __init__(self, stable: Target, writer: Writer, same: bool) -> None:
        self._stable = stable
        self.writer = writer
        self._same = same
        self._waiting: deque[_Asked] = deque()
        self._rows = 0
        self._work = asyncio.Event()
        self.dropped = 0
        self._task = asyncio.create_task(self._run())

    def ask(self, id: str, body: bytes, csv: bool, batch: Batch) -> None:
        """Note a request that the candidate has answered; ``id`` is that of its first row."""
        n = len(batch.rows)
        if len(self._waiting) >= _MOST_REQUESTS or (self._rows and self._rows + n > _MOST_ROWS):
            self.dropped += n
            return
        self._rows += n
        self._waiting.append(_Asked(id, b"" if self._same else body, csv, batch))
        self._work.set()

    async def _run(self) -> None:
        while True:
            if not self._waiting:
                self._work.clear()
                await self._work.wait()
            asked = self._waiting.popleft()
            n = len(asked.batch.rows)
            self._rows -= n
            try:
                await self._answer(asked)
            except (MLInfraError, NotCaptured) as error:
                # It takes other rows than the candidate, or the disk is full: nothing to compare here.
                log.debug("no answer beside %s: %s", asked.id, error)
                self.dropped += n
            except Exception:
                log.exception("no answer beside %s", asked.id)
                self.dropped += n

    async def _answer(self, asked: _Asked) -> None:
        stable = self._stable
        end = time.monotonic() + _PATIENCE_SECONDS
        while stable.users and time.monotonic() < end:
            await asyncio.sleep(_LOOK_SECONDS)
        if not stable.backend.up:
            self.dropped += len(asked.batch.rows)
            return
        batch = asked.batch
        if not self._same:
            batch = stable.signature.csv(asked.body) if asked.csv else stable.signature.json(asked.body)
        stable.users += 1
        begun = time.perf_counter()
        try:
            predictions: list[Any] = await stable.backend.predict(batch)
        finally:
            stable.users -= 1
        self.writer.append(
            [],
            predictions,
            at=time.time(),
            request=asked.id,
            latency=time.perf_counter() - begun,
            n=len(predictions),
        )

    async def close(self) -> None:
        """Leave what waits, and seal the segment."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await asyncio.to_thread(self.writer.close)
