"""What one connection may cost the front, whoever opened it."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn
from support import eventually

from mlinfra_lab.endpoints import listen, protocol
from mlinfra_lab.endpoints.app import App, Receive, Scope, Send

HEAD = b"GET /delay/health HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /slow HTTP/1.1\r\nHost: x\r\n"
Connect = Callable[[], socket.socket]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """The front's, and an address that reads a body and takes its time."""
    if scope["path"] != "/slow":
        await App(1000)(scope, receive, send)
        return
    body, message = b"", await receive()
    while message["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
        message = await receive()
    else:
        return
    await asyncio.sleep(0.2)
    answer = b"%d" % len(body)
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(answer))]}
    )
    await send({"type": "http.response.body", "body": answer})


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    monkeypatch.setattr(protocol, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(protocol, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(protocol, "CONNECTIONS", 4)
    listener = listen.bind("127.0.0.1", 0)
    config = uvicorn.Config(application, http=protocol.Protocol, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    eventually(lambda: server.started, 10)
    opened: list[socket.socket] = []

    def connect() -> socket.socket:
        opened.append(socket.create_connection(listener.getsockname(), timeout=20))
        return opened[-1]

    yield connect
    for one in opened:
        one.close()
    server.should_exit = True
    thread.join()


def answers(connection: socket.socket) -> list[tuple[int, Any]]:
    """All answers until the connection is closed."""
    data = b""
    while more := connection.recv(2**16):
        data += more
    found = []
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length"))
        found.append((int(lines[0].split()[1]), json.loads(rest[:length])))
        data = rest[length:]
    return found


def refused(connection: socket.socket, status: int) -> str:
    ((got, answer),) = answers(connection)
    assert got == status
    assert set(answer) == {"code", "message", "hint", "detail"}
    return str(answer["message"])


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b"a: " + b"x" * 70_000 + b"\r\n\r\n",
        HEAD + b"a: " + b"x" * 600_000,
        HEAD + b"a:\r\n" * 300 + b"\r\n",
        HEAD + b"a:\r\n" * 300,
        b"GET /" + b"x" * 600_000,
        POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n" + b"t: x\r\n" * 200_000,
        POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nt: " + b"x" * 1_000_000,
    ],
)
def test_too_long_a_head(connect: Connect, sent: bytes) -> None:
    one = connect()
    one.sendall(sent)
    assert "head has more than 65,536 bytes" in refused(one, 431)


def test_a_head_just_short_enough_and_bodies_of_any_length(connect: Connect) -> None:
    one = connect()
    one.sendall(HEAD + b"a: " + b"x" * 65_000 + b"\r\n\r\n")
    assert one.recv(99).startswith(b"HTTP/1.1 404")
    two = connect()
    two.sendall(POST + b"Connection: close\r\nContent-Length: 3000000\r\n\r\n")
    two.sendall(b"x" * 3_000_000)
    assert answers(two) == [(200, 3_000_000)]


def test_trailers_are_passed_over(connect: Connect) -> None:
    one = connect()
    one.sendall(POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nt: x\r\n\r\n")
    assert answers(one) == [(200, 1)]


@pytest.mark.parametrize("sent", [b"", b"\r\n", HEAD, b"POST "])
def test_a_head_that_does_not_end(connect: Connect, sent: bytes) -> None:
    one = connect()
    begun = time.monotonic()
    one.sendall(sent)
    assert answers(one) == []
    assert 0.4 < time.monotonic() - begun < 10


def test_a_head_that_trickles_is_not_waited_for(connect: Connect) -> None:
    one = connect()
    begun = time.monotonic()
    with pytest.raises(OSError):
        one.sendall(HEAD + b"a: ")
        while time.monotonic() - begun < 10:
            one.sendall(b"x")
            time.sleep(0.05)
    assert time.monotonic() - begun < 5


def test_a_body_that_stands_still_and_one_that_is_slow(connect: Connect) -> None:
    one = connect()
    one.sendall(POST + b"Content-Length: 9\r\n\r\nabc")
    assert "did not go on" in refused(one, 408)
    two = connect()
    two.sendall(POST + b"Connection: close\r\nContent-Length: 9\r\n\r\n")
    for _ in range(9):
        time.sleep(0.1)
        two.sendall(b"x")
    assert answers(two) == [(200, 9)]


def test_too_many_connections(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "PATIENCE_SECONDS", 30)
    kept = [connect() for _ in range(4)]
    for one in kept:
        one.sendall(HEAD + b"\r\n")
        assert one.recv(99).startswith(b"HTTP/1.1 404")
    assert "Too many connections" in refused(connect(), 503)
    kept.pop().close()

    def free() -> bool:
        one = connect()
        one.sendall(HEAD + b"\r\n")
        answered = one.recv(99).startswith(b"HTTP/1.1 404")
        one.close()
        return answered

    assert eventually(free, 10)


def test_what_is_no_http(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    one = connect()
    one.sendall(b"\x16\x03\x01 hello\r\n\r\n")
    assert "no HTTP request" in refused(one, 400)
    two = connect()
    two.sendall(POST + b"Content-Length: 2\r\n\r\nxx" + b"nonsense\r\n\r\n")
    assert answers(two) == [(200, 2)], "what was asked before is answered"
    three = connect()
    three.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n")
    refused(three, 400)
    assert not caplog.records


def test_requests_sent_without_waiting(connect: Connect) -> None:
    one = connect()
    one.sendall((HEAD + b"\r\n") * 20 + HEAD + b"Connection: close\r\n\r\n")
    assert [status for status, _ in answers(one)] == [404] * 21
    two = connect()
    two.sendall(POST + b"\r\n" + (HEAD + b"\r\n") * 5000)
    assert len(answers(two)) == 1 + protocol.PIPELINED


@pytest.mark.parametrize("upgrade", [b"websocket", b"h2c"])
def test_an_upgrade_is_answered_as_if_it_were_none(
    connect: Connect, caplog: pytest.LogCaptureFixture, upgrade: bytes
) -> None:
    caplog.set_level(logging.WARNING)
    one = connect()
    one.sendall(HEAD + b"Connection: Upgrade\r\nUpgrade: " + upgrade + b"\r\n\r\n")
    assert "nothing at /delay/health" in refused(one, 404)
    assert not caplog.records


def test_an_escaped_slash_is_no_slash(connect: Connect) -> None:
    one = connect()
    one.sendall(b"GET /delay%2fhealth HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert "nothing at /delay%2fhealth" in refused(one, 404)


def test_an_address_that_is_no_ascii(connect: Connect) -> None:
    one = connect()
    one.sendall(b"GET /%ff/health HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert "nothing at /%ff/health" in refused(one, 404)
    # The parser takes no such byte; whatever else might hand one on finds nothing there.
    two = connect()
    two.sendall(b"GET /dela\xff/health HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert "no HTTP request" in refused(two, 400)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "raw_path": "/delé/health".encode(), "headers": []}
    asyncio.run(App(1000)(scope, receive, send))
    assert sent[0]["status"] == 404
