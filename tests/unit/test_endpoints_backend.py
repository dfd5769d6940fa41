"""The road to a model process: together where it helps, alone where something went wrong."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import eventually

from mlinfra_lab.endpoints import backend, wire
from mlinfra_lab.endpoints.backend import SocketBackend
from mlinfra_lab.endpoints.backends.pyfunc import Predictor
from mlinfra_lab.endpoints.forms import Batch
from mlinfra_lab.endpoints.model_process import ModelProcess, listen
from mlinfra_lab.errors import Failed, InvalidRequest, Unavailable

# A model process with a model of its own: it does what its rows say.
PROCESS = """
import asyncio, os, sys, time
from mlinfra_lab.endpoints import wire
from mlinfra_lab.endpoints.model_process import ModelProcess
from mlinfra_lab.errors import InvalidRequest
path, calls, wire.CALL_SECONDS = sys.argv[1], sys.argv[2], float(sys.argv[3])

class Obedient:
    def predict(self, rows, columns):
        with open(calls, "a") as file:
            file.write(f"{len(rows)} {columns}\\n")
        for (word,) in rows:
            if word == "die":
                os.kill(os.getpid(), 9)
            if word == "die once" and not os.path.exists(calls + ".died"):
                open(calls + ".died", "w").close()
                os.kill(os.getpid(), 9)
            if word == "refuse":
                raise InvalidRequest("row 0, column `a`: no", detail={"row": 0})
            if word == "fail":
                raise ValueError("that went wrong")
            if word == "hang":
                time.sleep(1000)
            if word == "slow":
                time.sleep(0.3)
        return [[row[0], os.getpid()] for row in rows if row[0] != "forget"]

async def main():
    process = ModelProcess("delay.1", Obedient())
    async with await process.listen(path) as server:
        await server.serve_forever()

