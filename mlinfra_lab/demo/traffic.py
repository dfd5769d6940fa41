"""Flights as requests to an endpoint, in the order in which they were due to leave."""

from __future__ import annotations

import datetime as dt
import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlinfra_lab.demo.asked import Asked
from mlinfra_lab.demo.caller import Caller
from mlinfra_lab.errors import Failed, Invalid

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Latency", "Traffic", "requests", "send"]


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
    months: Iterable[int] | None = None,
    *,
    since: dt.date | None = None,
    until: dt.date | None = None,
    batch: int = 500,
    singles: int = 5,
    limit: int | None = None,
    file: Path | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Traffic:
    """Send flights to an endpoint over one connection.

    Parameters
    ----------
    url
        The endpoint's ``…/invocations``.
    token
        Its token.
    months, since, until
        See `flights.rows`.
    batch, singles
        See `requests`.
    limit
        At most so many rows, the earliest.
    file
        Where the flights and the ids of their answers are written down, for `truth.send`.
    report
        Called after each request with the rows done and the rows in all.

    Raises
    ------
    Failed
        The endpoint answered without keeping the rows.
    Invalid, Failed, Unauthorized, Unavailable
        See `caller.Caller.post`.
    """
    from mlinfra_lab.demo import flights

    caller = Caller(url, token)
    if batch < 1 or singles < 0:
        raise Invalid(
            f"Batches of {batch} and {singles} single rows make no requests.", "Say batch >= 1, singles >= 0."
        )
    table = flights.rows(months, since, until)
    if limit is not None:
        table = table.head(limit)
    if table.empty:
        raise Invalid("There are no flights to send.", "Name other days, or raise the limit.")
    numbers: list[int] = table.index.tolist()
    asked = None if file is None else Asked(file)
    ids: list[str] = []
    total = 0.0
    one: list[float] = []
    many: list[float] = []
    begun = time.monotonic()
    try:
        for body in requests(table, batch=batch, singles=singles):
            answer, seconds = caller.post(body, len(ids))
            (one if "dataframe_records" in body else many).append(seconds)
            got = answer["prediction_ids"]
            if got is None:
                raise Failed(
                    f"After {len(ids)} rows the endpoint answered, but could not keep what it answered.",
                    "Its disk may be full; see `mlinfra endpoint show`.",
                )
            if asked is not None:
                asked.add(numbers[len(ids) : len(ids) + len(got)], got)
            ids += got
            total += sum(probability(prediction) for prediction in answer["predictions"])
            if report is not None:
                report(len(ids), len(table))
    finally:
        caller.close()
        if asked is not None:
            asked.close()
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


def _json_values(column: pd.Series[Any]) -> list[Any]:
    if column.dtype.kind == "M":
        return list(column.dt.strftime("%Y-%m-%dT%H:%M:%S+00:00"))
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
