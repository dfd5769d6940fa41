"""A peer that speaks an endpoint's form, for tests of what the demo sends."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest


class Peer:
    """An HTTP server that speaks an endpoint's form and remembers what it was asked."""

    def __init__(self, answers: list[tuple[int, Any]] | None = None) -> None:
        self.rows: list[Any] = []
        self.truths: list[tuple[str, Any]] = []
        self.sizes: list[int] = []
        self.unknown: set[str] = set()
        self.connections = 0
        self.tokens: set[str] = set()
        scripted = list(answers or [])
        peer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body of an answer go out together, or the client's delayed ACK costs 40 ms.
            wbufsize = -1

            def setup(self) -> None:
                peer.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                peer.tokens.add(self.headers["Authorization"])
                status, answer = scripted.pop(0) if scripted else (200, None)
                if status == 200 and self.path == "/delay/ground-truth":
                    known = [(one["id"], one["truth"]) for one in body if one["id"] not in peer.unknown]
                    peer.truths += known
                    peer.sizes.append(len(body))
                    unknown = [one["id"] for one in body if one["id"] in peer.unknown]
                    answer = {"accepted": len(known), "unknown": unknown}
                elif status == 200:
                    rows = body.get("dataframe_records") or body["dataframe_split"]["data"]
                    start = len(peer.rows)
                    peer.rows += rows
                    answer = {
                        "predictions": [[0.75, 0.25] for _ in rows],
                        "prediction_ids": [f"delay.1.0.{start + number}" for number in range(len(rows))],
                    }
                content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/delay/invocations"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    made: list[Peer] = []

    def make(answers: list[tuple[int, Any]] | None = None) -> Peer:
        made.append(Peer(answers))
        return made[-1]

    yield make
    for one in made:
        one.close()