asyncio.run(main())
"""


class Peer:
    """The process, started again whenever it is gone, and a backend that is told where it is."""

    def __init__(self, folder: Path, call_seconds: float) -> None:
        self._folder = folder
        self._call_seconds = call_seconds
        self._starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.calls = folder / "calls"
        self.suspected: list[bool] = []
        self.backend = SocketBackend("delay.1", lambda: self.suspected.append(True))

    @property
    def path(self) -> Path:
        return self._folder / f"{self._starts}.sock"

    def start(self) -> None:
        self._starts += 1
        arguments = [str(self.path), str(self.calls), str(self._call_seconds)]
        self._process = subprocess.Popen([sys.executable, "-c", PROCESS, *arguments])

    async def keep(self) -> None:
        while True:
            if self._process is not None and self._process.poll() is not None:
                self.start()
            if self.path.exists():
                self.backend.offer(str(self._starts), str(self.path))
            await asyncio.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def sizes(self) -> list[int]:
        return [int(line.split()[0]) for line in self.calls.read_text().splitlines()]


@contextlib.asynccontextmanager
async def peer(started: bool = True, call_seconds: float = 60.0) -> AsyncIterator[Peer]:
    with tempfile.TemporaryDirectory(prefix="b") as folder:
        one = Peer(Path(folder), call_seconds)
        if started:
            one.start()
        keeping = asyncio.create_task(one.keep())
        try:
            async with asyncio.timeout(60):
                while started and not one.backend.up:
                    await asyncio.sleep(0.02)
                yield one
        finally:
            keeping.cancel()
            await one.backend.close()
            one.kill()


def rows(*words: str) -> Batch:
    return Batch([(word,) for word in words])


async def words_of(answers: Awaitable[list[Any]]) -> list[str]:
    return [answer[0] for answer in await answers]


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()

    asyncio.run(main())


def test_what_comes_together_is_predicted_together() -> None:
    async def test() -> None:
        async with peer() as one:
            asked = [words_of(one.backend.predict(rows(f"a{n}", f"b{n}"))) for n in range(100)]
            assert await asyncio.gather(*asked) == [[f"a{n}", f"b{n}"] for n in range(100)]
            assert one.sizes() == [200], "one turn of the event loop, one call"
            slow = asyncio.create_task(words_of(one.backend.predict(rows("slow"))))
            while len(one.sizes()) < 2:
                await asyncio.sleep(0.01)
            later = []
            for n in range(5):
                later.append(asyncio.create_task(words_of(one.backend.predict(rows(f"c{n}")))))
                await asyncio.sleep(0.005)
            assert await slow == ["slow"]
            assert await asyncio.gather(*later) == [[f"c{n}"] for n in range(5)]
            assert one.sizes() == [200, 1, 5], "what comes during a call is the next call"

    run(test)


def test_calls_have_a_limit_and_one_set_of_names() -> None:
    async def test() -> None:
        async with peer() as one:
            many = [rows(*["x"] * 1500) for _ in range(4)]
            await asyncio.gather(*(one.backend.predict(batch) for batch in many))
            assert one.sizes() == [3000, 3000]
            named = [Batch([("y",)], None, names) for names in (("a",), ("a",), ("b",), None)]
            await asyncio.gather(*(one.backend.predict(batch) for batch in named))
            assert one.sizes()[2:] == [2, 1, 1]

    run(test)


@pytest.mark.parametrize(
    ("word", "error", "message"),
    [
        ("refuse", InvalidRequest, "row 0, column `a`: no"),
        ("fail", Failed, "ValueError: that went wrong"),
        ("forget", Failed, "0 predictions for 1 rows"),
    ],
)
def test_one_bad_request_spoils_no_other(word: str, error: type[Exception], message: str) -> None:
    async def test() -> None:
        async with peer() as one:
            asked = [rows("a"), rows("b"), rows(word), rows("c")]
            got = await asyncio.gather(
                *(one.backend.predict(batch) for batch in asked), return_exceptions=True
            )
            assert isinstance(got[2], error)
            assert message in str(got[2])
            assert [answer[0][0] for n, answer in enumerate(got) if n != 2] == ["a", "b", "c"]  # type: ignore[index]

    run(test)


def test_a_request_that_kills_is_tried_once_more_and_costs_the_others_nothing() -> None:
    async def test() -> None:
        async with peer() as one:
            asked = [rows("a"), rows("die"), rows("b"), rows("c")]
            got = await asyncio.gather(
                *(one.backend.predict(batch) for batch in asked), return_exceptions=True
            )
            assert isinstance(got[1], Unavailable)
            assert got[1].detail == {"retry_after": 2}
            assert [got[n][0][0] for n in (0, 2, 3)] == ["a", "b", "c"]  # type: ignore[index]
            assert one.suspected == [True]
            assert one.sizes().count(4) == 1
            assert one.calls.read_text().count("1 None") == 4, "each by itself, the killer once"

    run(test)


def test_a_crash_that_does_not_come_again_is_not_noticed() -> None:
    async def test() -> None:
        async with peer() as one:
            assert await words_of(one.backend.predict(rows("die once"))) == ["die once"]
            assert one.suspected == []

    run(test)


def test_killed_from_outside_under_requests() -> None:
    async def test() -> None:
        async with peer() as one:
            asked = [asyncio.create_task(words_of(one.backend.predict(rows("slow")))) for _ in range(3)]
            while not one.calls.exists():
                await asyncio.sleep(0.01)
            one.kill()
            assert await asyncio.gather(*asked) == [["slow"]] * 3

    run(test)


def test_a_process_that_hangs_ends_itself() -> None:
    async def test() -> None:
        async with peer(call_seconds=0.5) as one:
            with pytest.raises(Unavailable, match="died twice"):
                await one.backend.predict(rows("hang"))
            assert await words_of(one.backend.predict(rows("a"))) == ["a"]

    run(test)


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "AWAY_SECONDS", 0.3)
    monkeypatch.setattr(backend, "_MOST_WAITING", 5)

    async def test() -> None:
        async with peer(started=False) as one:
            asked = [asyncio.create_task(one.backend.predict(rows("a"))) for _ in range(5)]
            await asyncio.sleep(0.05)
            with pytest.raises(Unavailable, match="too many"):
                await one.backend.predict(rows("a"))
            got = await asyncio.gather(*asked, return_exceptions=True)
            assert all(isinstance(error, Unavailable) for error in got)
            assert not one.backend.up
            monkeypatch.setattr(backend, "AWAY_SECONDS", 30.0)
            waiting = asyncio.create_task(words_of(one.backend.predict(rows("b"))))
            one.start()
            assert await waiting == ["b"]

    run(test)


def test_closing_answers_those_who_wait() -> None:
    async def test() -> None:
        async with peer(started=False) as one:
            waiting = asyncio.create_task(one.backend.predict(rows("a")))
            await asyncio.sleep(0.01)
            await one.backend.close()
            with pytest.raises(Unavailable, match="left"):
                await waiting
            with pytest.raises(Unavailable, match="left"):
                await one.backend.predict(rows("a"))

    run(test)


def test_somebody_elses_socket_is_not_linked() -> None:
    async def test() -> None:
        async with peer() as one:
            other = SocketBackend("other.1", lambda: None)
            other.offer("t", str(one.path))
            await asyncio.sleep(0.3)
            assert not other.up
            await other.close()

    run(test)


@pytest.fixture
def short_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="r") as folder:
        yield Path(folder)


def test_the_runtime_folder_is_private(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_folder))
    folder = wire.runtime_folder("0123456789abcdef")
    assert folder.parent == short_folder
    assert folder.stat().st_mode & 0o777 == 0o700
    assert wire.runtime_folder("0123456789abcdef") == folder
    folder.chmod(0o755)
    with pytest.raises(Unavailable, match="not this user's alone"):
        wire.runtime_folder("0123456789abcdef")
    folder.rmdir()
    folder.symlink_to(short_folder)
    with pytest.raises(Unavailable, match="not this user's alone"):
        wire.runtime_folder("0123456789abcdef")


def test_a_long_runtime_folder_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    folder = wire.runtime_folder("fedcba9876543210")
    try:
        assert len(str(folder / ("0" * 16 + ".sock"))) < 100
    finally:
        folder.rmdir()


def test_the_last_to_leave_takes_the_runtime_folder_along(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_folder))
        process = ModelProcess("delay.1", Predictor.__new__(Predictor))
        first, one = await listen(process, "0123456789abcdef", "one.sock")
        second, two = await listen(process, "0123456789abcdef", "two.sock")
        wire.leave(one)
        assert two.exists()
        wire.leave(two)
        assert not list(short_folder.iterdir())
        make, removed = wire.runtime_folder, []

        def late(project: str) -> Path:
            folder = make(project)
            if len(removed) < 3:
                folder.rmdir()  # as another process does just then
                removed.append(folder)
            return folder

        monkeypatch.setattr(wire, "runtime_folder", late)
        third, three = await listen(process, "0123456789abcdef", "three.sock")
        assert three.exists()
        for server in (first, second, third):
            server.close()
        wire.leave(three)

    asyncio.run(test())


def test_sockets_of_the_dead_are_swept(short_folder: Path) -> None:
    code = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); "
        "print(flush=True); input()"
    )
    dead, living = short_folder / "dead.sock", short_folder / "living.sock"
    processes = []
    for path in (dead, living):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        processes.append(process)
    os.kill(processes[0].pid, signal.SIGKILL)
    processes[0].wait()
    eventually(dead.exists, 1)
    wire.sweep(short_folder)
    assert not dead.exists()
    assert living.exists()
    processes[1].kill()
    processes[1].wait()
