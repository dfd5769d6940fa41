"""Dask schedulers and workers of the clusters that somebody asked for."""

from __future__ import annotations

from mlinfra_lab.clusters.store import SCHEDULER, WORKER
from mlinfra_lab.project import Project
from mlinfra_lab.schema.control import Launch, Wanted


class ClustersLoop:
    """See `controller.engine.Loop`."""

    kinds = frozenset({SCHEDULER, WORKER})

    def __init__(self, project: Project) -> None:
        self._project = project

    def observe(self) -> None:
        """Bring the clusters' rows in line with their processes."""
        self._project.clusters.observe()

    def wanted(self) -> list[Wanted]:
        """Schedulers first; workers once theirs has said where it is."""
        return self._project.clusters.wanted()

    def ended(self, launch: Launch) -> None:
        """Nothing to add: `observe` goes by rows."""
