"""Dask clusters."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from mlinfra_lab.schema.common import JSON, Wire

ClusterState = Literal["stopped", "starting", "up", "degraded", "failed", "stopping"]


class Cluster(Wire, frozen=True, kw_only=True):
    """A cluster declared in ``mlinfra.toml`` and what became of it.

    Attributes
    ----------
    config
        The backend's configuration as declared.
    desired
        Whether somebody asked for it to be up.
    generation
        Counts the starts; a process belongs to one generation.
    workers
        Worker processes wanted; ``connected`` of them have registered with the scheduler.
    address
        The scheduler's address (``tls://127.0.0.1:40913``), once it listens.
    dashboard
        URL of the scheduler's dashboard; its path holds a secret, so treat it as one.
    reason
        Why the state is not what was asked for.
    """

    name: str
    backend: str
    config: JSON
    desired: bool = False
    generation: int = 0
    state: ClusterState = "stopped"
    workers: int = 0
    connected: int = 0
    address: str | None = None
    dashboard: str | None = None
    reason: str | None = None
    changed: dt.datetime | None = None
