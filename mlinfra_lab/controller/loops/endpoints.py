"""The project's front, and a model process for each revision that answers or is about to."""

from __future__ import annotations

from mlinfra_lab.project import Project
from mlinfra_lab.schema.control import Launch, Wanted


class EndpointsLoop:
    """See `controller.engine.Loop`."""

    kinds = frozenset({"front", "model"})

    def __init__(self, project: Project) -> None:
        self._project = project

    def observe(self) -> None:
        """Nothing to do: an endpoint's state is derived when it is read."""

    def wanted(self) -> list[Wanted]:
        """The front and the model processes."""
        return self._project.endpoints.wanted()

    def ended(self, launch: Launch) -> None:
        """Let the service count crashes and keep the reason."""
        self._project.endpoints.ended(launch)
