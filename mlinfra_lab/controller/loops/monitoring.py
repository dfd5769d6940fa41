"""The monitor while anything answers, and what is done about alerts."""

from __future__ import annotations

import time

from mlinfra_lab import retrain
from mlinfra_lab.project import Project
from mlinfra_lab.schema.control import Launch, Wanted

_EVERY = 1.0


class MonitoringLoop:
    """See `controller.engine.Loop`."""

    kinds = frozenset({"monitor"})

    def __init__(self, project: Project) -> None:
        self._project = project
        self._followed = 0.0

    def observe(self) -> None:
        """Follow the actions of alerts, and start those that are to start by themselves."""
        if time.monotonic() - self._followed >= _EVERY:
            retrain.follow(self._project)
            self._followed = time.monotonic()

    def wanted(self) -> list[Wanted]:
        """One process for all endpoints."""
        return self._project.monitoring.wanted()

    def ended(self, launch: Launch) -> None:
        """Nothing to add: the next one goes on where its last unit stood."""
