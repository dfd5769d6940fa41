"""Job runners: one for each running job, and for the oldest queued ones as far as the limit allows."""

from __future__ import annotations

import msgspec

from mlinfra_lab.jobs import store
from mlinfra_lab.project import Project
from mlinfra_lab.schema.common import now
from mlinfra_lab.schema.control import Launch, Wanted
from mlinfra_lab.schema.jobs import Job
from mlinfra_lab.schema.tasks import Failure
from mlinfra_lab.storage import launches

MOST_STARTS = 5


class JobsLoop:
    """See `controller.engine.Loop`."""

    kinds = frozenset({"runner"})

    def __init__(self, project: Project) -> None:
        self._project = project

    def observe(self) -> None:
        """Tell the truth about running jobs whose runner is gone without having written their end."""
        storage = self._project.storage
        with storage.read() as connection:
            present = {one.token for one in launches.opened(connection, self.kinds)}
        for job in store.in_states(storage, "running"):
            if job.launch is None or job.launch in present:
                continue
            with storage.unit() as unit:
                launch = launches.get(unit.connection, job.launch)
                said = (launch.outcome or {}).get("error") if launch else None
                error = msgspec.convert(said, Failure) if said else None
                store.runner_gone(unit, job, self._overdue(job), error)

    def wanted(self) -> list[Wanted]:
        """Runners of what runs and may go on, then of what may start."""
        limit = self._project.settings.jobs.at_once
        # In one look: a runner that takes its job between two of them would be in neither, and stopped.
        both = store.in_states(self._project.storage, "running", "queued")
        running = [job for job in both if job.state == "running"]
        queued = [job for job in both if job.state == "queued"]
        going = [job for job in running if not job.cancel_requested and not self._overdue(job)]
        chosen = going + queued[: max(0, limit - len(running))]
        return [
            Wanted(kind="runner", owner=job.id, module="mlinfra_lab.jobs.runner", env=self._env(job))
            for job in chosen
        ]

    def ended(self, launch: Launch) -> None:
        """A runner that never gets as far as taking its job is not started for ever."""
        with self._project.storage.unit() as unit:
            if launches.count(unit.connection, launch.kind, launch.owner) >= MOST_STARTS:
                store.never_started(unit, launch.owner, MOST_STARTS)

    def _overdue(self, job: Job) -> bool:
        if job.timeout is None or job.started is None:
            return False
        return (now() - job.started).total_seconds() > job.timeout

    def _env(self, job: Job) -> dict[str, str]:
        return {"MLINFRA_JOB": job.id}
