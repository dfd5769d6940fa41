"""What the front answers: a bare ASGI application, since a request passes here in microseconds.

``POST /NAME/invocations`` checks, predicts, captures and answers; ``GET /NAME/health`` says whether it
would; ``GET /NAME/version`` says which model it is.
"""

from __future__ import annotations

import hmac
import itertools
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from mlinfra_lab.endpoints.backend import Backend
from mlinfra_lab.endpoints.capture import NotCaptured, Writer
from mlinfra_lab.endpoints.signature import Signature
from mlinfra_lab.errors import (
    InvalidRequest,
    MLInfraError,
    NotFound,
    TooLarge,
    Unauthorized,
    Unavailable,
    to_failure,
)
from mlinfra_lab.schema.endpoints import Revision
from mlinfra_lab.schema.tasks import Failure

log = logging.getLogger(__name__)

Headers = list[tuple[bytes, bytes]]
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_JSON = (b"content-type", b"application/json")
_REQUEST_ID = re.compile(rb"[!-~]{1,64}\Z")
# So much of a body that is over the limit is read and thrown away, so that an ordinary client gets to
# read the answer; a longer one finds its connection closed.
_PATIENCE = 64 * 2**20


class Target:
    """A revision as the front uses it.

    Attributes
    ----------
    users
        Requests that are under way; the target is given back when there are none.
    """

    def __init__(self, revision: Revision, signature: Signature, backend: Backend, writer: Writer) -> None:
        self.revision = revision
        self.signature = signature
        self.backend = backend
        self.writer = writer
        self.users = 0


class Served:
    """An endpoint as the front answers for it.

    Attributes
    ----------
    token
        What requests must bring; ``None`` when its file is gone, and then nobody is let in.
    active
        Gets the requests; ``None`` until the first revision is up.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.token: bytes | None = None
        self.active: Target | None = None


class Answer(msgspec.Struct, omit_defaults=True):
    """The body of an answered request.

    Attributes
    ----------
    prediction_ids
        One a row; ``None`` together with ``captured: false`` when the rows could not be kept.
    """

    predictions: list[Any]
    prediction_ids: list[str] | None
    captured: bool = True


class Request:
    """A request's head."""

    __slots__ = ("authorization", "encoding", "id", "kind", "length", "method", "path")

    def __init__(self, scope: Scope) -> None:
        self.method: str = scope["method"]
        # As it was sent: an escaped slash is no slash, and no endpoint's name needs an escape.
        self.path: str = scope["raw_path"].decode("ascii")
        self.authorization = b""
        self.kind = b""
        self.encoding = b""
        self.length = 0
        self.id = ""
        for name, value in scope["headers"]:
            if name == b"authorization":
                self.authorization = value
            elif name == b"content-type":
                self.kind = value.partition(b";")[0].strip().lower()
            elif name == b"content-length":
                self.length = int(value) if value.isdigit() and len(value) < 19 else 0
            elif name == b"content-encoding":
                self.encoding = value.strip().lower()
            elif name == b"x-request-id" and _REQUEST_ID.match(value):
                self.id = value.decode("ascii")


