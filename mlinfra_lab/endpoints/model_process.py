"""The process that predicts for one revision: ``python -m mlinfra_lab.endpoints.model_process``.

It loads the model, tries it on the model's own input example, and only then says where it listens. It
predicts in one thread, never in the event loop. Told to leave, it stays until nobody is connected any
more: the front hangs up when the last request is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from mlinfra_lab import launched
from mlinfra_lab.endpoints import signature, store, wire
from mlinfra_lab.endpoints.backends.pyfunc import Predictor, form, import_libraries
from mlinfra_lab.errors import Failed, InvalidRequest, MLInfraError
from mlinfra_lab.project import Project
from mlinfra_lab.schema.common import JSON
from mlinfra_lab.schema.endpoints import Revision
from mlinfra_lab.storage.watch import wait as wait_for_change

log = logging.getLogger(__name__)
_LEASE_SECONDS = 5.0
_STAY_SECONDS = 8.0
_HUNG = 70
_TRIES = 10
_call = msgspec.msgpack.Decoder(wire.Call)


class _Told(BaseException):
    """Somebody asked for the process's end while it loaded."""


class ModelProcess:
    """Predicts for whoever connects.

    Parameters
    ----------
    owner
        ``NAME.NUMBER``.
    """

    def __init__(self, owner: str, predictor: Predictor) -> None:
        self._owner = owner
        self._predictor = predictor
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="predict")
        self._output: Any = None
        self._connected: set[asyncio.Task[None]] = set()
        self.leaving = asyncio.Event()

    def warm(self, revision: Revision) -> None:
        """Predict the model's own input example, so that the first request finds everything imported.

        Raises
        ------
        Failed
            When the model cannot even do that.
        """
        if revision.example is None:
            return
        try:
            body = msgspec.json.encode(revision.example)
            batch = signature.make(revision.columns, revision.tensor).json(body)
            self._output = form(self._predictor.predict(batch.rows, batch.columns)[0])
        except MLInfraError as error:
            raise Failed(f"The model fails on its own input example: {error.message}") from error

    async def listen(self, path: str) -> asyncio.Server:
        """Take connections."""
        return await asyncio.start_unix_server(self._serve, path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connected.add(task)
        loop = asyncio.get_running_loop()
        try:
            writer.write(wire.pack(wire.Ready(self._owner, self._output)))
            while True:
                payload = await wire.receive(reader)
                async with asyncio.timeout(wire.CALL_SECONDS):
                    answer = await loop.run_in_executor(self._pool, self._answer, payload)
                writer.write(answer)
                await writer.drain()
        except TimeoutError:
            # A thread cannot be stopped, so the process has to go; another is started in its place.
            log.critical("a call took more than %g s: leaving", wire.CALL_SECONDS)
            logging.shutdown()
            os._exit(_HUNG)
        except (OSError, EOFError):
            log.debug("whoever was connected has hung up")
        finally:
            self._connected.discard(task)
            writer.close()

    def _answer(self, payload: bytes) -> bytes:
        call = _call.decode(payload)
        try:
            predictions = self._predictor.predict(call.rows, call.columns)
            self._output = self._output or form(predictions[0])
            return wire.pack(wire.Answer(predictions))
        except InvalidRequest as error:
            return wire.pack(wire.Answer(None, "input", error.message, error.detail))
        except Exception as error:
            log.exception("a call of %d rows failed", len(call.rows))
            message = error.message if isinstance(error, MLInfraError) else f"{type(error).__name__}: {error}"
            return wire.pack(wire.Answer(None, "model", message))

    async def leave(self) -> None:
        """Wait until nobody is connected, but not for ever."""
        if self._connected:
            await asyncio.wait(self._connected, timeout=_STAY_SECONDS)
        self._pool.shutdown(wait=False, cancel_futures=True)


async def listen(process: ModelProcess, project: str, name: str) -> tuple[asyncio.Server, Path]:
    """Take connections at a socket of this name in the project's folder for sockets."""
    tries = 0
    while True:
        try:
            folder = wire.runtime_folder(project)
            wire.sweep(folder)
            return await process.listen(str(folder / name)), folder / name
        except FileNotFoundError:
            # Whoever was the last to leave has removed the folder just now.
            tries += 1
            if tries == _TRIES:
                raise


async def serve(project: Project, claim: launched.Claim, process: ModelProcess) -> None:
    """Listen, say where, and stay until told to leave."""
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, process.leaving.set)
    server, path = await listen(process, project.id, f"{claim.token}.sock")
    try:
        await asyncio.to_thread(claim.info, {"socket": str(path)})
        log.info("%s is ready", claim.owner)
        while not process.leaving.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LEASE_SECONDS):
                    await process.leaving.wait()
            if not await asyncio.to_thread(store.is_current, project.storage, claim.token):
                log.warning("the launch was given up: leaving")
                break
        server.close()
        await process.leave()
    finally:
        wire.leave(path)


def _prepared(project: Project, owner: str) -> Revision:
    """The revision once its files are there; the wait is used to import what every model needs."""
    import_libraries()
    name, _, number = owner.rpartition(".")
    with contextlib.closing(project.storage.watcher()) as watcher:
        while True:
            revision = project.endpoints.revision(name, int(number))
            if revision.state != "preparing":
                return revision
            wait_for_change(watcher, 1.0)


def main(project: Project, claim: launched.Claim) -> JSON:
    """The process's life; see `launched.run`."""

    def told(*_: object) -> None:
        raise _Told

    signal.signal(signal.SIGTERM, told)
    try:
        revision = _prepared(project, claim.owner)
        if revision.model_path is None:
            return {}
        # An absolute path stays as it is when it is joined.
        predictor = Predictor(project.state / revision.model_path, revision)
        process = ModelProcess(claim.owner, predictor)
        process.warm(revision)
    except _Told:
        return {}
    asyncio.run(serve(project, claim, process))
    # The predicting thread may still be in a call that nobody waits for.
    claim.outcome({})
    logging.shutdown()
    os._exit(0)


if __name__ == "__main__":
    launched.run(main)
