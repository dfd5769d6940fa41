"""Task workers: as many as there is work for, kept until they have been idle for long."""

from __future__ import annotations

from mlinfra_lab.project import Project
from mlinfra_lab.schema.control import Launch, Wanted
from mlinfra_lab.storage import launches
from mlinfra_lab.tasks import store


class TasksLoop:
    """See `controller.engine.Loop`."""

    kinds = frozenset({"worker"})

    def __init__(self, project: Project) -> None:
        self._project = project

    def observe(self) -> None:
        """Answer for the tasks of workers that are gone."""
        storage = self._project.storage
        with storage.read() as connection:
            present = {one.token for one in launches.opened(connection, self.kinds)}
        gone = {task.launch for task in store.running(storage) if task.launch} - present
        for token in gone:
            with storage.unit() as unit:
                store.worker_gone(unit, token)

    def wanted(self) -> list[Wanted]:
        """The workers that are there, and more while tasks wait and there may be more."""
        storage = self._project.storage
        with storage.read() as connection:
            present = {one.owner: one.token for one in launches.opened(connection, self.kinds)}
        busy = {task.launch for task in store.running(storage)}
        idle = sum(1 for token in present.values() if token not in busy)
        missing = max(0, store.waiting(storage) - idle)
        slots = [str(number + 1) for number in range(self._project.settings.tasks.workers)]
        free = [slot for slot in slots if slot not in present][:missing]
        return [
            Wanted(kind="worker", owner=owner, module="mlinfra_lab.tasks.worker")
            for owner in (*present, *free)
        ]

    def ended(self, launch: Launch) -> None:
        """Nothing to add: `observe` goes by rows."""
