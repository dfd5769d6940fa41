"""What is desired, what is, and why they differ: ``mlinfra status``."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlinfra_lab.control import STALE_SECONDS, Control, code_version
from mlinfra_lab.schema.control import ControllerBeat, Status, StatusLine
from mlinfra_lab.schema.jobs import Job

if TYPE_CHECKING:
    from mlinfra_lab.project import Project

_CONTAINER = ("docker", "containerd", "kubepods", "libpod", "lxc")


def status_of(project: Project) -> Status:
    """Read it all; starts nothing and imports nothing heavy."""
    control = project.controller
    beat = control.alive()
    state: Literal["up", "down", "stale"] = "down"
    if beat is not None:
        state = "stale" if control.silent_for(beat) > STALE_SECONDS else "up"
    down = control.is_down()
    # Why nothing moves, if nothing does: it is then the reason of everything that is not as desired.
    stuck = None
    if down:
        stuck = "the project was taken down; `mlinfra up` brings it back"
    elif state == "down":
        stuck = "no controller runs; `mlinfra up` starts one"
    elif state == "stale":
        stuck = "the controller does not answer"
    lines = [*_clusters(project, stuck, down and beat is None), *_endpoints(project, stuck)]
    lines += [*_monitor(project, stuck), *_alerts(project), *_jobs(project, stuck), *_tasks(project, stuck)]
    return Status(
        project=project.name,
        root=str(project.root),
        database=project.storage.url.render_as_string(hide_password=True),
        controller=state,
        pid=beat.pid if beat else None,
        since=None if beat is None else dt.datetime.fromtimestamp(beat.started, dt.UTC),
        lines=tuple(lines),
        notes=(*_notes(control, beat, state, down), *project.clusters.mistakes()),
    )


def _clusters(project: Project, stuck: str | None, at_rest: bool) -> Iterator[StatusLine]:
    for cluster in project.clusters.list():
        if not cluster.desired and cluster.state == "stopped":
            continue
        desired = "up" if cluster.desired else "stopped"
        actual: str = "stopped" if at_rest else cluster.state
        why = cluster.reason
        if actual != desired:
            why = stuck or why or f"{cluster.connected} of {cluster.workers} workers are connected"
        yield StatusLine(kind="cluster", name=cluster.name, desired=desired, actual=actual, why=why)


def _endpoints(project: Project, stuck: str | None) -> Iterator[StatusLine]:
    for endpoint in project.endpoints.list():
        if not endpoint.desired and endpoint.state == "stopped":
            continue
        desired = f"revision {endpoint.wanted}" if endpoint.desired else "stopped"
        up = endpoint.state == "up" and endpoint.serving is not None
        actual = f"revision {endpoint.serving}" if up else endpoint.state
        why = (stuck if actual != desired else None) or endpoint.reason
        yield StatusLine(kind="endpoint", name=endpoint.name, desired=desired, actual=actual, why=why)


def _monitor(project: Project, stuck: str | None) -> Iterator[StatusLine]:
    if project.monitoring.wanted():
        up = project.monitoring.running()
        why = None if up else stuck or "it is being started"
        actual = "up" if up else "stopped" if stuck else "starting"
        yield StatusLine(kind="monitor", name="endpoints", desired="up", actual=actual, why=why)


def _alerts(project: Project) -> Iterator[StatusLine]:
    for alert in reversed(project.monitoring.alerts()):
        if alert.state != "closed":
            yield StatusLine(
                kind="alert",
                name=f"{alert.number} {alert.endpoint}",
                desired="closed",
                actual=alert.state,
                why=alert.error or alert.message,
            )


def _jobs(project: Project, stuck: str | None) -> Iterator[StatusLine]:
    active = project.jobs.active()
    running = sum(1 for job in active if job.state == "running")
    limit = project.settings.jobs.at_once
    for job in active:
        why = stuck
        if job.state == "running":
            why = "it was asked to end" if job.cancel_requested else _cells(project, job)
        elif why is None and running >= limit:
            why = f"{running} of {limit} at once are running"
        yield StatusLine(
            kind="job",
            name=f"{job.id} {Path(job.notebook).name}",
            desired="cancelled" if job.cancel_requested else "done",
            actual=job.state,
            why=why,
        )


def _cells(project: Project, job: Job) -> str:
    progress = project.jobs.progress(job.id)
    if progress is None:
        return "its kernel is being started"
    return f"{progress.done} of {progress.cells} cells are done"


def _tasks(project: Project, stuck: str | None) -> Iterator[StatusLine]:
    for task in project.tasks.active():
        why = stuck if task.state == "queued" else None
        name = f"{task.id} {task.key}"
        yield StatusLine(kind="task", name=name, desired="done", actual=task.state, why=why)


def _notes(control: Control, beat: ControllerBeat | None, state: str, down: bool) -> list[str]:
    notes = []
    if down:
        notes.append("The project was taken down. `mlinfra up`, or the next thing you ask for, brings it up.")
    if state == "stale":
        notes.append(f"The controller lives but does not answer; its log is {control.log}.")
    if beat is not None and beat.version != code_version():
        notes.append("The controller runs older code; the next thing you ask for replaces it.")
    if beat is not None and (host := _shares_fate(beat.pid)):
        notes.append(host)
    return notes


def _shares_fate(pid: int) -> str | None:
    """Whether the host ends the controller together with the Jupyter server that started it."""
    if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        return "This is a container: when it ends, so do the controller and all that it runs."
    mine = _cgroup(pid)
    if mine is None:
        return None
    if any(word in mine for word in _CONTAINER):
        return "This is a container: when it ends, so do the controller and all that it runs."
    server = os.environ.get("JPY_SESSION_NAME") and _cgroup(os.getppid())
    if server and server == mine and mine.endswith((".service", ".scope")):
        unit = mine.rsplit("/", 1)[-1]
        return f"The controller is in the Jupyter server's own unit ({unit}): stopping that stops it too."
    return None


def _cgroup(pid: int) -> str | None:
    try:
        text = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
    except OSError:
        return None
    return text.strip().rpartition(":")[2]
