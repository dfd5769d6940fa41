"""What each domain wants of the controller, one file a loop."""

from __future__ import annotations

from mlinfra_lab.controller.engine import Loop
from mlinfra_lab.controller.loops.clusters import ClustersLoop
from mlinfra_lab.controller.loops.endpoints import EndpointsLoop
from mlinfra_lab.controller.loops.jobs import JobsLoop
from mlinfra_lab.controller.loops.monitoring import MonitoringLoop
from mlinfra_lab.controller.loops.pages import PagesLoop
from mlinfra_lab.controller.loops.tasks import TasksLoop
from mlinfra_lab.project import Project


def loops_of(project: Project) -> list[Loop]:
    """The loops, in the order they are asked."""
    return [
        TasksLoop(project),
        JobsLoop(project),
        ClustersLoop(project),
        EndpointsLoop(project),
        MonitoringLoop(project),
        PagesLoop(project),
    ]
