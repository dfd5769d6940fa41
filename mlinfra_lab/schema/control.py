"""The controller, the processes it owns, and what ``mlinfra status`` says."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from mlinfra_lab.schema.common import JSON, Wire

LaunchState = Literal["launching", "running", "exited", "lost", "void"]


class Launch(Wire, frozen=True, kw_only=True):
    """One start of one process.

    Attributes
    ----------
    token
        Names the launch; the child claims the row with it.
    kind, owner
        What the process is (``runner``, ``worker``, ``front`` …) and for what.
    state
        ``void``: it never claimed its row and may not any more. ``lost``: gone without an outcome.
    host, boot, pid, started
        The process as the kernel knows it; ``started`` (seconds since the epoch) tells a pid that
        was given to somebody else since.
    info
        What the child says of itself while it runs (addresses, ports).
    outcome
        What the child said when it ended.
    """

    token: str
    kind: str
    owner: str
    state: LaunchState
    created: dt.datetime
    host: str | None = None
    boot: str | None = None
    pid: int | None = None
    started: float | None = None
    claimed: dt.datetime | None = None
    ended: dt.datetime | None = None
    info: JSON = {}
    outcome: JSON | None = None


class Wanted(Wire, frozen=True, kw_only=True):
    """A process that should be there; a domain's service says so and the controller makes it so.

    Attributes
    ----------
    module
        Run as ``python -m module --project DIR --launch TOKEN``.
    env
        Added to the allow-listed environment.
    """

    kind: str
    owner: str
    module: str
    env: dict[str, str] = {}


class Change(Wire, frozen=True, kw_only=True):
    """One entry of the change feed: revisions follow commit order."""

    revision: int
    resource: str
    id: str
    change: str


class ControllerBeat(Wire, frozen=True, kw_only=True):
    """What the controller writes every second into its heartbeat file."""

    pid: int
    boot: str
    host: str
    started: float
    version: str
    root: str
    at: dt.datetime
    leaving: str | None = None


class StatusLine(Wire, frozen=True, kw_only=True):
    """One desired thing beside what is; ``why`` says why they differ."""

    kind: str
    name: str
    desired: str
    actual: str
    why: str | None = None


class Status(Wire, frozen=True, kw_only=True):
    """What is desired, what is, and why they differ."""

    project: str
    root: str
    database: str
    controller: Literal["up", "down", "stale"]
    pid: int | None
    since: dt.datetime | None
    lines: tuple[StatusLine, ...]
    notes: tuple[str, ...] = ()