class App:
    """The ASGI application.

    Parameters
    ----------
    limit
        Most bytes of a body.

    Attributes
    ----------
    served
        The endpoints by name; the front keeps them up to date.
    """

    def __init__(self, limit: int) -> None:
        self.served: dict[str, Served] = {}
        self._limit = limit
        self._prefix = os.urandom(4).hex()
        self._count = itertools.count(1)
        self._encode = msgspec.json.Encoder().encode
        self._verbs: dict[str, tuple[str, Callable[[Served, Request, Receive], Awaitable[Any]]]] = {
            "invocations": ("POST", self._invocations),
            "health": ("GET", self._health),
            "version": ("GET", self._version),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request = Request(scope)
        if not request.id:
            request.id = f"{self._prefix}{next(self._count):x}"
        headers: Headers = [_JSON, (b"x-request-id", request.id.encode("ascii"))]
        status = 200
        try:
            body = await self._answer(request, receive)
        except MLInfraError as error:
            status = error.status
            body = self._refusal(error, headers)
        except WrongMethod as error:
            status = 405
            headers.append((b"allow", error.allow.encode("ascii")))
            body = self._encode(error.failure)
        except ClientGone:
            return
        except Exception:
            log.exception("request %s failed", request.id)
            status = 500
            hint = f"The front's log says more; look for {request.id}."
            body = self._encode(to_failure(MLInfraError("Something unexpected went wrong.", hint)))
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _refusal(self, error: MLInfraError, headers: Headers) -> bytes:
        if isinstance(error, Unauthorized):
            headers.append((b"www-authenticate", b'Bearer realm="mlinfra"'))
        elif isinstance(error, TooLarge):
            headers.append((b"connection", b"close"))
        elif isinstance(error, Unavailable):
            seconds = (error.detail or {}).get("retry_after", 2)
            headers.append((b"retry-after", b"%d" % seconds))
        return self._encode(to_failure(error))

    async def _answer(self, request: Request, receive: Receive) -> bytes:
        _, name, verb = request.path.split("/", 2) if request.path.count("/") == 2 else ("", "", "")
        served, known = self.served.get(name), self._verbs.get(verb)
        if served is None or known is None:
            raise NotFound(
                f"There is nothing at {request.path[:100]}.", "An endpoint answers at /NAME/invocations."
            )
        method, answer = known
        if request.method != method:
            raise WrongMethod(request.method, method)
        found = await answer(served, request, receive)
        return found if isinstance(found, bytes) else self._encode(found)

    # -- what can be asked ------------------------------------------------------------------------

    async def _invocations(self, served: Served, request: Request, receive: Receive) -> bytes:
        begun = time.perf_counter()
        _authorize(served, request)
        body = await self._body(request, receive)
        target = served.active
        if target is None:
            raise _starting(served)
        target.users += 1
        try:
            signature = target.signature
            batch = signature.csv(body) if _is_csv(request) else signature.json(body)
            predictions = await target.backend.predict(batch)
            try:
                first = target.writer.append(
                    batch.rows,
                    predictions,
                    at=time.time(),
                    request=request.id,
                    latency=time.perf_counter() - begun,
                    event_times=batch.event_times,
                    columns=batch.columns,
                )
            except NotCaptured as error:
                log.warning("request %s was not captured: %s", request.id, error)
                return self._encode(Answer(predictions, None, captured=False))
            prefix = f"{served.name}.{target.revision.number}.{target.writer.segment}."
            ids = [f"{prefix}{row}" for row in range(first, first + len(batch.rows))]
            return self._encode(Answer(predictions, ids))
        finally:
            target.users -= 1

    async def _health(self, served: Served, request: Request, receive: Receive) -> Any:
        if served.active is None or not served.active.backend.up:
            raise _starting(served)
        return {"status": "up", "endpoint": served.name, "revision": served.active.revision.number}

    async def _version(self, served: Served, request: Request, receive: Receive) -> Any:
        _authorize(served, request)
        if served.active is None:
            raise _starting(served)
        revision = served.active.revision
        return {
            "endpoint": served.name,
            "revision": revision.number,
            "model": revision.model,
            "version": revision.version,
            "run": revision.run,
        }

    async def _body(self, request: Request, receive: Receive) -> bytes:
        if request.encoding not in (b"", b"identity"):
            shown = request.encoding[:40].decode("latin-1")
            raise InvalidRequest(f"The body is encoded as {shown}.", "Send it as it is.")
        chunks: list[bytes] = []
        # What is said to be too large is not kept; what is far too large is not even read.
        fits = request.length <= self._limit
        size, more = 0, request.length <= self._limit + _PATIENCE
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunk = message.get("body", b"")
            size += len(chunk)
            fits = fits and size <= self._limit
            if fits:
                chunks.append(chunk)
            more = message.get("more_body", False) and size <= self._limit + _PATIENCE
        if not fits:
            raise TooLarge(
                f"The body has more than {self._limit:,} bytes.",
                "Send fewer rows at once, or raise `max_body` under [serving] in mlinfra.toml.",
                {"limit": self._limit, "length": request.length or None},
            )
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


class ClientGone(Exception):
    """Whoever asked hung up before the body was whole."""


class WrongMethod(Exception):
    """Another method than this address has."""

    def __init__(self, given: str, allow: str) -> None:
        super().__init__(given)
        self.allow = allow
        self.failure = Failure(
            code="wrong_method",
            message=f"{given[:20]} is not what this address takes.",
            hint=f"Send {allow}.",
        )


def _starting(served: Served) -> Unavailable:
    what = "is being started" if served.active is None else "waits for its model's process"
    return Unavailable(f"Endpoint “{served.name}” {what}.", "Ask again in some seconds.", {"retry_after": 2})


def _authorize(served: Served, request: Request) -> None:
    scheme, _, given = request.authorization.partition(b" ")
    if (
        served.token is None
        or scheme.lower() != b"bearer"
        or not hmac.compare_digest(given.strip(), served.token)
    ):
        what = (
            "lacks its token" if not request.authorization else "brought a token that is not this endpoint's"
        )
        raise Unauthorized(
            f"The request {what}.",
            f'Send the header "Authorization: Bearer $(mlinfra endpoint token {served.name})".',
        )


def _is_csv(request: Request) -> bool:
    if request.kind == b"text/csv":
        return True
    if request.kind not in (b"application/json", b""):
        shown = request.kind[:60].decode("latin-1")
        raise InvalidRequest(f"The body is said to be {shown}.", "Send application/json or text/csv.")
    return False
