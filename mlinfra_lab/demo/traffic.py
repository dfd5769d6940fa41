"""Flights as requests to an endpoint, in the order in which they were due to leave."""

from __future__ import annotations

import http.client
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from mlinfra_lab.errors import Failed, Invalid, Unauthorized, Unavailable
from mlinfra_lab.humane import plural

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Latency", "Traffic", "requests", "send"]

RETRY = 30.0
"""Seconds for which a 503 (a model process being replaced) is waited out; its rows were not taken."""


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from a request's first byte to its answer's last, as the caller sees them."""

    requests: int
    p50: float
    p95: float
    worst: float


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent and how it was answered.

    Attributes
    ----------
    first, last
        Prediction ids of the first and the last row.
    mean
        Mean predicted probability of being late.
    singles, batches
        Latency of the requests of one row and of those of many.
    """

    rows: int
    requests: int
    first: str
    last: str
    mean: float
    seconds: float
    singles: Latency
    batches: Latency


def requests(table: pd.DataFrame, *, batch: int = 500, singles: int = 5) -> Iterator[dict[str, Any]]:
    """Cut rows into bodies of ``/invocations``, in their order.

    Of each `batch` rows the first `singles` go one by one (MLflow's ``dataframe_records``), the rest
    together (``dataframe_split``). A missing value is ``null``; ``event_time`` is ISO 8601.

    Parameters
    ----------
    table
        As `flights.rows` gives it.
    """
    columns = list(table.columns)
    values = [_json_values(table[name]) for name in columns]
    data = [list(row) for row in zip(*values, strict=True)]
    for start in range(0, len(data), batch):
        block = data[start : start + batch]
        for row in block[:singles]:
            yield {"dataframe_records": [dict(zip(columns, row, strict=True))]}
        if block[singles:]:
            yield {"dataframe_split": {"columns": columns, "data": block[singles:]}}


def send(
    url: str,
    token: str,
    months: Iterable[int],
    *,
    batch: int = 500,
    singles: int = 5,
    limit: int | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Traffic:
    """Send the flights of some months to an endpoint over one connection.

    Parameters
    ----------
    url
        The endpoint's ``…/invocations``.
    token
        Its token.
    months
        Months of 2013.
    batch, singles
        See `requests`.
    limit
        At most so many rows, the earliest.
    report
        Called after each request with the rows done and the rows in all.

    Raises
    ------
    Invalid
        The endpoint refused a request (the message is its own).
    Failed
        The endpoint answered without keeping the rows.
    Unauthorized
        The token is wrong.
    Unavailable
        Nobody answers there, or the endpoint kept saying 503.
    """
    from mlinfra_lab.demo import flights

    caller = _Caller(url, token)
    if batch < 1 or singles < 0:
        raise Invalid(
            f"Batches of {batch} and {singles} single rows make no requests.", "Say batch >= 1, singles >= 0."
        )
    table = flights.rows(months)
    if limit is not None:
        table = table.head(limit)
    if table.empty:
        raise Invalid("There are no flights to send.", "Raise the limit.")
    ids: list[str] = []
    total = 0.0
    one: list[float] = []
    many: list[float] = []
    begun = time.monotonic()
    try:
        for body in requests(table, batch=batch, singles=singles):
            answer, seconds = caller.post(body, len(ids))
            (one if "dataframe_records" in body else many).append(seconds)
            if answer["prediction_ids"] is None:
                raise Failed(
                    f"After {len(ids)} rows the endpoint answered, but could not keep what it answered.",
                    "Its disk may be full; see `mlinfra endpoint show`.",
                )
            ids += answer["prediction_ids"]
            total += sum(probability(prediction) for prediction in answer["predictions"])
            if report is not None:
                report(len(ids), len(table))
    finally:
        caller.close()
    return Traffic(
        rows=len(ids),
        requests=len(one) + len(many),
        first=ids[0],
        last=ids[-1],
        mean=total / len(ids),
        seconds=time.monotonic() - begun,
        singles=_latency(one),
        batches=_latency(many),
    )


def probability(prediction: Any) -> float:
    """The probability of the last class (``late``), from ``[p0, p1]`` or from a bare number."""
    return float(prediction[-1] if isinstance(prediction, list) else prediction)


class _Caller:
    """One keep-alive connection to one endpoint."""

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

    def post(self, body: dict[str, Any], answered: int) -> tuple[dict[str, Any], float]:
        """The answer to one request and the seconds it took, waiting out a 503."""
        data = json.dumps(body, allow_nan=False).encode()
        deadline = time.monotonic() + RETRY
        pause = 0.1
        while True:
            begun = time.monotonic()
            status, content = self._once(data, answered)
            seconds = time.monotonic() - begun
            if status == 200:
                answer: dict[str, Any] = json.loads(content)
                return answer, seconds
            if status != 503 or time.monotonic() + pause > deadline:
                raise self._refused(status, content, answered)
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    def _once(self, data: bytes, answered: int) -> tuple[int, bytes]:
        try:
            self._connection.request("POST", self._path, data, self._headers)
            response = self._connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            # Whether these rows were taken cannot be known from here, so they are not sent a second time.
            self.close()
            raise Unavailable(
                f"No answer from {self._url} after {plural(answered, 'row')}: {error}.",
                "See `mlinfra status`, then send again.",
            ) from error

    def _refused(self, status: int, content: bytes, answered: int) -> Exception:
        try:
            said = json.loads(content)
            message, hint = str(said["message"]), said.get("hint")
        except (ValueError, KeyError, TypeError):
            message, hint = content[:200].decode("utf-8", "replace").strip(), None
        text = f"{self._url} answered {status} after {plural(answered, 'row')}: {message}"
        if status == 401:
            return Unauthorized(text, hint or "`mlinfra endpoint token NAME` gives the token.")
        if status == 503:
            return Unavailable(text, hint or "See `mlinfra status`.")
        return (Invalid if 400 <= status < 500 else Failed)(text, hint)

    def close(self) -> None:
        self._connection.close()


def _json_values(column: pd.Series[Any]) -> list[Any]:
    if column.dtype.kind == "M":
        return [stamp.isoformat() for stamp in column]
    return [None if isinstance(value, float) and math.isnan(value) else value for value in column.tolist()]


def _latency(seconds: list[float]) -> Latency:
    if not seconds:
        return Latency(requests=0, p50=0.0, p95=0.0, worst=0.0)
    ordered = sorted(seconds)
    last = len(ordered) - 1
    return Latency(
        requests=len(ordered),
        p50=ordered[round(0.5 * last)],
        p95=ordered[round(0.95 * last)],
        worst=ordered[-1],
    )
