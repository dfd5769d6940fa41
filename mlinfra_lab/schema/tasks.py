"""Work that needs a heavy library, done by a task worker."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

from mlinfra_lab.schema.common import JSON, Wire

TaskState = Literal["queued", "running", "succeeded", "failed", "cancelled", "interrupted"]
TASK_ENDED: frozenset[str] = frozenset({"succeeded", "failed", "cancelled", "interrupted"})


class Failure(Wire, frozen=True, kw_only=True):
    """An error as every face shows it."""

    code: str
    message: str
    hint: str | None = None
    detail: JSON | None = None


class Progress(Wire, frozen=True, kw_only=True):
    """How far a piece of work is; kept in a file, never in a row.

    Attributes
    ----------
    done, total
        In whatever unit ``label`` names; ``total`` is ``None`` while unknown.
    """

    label: str
    done: float = 0
    total: float | None = None


class Task(Wire, frozen=True, kw_only=True):
    """One piece of work for a task worker.

    Attributes
    ----------
    work
        Dotted name of the function in a ``work`` module, ``package.module:function``.
    key
        The thing it works on (``data:flights``): tasks of one key run one after the other.
    idempotent
        Whether it may run again after its worker was lost; if not it ends ``interrupted``.
    """

    id: str
    work: str
    key: str
    state: TaskState
    args: JSON
    idempotent: bool = True
    attempts: int = 0
    result: Any = None
    error: Failure | None = None
    launch: str | None = None
    cancel_requested: bool = False
    created: dt.datetime
    created_by: str
    started: dt.datetime | None = None
    ended: dt.datetime | None = None
