"""Putting right what a copied or moved project believes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlinfra_lab.identity import Arrival, Identity
from mlinfra_lab.jobs import store as jobs
from mlinfra_lab.monitoring import pages
from mlinfra_lab.storage import launches, meta
from mlinfra_lab.tasks import store as tasks

if TYPE_CHECKING:
    from mlinfra_lab.project import Project


def put_right(project: Project, arrival: Arrival, identity: Identity) -> None:
    """Mend what the folder's new place asks for; safe to do twice.

    Both a copy and a move have MLflow's absolute locations mended. A copy forgets every process, for
    they are the original's, and the ports they listen on. A moved project keeps them: its controller
    finds and adopts them, and starts those again that hold on to the old path.
    """
    if identity.previous is not None:
        project.runs.relocate(Path(identity.previous))
    with project.storage.unit() as unit:
        if arrival == "copied":
            launches.forget_all(unit)
            for key in ("port", pages.PORT, pages.WANTED):
                meta.put(unit, key, None)
        else:
            meta.put(unit, "moved", identity.previous)
        unit.audit(arrival, "project", identity.id, {"from": identity.previous})
    if arrival == "copied":
        for job in jobs.in_states(project.storage, "running"):
            with project.storage.unit() as unit:
                jobs.runner_gone(unit, job, timed_out=False)
        for task in tasks.running(project.storage):
            with project.storage.unit() as unit:
                tasks.worker_gone(unit, task.launch or "")
