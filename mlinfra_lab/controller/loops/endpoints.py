"""The project's front, a model process for each revision in use, and the rollouts' next steps."""

from __future__ import annotations

from mlinfra_lab.project import Project
from mlinfra_lab.schema.control import Launch, Wanted


class EndpointsLoop:
    """See `controller.engine.Loop`."""

    kinds = frozenset({"front", "model"})

    def __init__(self, project: Project) -> None:
        self._project = project

    def observe(self) -> None:
        """Look after the rollouts; an endpoint's state is derived when it is read."""
        if not self._project.controller.is_down():
            self._project.endpoints.evaluate()

    def wanted(self) -> list[Wanted]:
        """The front and the model processes."""
        return self._project.endpoints.wanted()

    def ended(self, launch: Launch) -> None:
        """Let the service count crashes and keep the reason."""
        self._project.endpoints.ended(launch)
