"""Work that needs a heavy library: a queue of rows and the processes that empty it."""

from mlinfra_lab.tasks.report import Cancelled, Report
from mlinfra_lab.tasks.service import TaskRef, TasksService

__all__ = ["Cancelled", "Report", "TaskRef", "TasksService"]
