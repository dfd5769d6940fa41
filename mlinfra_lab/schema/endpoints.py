"""Models as HTTP endpoints."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

from mlinfra_lab.schema.common import JSON, Wire

RevisionState = Literal["preparing", "starting", "up", "retired", "failed"]
EndpointState = Literal["starting", "up", "failed", "stopped"]


class InputColumn(Wire, frozen=True, kw_only=True):
    """One column of a model's signature.

    Attributes
    ----------
    type
        MLflow's name of the type: ``boolean``, ``integer``, ``long``, ``float``, ``double``,
        ``string``, ``binary``, ``datetime``.
    required
        Whether a row must have a value for it.
    """

    name: str
    type: str
    required: bool = True


class Revision(Wire, frozen=True, kw_only=True):
    """What an endpoint answers with: one model version, prepared for serving.

    Attributes
    ----------
    model_path
        Folder with MLflow's model, relative to the project's state folder when it lies in it.
    columns
        The signature's columns; empty for a model whose signature is a tensor or is missing.
    tensor
        ``(dtype, shape)`` of a tensor signature.
    """

    endpoint: str
    number: int
    model: str
    version: int
    run: str | None
    alias: str | None
    state: RevisionState
    model_path: str | None = None
    columns: tuple[InputColumn, ...] = ()
    tensor: tuple[str, tuple[int, ...]] | None = None
    example: JSON | None = None
    error: str | None = None
    created: dt.datetime
    created_by: str


class Endpoint(Wire, frozen=True, kw_only=True):
    """A name under which models answer.

    Attributes
    ----------
    serving
        Number of the revision that answers; ``None`` until the first is up.
    wanted
        Number of the revision that should answer.
    previous
        Number of the revision that answered before and is kept warm; `rollback` goes back to it.
    url
        ``http://127.0.0.1:PORT/NAME/invocations``.
    """

    name: str
    desired: bool
    state: EndpointState
    wanted: int
    serving: int | None = None
    previous: int | None = None
    url: str | None = None
    reason: str | None = None
    revision: Revision | None = None
    rollout: Rollout | None = None
    created: dt.datetime
    changed: dt.datetime


RolloutState = Literal["starting", "running", "promoted", "rolled_back", "stopped"]


class Gates(Wire, frozen=True, kw_only=True):
    """What a candidate must hold to be given more, against the version that was stable before.

    Attributes
    ----------
    errors
        Largest share of its requests that may fail.
    latency
        Its 95th percentile may be at most so many times the stable version's.
    quality
        Its loss may be at most so many times the stable version's on the same truths.
    requests, truths
        What must have been seen of it before it is judged well: so many at the first step, twice as many at
        the second, and so on, counted from the rollout's beginning. Latency is judged bad as soon as
        ``requests`` were seen, quality as soon as ``truths`` came, errors as soon as chance does not explain
        them; with ``truths`` 0 nobody asks for any.
    """

    errors: float = 0.01
    latency: float = 3.0
    quality: float = 1.05
    requests: int = 50
    truths: int = 200


class Paired(Wire, frozen=True, kw_only=True):
    """Quality of a candidate and of the stable version on the same rows.

    Attributes
    ----------
    n
        Rows whose truth is known and that both have answered.
    candidate, stable
        Their mean losses on those rows; ``None`` while ``n`` is 0.
    metric
        Name of the loss: ``log loss``, ``error rate`` or ``mean absolute error``.
    error
        Standard error of the mean difference between the two, where it is known: a gate then fails only
        when chance does not explain it.
    """

    n: int
    candidate: float | None
    stable: float | None
    metric: str
    error: float | None = None


class GateResult(Wire, frozen=True, kw_only=True):
    """One gate as it was last looked at; ``held`` is ``None`` while too little was seen."""

    gate: Literal["errors", "latency", "quality"]
    held: bool | None
    value: float | None
    limit: float | None
    seen: int
    needed: int
    text: str


class Rollout(Wire, frozen=True, kw_only=True):
    """A candidate on its way to answering everything.

    Attributes
    ----------
    steps, step
        Shares of the requests one after the other, and which one it is at.
    share
        What it gets now; 0 when it was taken from it.
    alias
        Moves to the candidate's version when it is promoted (or back, when moving it began this).
    evaluated
        When the gates were last looked at; after 30 s without, the front gives it nothing.
    stepped
        When it came to this step.
    """

    id: str
    endpoint: str
    stable: int
    candidate: int
    state: RolloutState
    steps: tuple[float, ...]
    step: int = 0
    share: float = 0.0
    gates: Gates = Gates()
    results: tuple[GateResult, ...] = ()
    alias: str | None = None
    cause: str | None = None
    reason: str | None = None
    evaluated: dt.datetime | None = None
    stepped: dt.datetime | None = None
    created: dt.datetime
    created_by: str
    ended: dt.datetime | None = None


class HistoryEntry(Wire, frozen=True, kw_only=True):
    """Something that happened to an endpoint.

    Attributes
    ----------
    kind
        ``published``, ``stopped``, ``rollout``, ``step``, ``promoted``, ``rolled_back``, ``held`` (a gate
        is waiting), ``alias`` (it was removed), ``alert``, ``action``.
    event_time
        Newest event time that had been seen when it happened: its place on the page's time axis.
    """

    number: int
    endpoint: str
    at: dt.datetime
    event_time: dt.datetime | None
    kind: str
    revision: int | None
    message: str
    actor: str
    detail: JSON = {}


class Prediction(Wire, frozen=True, kw_only=True):
    """One captured row of a request with its answer.

    Attributes
    ----------
    id
        ``endpoint.revision.segment.row``.
    row
        What was asked, by column (or the bare value of a tensor row).
    latency
        Seconds from the request's arrival to its answer being ready.
    """

    id: str
    endpoint: str
    revision: int
    at: dt.datetime
    event_time: dt.datetime | None
    row: Any
    prediction: Any
    latency: float
    request: str
