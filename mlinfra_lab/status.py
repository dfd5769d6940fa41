"""What is desired, what is, and why they differ: ``mlinfra status``."""

from __future__ import annotations

import datetime as dt
import os
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
    at_rest = down and beat is None
    lines = _clusters(project, at_rest) + _endpoints(project, down) + _jobs(project, down) + _tasks(project)
    return Status(
        project=project.name,
        root=str(project.root),
        database=project.storage.url.render_as_string(hide_password=True),
        controller=state,
        pid=beat.pid if beat else None,
        since=None if beat is None else _moment(beat.started),
        lines=tuple(lines),
        notes=tuple(_notes(control, beat, state, down)),
    )


def _moment(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def _clusters(project: Project, down: bool) -> list[StatusLine]:
    found = []
    for cluster in project.clusters.list():
        if not cluster.desired and cluster.state == "stopped":
            continue
        why = cluster.reason
        if why is None and cluster.desired and cluster.state != "up":
            why = _down(down) or f"{cluster.connected} of {cluster.workers} workers are connected"
        desired = "up" if cluster.desired else "stopped"
        actual: str = cluster.state
        if cluster.desired and down:
            actual, why = "stopped", _down(down)
        found.append(StatusLine(kind="cluster", name=cluster.name, desired=desired, actual=actual, why=why))
    return found


def _endpoints(project: Project, down: bool) -> list[StatusLine]:
    found = []
    for endpoint in project.endpoints.list():
        if not endpoint.desired and endpoint.state == "stopped":
            continue
        why = _down(down) if endpoint.desired and endpoint.state != "up" else None
        desired = f"revision {endpoint.wanted}" if endpoint.desired else "stopped"
        actual: str = endpoint.state
        if endpoint.serving is not None and endpoint.state == "up":
            actual = f"revision {endpoint.serving}"
        found.append(
            StatusLine(
                kind="endpoint",
                name=endpoint.name,
                desired=desired,
                actual=actual,
                why=endpoint.reason or why,
            )
        )
    return found


def _jobs(project: Project, down: bool) -> list[StatusLine]:
    active = project.jobs.active()
    running = sum(1 for job in active if job.state == "running")

    def why(job: Job) -> str | None:
        if job.state == "queued":
            limit = project.settings.jobs.at_once
            return _down(down) or (f"{running} of {limit} at once are running" if running >= limit else None)
        return "it was asked to end" if job.cancel_requested else None

    return [
        StatusLine(
            kind="job",
            name=f"{job.id} {Path(job.notebook).name}",
            desired="cancelled" if job.cancel_requested else "done",
            actual=job.state,
            why=why(job),
        )
        for job in active
    ]


def _tasks(project: Project) -> list[StatusLine]:
    return [
        StatusLine(kind="task", name=f"{task.id} {task.key}", desired="done", actual=task.state)
        for task in project.tasks.active()
    ]


def _down(down: bool) -> str | None:
    return "the project was taken down; `mlinfra up` brings it back" if down else None


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
