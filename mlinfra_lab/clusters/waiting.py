"""Waiting until a cluster is what was asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from mlinfra_lab.errors import Conflict, Failed, Unavailable
from mlinfra_lab.schema.clusters import Cluster
from mlinfra_lab.storage import Storage
from mlinfra_lab.storage.watch import wait as wait_for_change

_LOOK_SECONDS = 0.5


class Controller(Protocol):
    """What clusters ask of the controller (`control.Control`)."""

    def ensure(self) -> None:
        """Make sure that it is there."""

    def check(self) -> None:
        """While waiting: see that it still is."""

    def is_down(self) -> bool:
        """Whether the project was taken down, and is to stay so."""


def wait_for(
    get: Callable[[], Cluster],
    storage: Storage,
    controller: Controller,
    timeout: float | None,
    report: Callable[[Cluster], None] | None,
) -> Cluster:
    """Wait until a cluster is what was asked for; see `ClusterRef.wait`.

    Parameters
    ----------
    get
        Gives the cluster as it is now.
    """
    end = None if timeout is None else time.monotonic() + timeout
    told: Cluster | None = None
    watcher = storage.watcher()
    try:
        cluster = get()
        goal = "up" if cluster.desired else "stopped"
        while True:
            if report is not None and cluster != told:
                report(told := cluster)
            if cluster.state == goal and cluster.connected <= cluster.workers:
                return cluster
            _refuse(cluster, goal)
            if end is not None and time.monotonic() > end:
                why = f" ({cluster.reason})" if cluster.reason else ""
                raise Unavailable(
                    f"Cluster “{cluster.name}” is {cluster.state}{why} after {timeout:g} s.", "It goes on."
                )
            controller.check()
            wait_for_change(watcher, _LOOK_SECONDS)
            cluster = get()
    finally:
        watcher.close()


def _refuse(cluster: Cluster, goal: str) -> None:
    if cluster.state == "failed":
        raise Failed(f"Cluster “{cluster.name}” failed: {cluster.reason}")
    if cluster.desired != (goal == "up"):
        done = "stopped" if goal == "up" else "started"
        raise Conflict(f"Somebody has {done} cluster “{cluster.name}”.")
