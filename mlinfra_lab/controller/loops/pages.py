"""The page server, while anybody looks."""

from __future__ import annotations

from mlinfra_lab.project import Project
from mlinfra_lab.schema.control import Launch, Wanted


class PagesLoop:
    """See `controller.engine.Loop`."""

    kinds = frozenset({"pages"})

    def __init__(self, project: Project) -> None:
        self._project = project

    def observe(self) -> None:
        """Nothing to do: the server writes down itself when it leaves."""

    def wanted(self) -> list[Wanted]:
        """The server, from the first opening of a page until it was idle."""
        return self._project.pages.wanted()

    def ended(self, launch: Launch) -> None:
        """Let the service see whether to start it again."""
        self._project.pages.ended(launch)
