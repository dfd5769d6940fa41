"""What the front answers: a bare ASGI application, since a request passes here in microseconds.

``POST /NAME/invocations`` checks, predicts, captures and answers; ``POST /NAME/ground-truth`` takes what came
true; ``GET /NAME/health`` says whether it would answer; ``GET /NAME/version`` says which model it is.
"""

from __future__ import annotations

import asyncio
import hmac
import itertools
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from mlinfra_lab.endpoints import truth
from mlinfra_lab.endpoints.backend import Deadly
from mlinfra_lab.endpoints.canary import Canary
from mlinfra_lab.endpoints.capture import NotCaptured
from mlinfra_lab.endpoints.served import Served, Target
from mlinfra_lab.errors import (
    InvalidRequest,
    MLInfraError,
    NoRoom,
    NotFound,
    TooLarge,
    Unauthorized,
    Unavailable,
    to_failure,
)
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
# Longer lists of truths are looked through beside the requests and not between them.
_SHORT = 16 * 2**10


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


class Accepted(msgspec.Struct):
    """How truths were taken; ``unknown`` are ids of which no row was captured."""

    accepted: int
    unknown: list[str]


class Request:
    """A request's head."""

    __slots__ = ("authorization", "encoding", "id", "kind", "length", "method", "path")

    def __init__(self, scope: Scope) -> None:
        self.method: str = scope["method"]
        # As it was sent: an escaped slash is no slash, and no endpoint's name needs an escape.
        self.path: str = scope["raw_path"].decode("latin-1")
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
            "ground-truth": ("POST", self._truth),
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
        active, candidate, canary = served.active, served.candidate, served.canary
        if active is None:
            raise _starting(served)
        if canary is not None and candidate is not None and candidate.backend.up and canary.takes():
            try:
                return await self._predict(served, candidate, request, body, begun, canary)
            except InvalidRequest:
                # Either nobody takes it, or the candidate is wrong in not taking it.
                answer = await self._predict(served, active, request, body, begun)
                candidate.counts.refused -= 1
                candidate.counts.failed += 1
                canary.failed()
                return answer
            except Unavailable as error:
                # Its process has gone, and will be back or not: nobody waits for it here.
                if isinstance(error, Deadly):
                    raise
        return await self._predict(served, active, request, body, begun)

    async def _predict(
        self,
        served: Served,
        target: Target,
        request: Request,
        body: bytes,
        begun: float,
        canary: Canary | None = None,
    ) -> bytes:
        target.users += 1
        counts = target.counts
        try:
            csv = _is_csv(request)
            batch = target.signature.csv(body) if csv else target.signature.json(body)
            predictions = await target.backend.predict(batch)
            latency = time.perf_counter() - begun
            try:
                first = target.writer.append(
                    batch.rows,
                    predictions,
                    at=time.time(),
                    request=request.id,
                    latency=latency,
                    event_times=batch.event_times,
                    columns=batch.columns,
                )
            except NotCaptured as error:
                log.warning("request %s was not captured: %s", request.id, error)
                answer = self._encode(Answer(predictions, None, captured=False))
                counts.answered(len(batch.rows), latency)
                counts.uncaptured += len(batch.rows)
                return answer
            prefix = f"{served.name}.{target.revision.number}.{target.writer.segment}."
            ids = [f"{prefix}{row}" for row in range(first, first + len(batch.rows))]
            answer = self._encode(Answer(predictions, ids))
            counts.answered(len(batch.rows), latency)
            if canary is not None:
                canary.shadow.ask(ids[0], body, csv, batch)
            return answer
        except Exception as error:
            if canary is not None and isinstance(error, Unavailable) and not isinstance(error, Deadly):
                raise  # another answers it; that processes die is counted elsewhere
            counts.requests += 1
            if isinstance(error, MLInfraError) and error.status < 500:
                counts.refused += 1
            else:
                counts.failed += 1
                if canary is not None:
                    canary.failed()
            raise
        finally:
            target.users -= 1

    async def _truth(self, served: Served, request: Request, receive: Receive) -> Accepted:
        _authorize(served, request)
        if _is_csv(request):
            raise InvalidRequest("The body is said to be text/csv.", "Send application/json.")
        body = await self._body(request, receive)
        writing = {
            (number, target.writer.segment): target.writer.row for number, target in served.targets.items()
        }

        def sort() -> tuple[list[truth.Found], list[str], bool]:
            items, single = truth.parse(body)
            return *served.known.sort(served.name, items, writing), single

        found, unknown, single = sort() if len(body) <= _SHORT else await asyncio.to_thread(sort)
        if single and unknown:
            raise NotFound(
                f"Endpoint “{served.name}” has no prediction {unknown[0][:100]}.",
                "Send the id that came with the prediction.",
            )
        if found:
            try:
                served.truths.add(found, time.time())
            except NotCaptured as error:
                log.warning("truths of request %s were not kept: %s", request.id, error)
                raise NoRoom(
                    "None of these truths was kept: the disk is full or cannot be written.",
                    "Make room, then send them again.",
                    {"accepted": 0, "captured": False},
                ) from error
        return Accepted(len(found), unknown)

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
