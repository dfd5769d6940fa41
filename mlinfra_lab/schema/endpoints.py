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
    url
        ``http://127.0.0.1:PORT/NAME/invocations``.
    """

    name: str
    desired: bool
    state: EndpointState
    wanted: int
    serving: int | None = None
    url: str | None = None
    reason: str | None = None
    revision: Revision | None = None
    created: dt.datetime
    changed: dt.datetime


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
