"""What became of the flights that an endpoint was asked about."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from mlinfra_lab.demo import asked
from mlinfra_lab.demo.caller import Caller, ground_truth
from mlinfra_lab.errors import Invalid, NotFound

__all__ = ["TruthSent", "send"]


class TruthSent(msgspec.Struct, frozen=True, kw_only=True):
    """Truth that was sent.

    Attributes
    ----------
    answers
        Answers in the file whose flights are meant.
    accepted, unknown
        Of those whose truth was sent: what the endpoint took, and what it does not know of.
    never_arrived
        Answers about flights that were cancelled or diverted: there is no truth.
    late
        Share of the flights that were late, of those whose truth was sent.
    """

    answers: int
    accepted: int
    unknown: int
    never_arrived: int
    late: float
    requests: int
    seconds: float


def send(
    url: str,
    token: str,
    file: Path,
    months: Iterable[int] | None = None,
    *,
    since: dt.date | None = None,
    until: dt.date | None = None,
    batch: int = 5000,
    report: Callable[[int, int], None] | None = None,
) -> TruthSent:
    """Send the truth about the flights that were asked, in the order in which they left.

    Parameters
    ----------
    url
        The endpoint's ``…/invocations``.
    token
        Its token.
    file
        What `traffic.send` wrote down.
    months, since, until
        See `flights.rows`.
    batch
        Truths in one request.
    report
        Called after each request with the truths sent and those in all.

    Raises
    ------
    NotFound
        None of these flights was asked, the file is gone, or the endpoint takes no truth.
    Invalid, Failed, Unauthorized, Unavailable
        See `caller.Caller.post`.
    """
    from mlinfra_lab.demo import flights

    if batch < 1:
        raise Invalid(f"Batches of {batch} make no requests.", "Say batch >= 1.")
    ids = asked.read(file)
    if not ids:
        raise NotFound(
            f"Nothing says which flights were asked: {file} {'is empty' if file.exists() else 'is missing'}.",
            "`mlinfra demo traffic` writes it: send the traffic first (or again, when the file was lost).",
        )
    meant = flights.rows(months, since, until).index
    happened = flights.truth(months, since, until)
    answers = sum(len(ids.get(flight, ())) for flight in meant)
    if not answers:
        raise NotFound(
            "None of these flights was asked.", "Send their traffic first: `mlinfra demo traffic`."
        )
    bodies = [
        {"id": id, "truth": late}
        for flight, late in zip(happened.index, happened.tolist(), strict=True)
        for id in ids.get(flight, ())
    ]
    caller = Caller(ground_truth(url), token)
    accepted = unknown = requests = 0
    begun = time.monotonic()
    try:
        for start in range(0, len(bodies), batch):
            answer = _post(caller, bodies[start : start + batch], start)
            requests += 1
            accepted += answer["accepted"]
            unknown += len(answer["unknown"])
            if report is not None:
                report(min(start + batch, len(bodies)), len(bodies))
    finally:
        caller.close()
    return TruthSent(
        answers=answers,
        accepted=accepted,
        unknown=unknown,
        never_arrived=answers - len(bodies),
        late=sum(one["truth"] for one in bodies) / max(len(bodies), 1),
        requests=requests,
        seconds=time.monotonic() - begun,
    )


def _post(caller: Caller, body: list[dict[str, object]], done: int) -> dict[str, Any]:
    try:
        return caller.post(body, done)[0]
    except NotFound as error:
        # A list with ids that nobody knows is answered with 200, so it is the address that is missing.
        raise NotFound(
            f"The endpoint takes no truth: {error.message}",
            "Its front may be an older one: `mlinfra down`, then `mlinfra up`.",
        ) from error
