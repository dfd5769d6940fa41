"""One connection to an endpoint, as any program would have it."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any
from urllib.parse import urlsplit

import msgspec

from mlinfra_lab.errors import Failed, Invalid, MLInfraError, NotFound, Unauthorized, Unavailable
from mlinfra_lab.humane import plural

__all__ = ["Caller", "ground_truth"]

RETRY = 30.0
"""Seconds for which a 503 (a model process being replaced) is waited out; its rows were not taken."""


class Caller:
    """A keep-alive connection to one address of one endpoint.

    Parameters
    ----------
    url
        ``…/invocations`` or ``…/ground-truth``.
    token
        The endpoint's.

    Raises
    ------
    Invalid
        ``url`` is no address.
    """

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Invalid(
                f"“{url}” is no endpoint's address.", "It looks like http://127.0.0.1:PORT/NAME/invocations."
            )
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._url, self._path = url, parts.path or "/"
        self._connection = kind(parts.hostname, parts.port, timeout=60)
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}

    def post(self, body: Any, done: int) -> tuple[dict[str, Any], float]:
        """The answer to one request and the seconds it took, waiting out a 503.

        Parameters
        ----------
        body
            What is sent, as JSON.
        done
            Rows that went before, for the message of an error.

        Raises
        ------
        Invalid
            The endpoint refused the request (the message is its own).
        NotFound
            It has no such address.
        Failed
            It answered that something went wrong.
        Unauthorized
            The token is wrong.
        Unavailable
            Nobody answers there, or the endpoint kept saying 503.
        """
        data = msgspec.json.encode(body)
        deadline = time.monotonic() + RETRY
        pause = 0.1
        while True:
            begun = time.monotonic()
            status, content = self._once(data, done)
            seconds = time.monotonic() - begun
            if status == 200:
                answer: dict[str, Any] = json.loads(content)
                return answer, seconds
            if status != 503 or time.monotonic() + pause > deadline:
                raise self._refused(status, content, done)
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    def _once(self, data: bytes, done: int) -> tuple[int, bytes]:
        try:
            self._connection.request("POST", self._path, data, self._headers)
            response = self._connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            # Whether these rows were taken cannot be known from here, so they are not sent a second time.
            self.close()
            raise Unavailable(
                f"No answer from {self._url} after {plural(done, 'row')}: {error}.",
                "See `mlinfra status`, then send again.",
            ) from error

    def _refused(self, status: int, content: bytes, done: int) -> MLInfraError:
        try:
            said = json.loads(content)
            message, hint = str(said["message"]), said.get("hint")
        except (ValueError, KeyError, TypeError):
            message, hint = content[:200].decode("utf-8", "replace").strip(), None
        text = f"{self._url} answered {status} after {plural(done, 'row')}: {message}"
        if status == 401:
            return Unauthorized(text, hint or "`mlinfra endpoint token NAME` gives the token.")
        if status == 404:
            return NotFound(text, hint)
        if status == 503:
            return Unavailable(text, hint or "See `mlinfra status`.")
        return (Invalid if 400 <= status < 500 else Failed)(text, hint)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def ground_truth(url: str) -> str:
    """Where the truth goes of an endpoint that answers at ``…/invocations``."""
    return f"{url.removesuffix('/').removesuffix('/invocations')}/ground-truth"
