"""An alert's action: the training that gave the serving model, once more, on the newest data.

Here the domains meet: lineage says which job trained it, jobs run it again, models register what comes of
it. Everything that is begun is written down before: whoever dies meanwhile, `follow` finds the job by its
cause and goes on.
"""

from __future__ import annotations

import ast
import datetime as dt
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from mlinfra_lab.errors import Conflict, MLInfraError, NotFound
from mlinfra_lab.monitoring import store
from mlinfra_lab.schema.common import JSON, now
from mlinfra_lab.schema.jobs import JOB_ENDED, Job
from mlinfra_lab.schema.monitoring import Alert
from mlinfra_lab.schema.tasks import TASK_ENDED
from mlinfra_lab.settings import parse_span

if TYPE_CHECKING:
    from mlinfra_lab.project import Project

__all__ = ["Plan", "follow", "plan", "start"]

_WORK = "mlinfra_lab.retrain.work"
_REF = re.compile(r"([a-z0-9][a-z0-9._-]*)@(\d+)\Z")
_PATIENCE = dt.timedelta(seconds=15)
"""After which an action without a job is taken up by the controller: whoever began it is gone."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What would be run.

    Attributes
    ----------
    trained
        The job that trained the serving model.
    moved
        Dataset versions that were taken instead of those it was trained on, by parameter.
    """

    notebook: str
    parameters: dict[str, Any]
    kernel: str
    timeout: float | None
    trained: str
    model: str
    moved: dict[str, str]


def cause(alert: Alert) -> str:
    """What stands in the rows of jobs that an alert asked for."""
    return f"alert:{alert.number}"


def plan(project: Project, alert: Alert, parameters: Mapping[str, Any]) -> Plan:
    """What an alert's action would run.

    Parameters
    ----------
    parameters
        In place of what the training was given.

    Raises
    ------
    NotFound
        When no job of this project trained the model, its notebook is gone, or a parameter names a dataset
        version that there is not.
    Invalid
        When the notebook does not take the parameters.
    """
    job, model = _trained(project, alert)
    path = project.jobs.path_of(job.notebook)
    given = {**job.parameters}
    moved: dict[str, str] = {}
    data: list[str] = []  # what the person gives in place of a dataset version
    offered = project.jobs.parameters(path)
    for one in offered:
        value = given[one.name] if one.name in given else _literal(one.default)
        newest = _newest(project, value)
        if newest is not None and newest != value and one.name not in parameters:
            given[one.name] = moved[one.name] = newest
        if one.name in parameters and (newest or _newest(project, parameters[one.name])) is not None:
            data.append(one.name)
    given |= dict(parameters)
    project.jobs.check(path, given)
    for name in data:
        if isinstance(given[name], str):
            project.data.get(given[name])
    return Plan(
        notebook=job.notebook,
        parameters=given,
        kernel=job.kernel,
        timeout=job.timeout,
        trained=job.id,
        model=model,
        moved=moved,
    )


def _trained(project: Project, alert: Alert) -> tuple[Job, str]:
    """The job that trained the model an alert is about, and the registered model's name."""
    revision = project.endpoints.revision(alert.endpoint, alert.revision)
    ref = f"{revision.model}/{revision.version}"
    run = project.models.logged_by(project.models.get(ref)) or revision.run
    id = None if run is None else project.jobs.maker(run)
    if id is None:
        raise NotFound(
            f"The model {ref} was not trained by a job of this project, so there is nothing to run again.",
            "Train it as a job (mlinfra job run NOTEBOOK), register and publish it.",
        )
    return project.jobs.get(id), revision.model


def _literal(source: str) -> Any:
    try:
        return ast.literal_eval(source)
    except (ValueError, SyntaxError):
        return None


def _newest(project: Project, value: Any) -> str | None:
    """The newest version of the dataset that a parameter names; ``None`` where it names none."""
    match = _REF.match(value) if isinstance(value, str) else None
    if match is None:
        return None
    try:
        return f"{match[1]}@{project.data.get(match[1]).version}"
    except MLInfraError:
        return None


def start(project: Project, alert: Alert, parameters: Mapping[str, Any]) -> Alert:
    """Start the job that answers an alert; see `MonitoringService.act`."""
    planned = plan(project, alert, parameters)
    _take(project, alert, project.actor, dict(parameters))
    try:
        submit(project, alert, planned)
    except MLInfraError as error:
        fail(project, project.monitoring.alert(alert.number), error.message)
        raise
    return project.monitoring.alert(alert.number)


def _take(project: Project, alert: Alert, actor: str, parameters: JSON, task: bool = False) -> None:
    """Write down that an action is begun, before it is; with ``task``, what begins it."""
    with project.storage.unit(actor) as unit:
        event = store.seen_until(unit.connection, alert.endpoint)
        action: JSON = {"at": now().isoformat(), "by": actor, "parameters": parameters}
        if event is not None:
            action["event"] = event.isoformat()
        if task:
            action["task"] = unit.task(f"{_WORK}:start", f"alert:{alert.number}", {"alert": alert.number})
        actions = [*alert.detail.get("actions", []), action]
        values = {"state": "acting", "acted": now(), "job": None, "model": None, "error": None}
        if not store.update_alert(unit, alert, detail=alert.detail | {"actions": actions}, **values):
            raise Conflict(f"Alert {alert.number} is no longer {alert.state}.", "Look at it again.")
        unit.audit("act", "alert", str(alert.number), {"parameters": parameters})


def submit(project: Project, alert: Alert, planned: Plan) -> None:
    """Queue the job, and write down that the alert asked for it."""
    ref = project.jobs.submit(
        project.jobs.path_of(planned.notebook),
        planned.parameters,
        kernel=planned.kernel,
        timeout=planned.timeout,
        cause=cause(alert),
    )
    record(project, alert.number, ref.id, planned)


def record(project: Project, number: int, job: str, planned: Plan | None = None) -> None:
    """Write down an alert's job; of two that were begun at once the later one is asked to end."""
    known = project.monitoring.alert(number)
    if known.state != "acting" or known.job not in (None, job):
        project.jobs.cancel(job)
        return
    data = "" if planned is None or not planned.moved else f" on {', '.join(planned.moved.values())}"
    with project.storage.unit(project.actor) as unit:
        if not store.update_alert(unit, known, job=job) or known.job == job:
            return
        unit.link("alert", str(number), "job", job, "asked for")
        event = store.seen_until(unit.connection, known.endpoint)
        message = f"Job {job} trains again{data}."
        detail = {"alert": number, "job": job}
        store.remember(unit, known.endpoint, "action", message, known.revision, event, detail)
        unit.changed("endpoint", known.endpoint, "updated")


def fail(project: Project, alert: Alert, why: str) -> None:
    """The action came to nothing: the alert is open again and says so."""
    with project.storage.unit() as unit:
        if store.update_alert(unit, alert, state="open", error=why):
            unit.audit("fail", "alert", str(alert.number), {"error": why})
            event = store.seen_until(unit.connection, alert.endpoint)
            message = f"The answer to alert {alert.number} failed: {why}"
            detail = {"alert": alert.number, "job": alert.job, "error": why}
            store.remember(unit, alert.endpoint, "action", message, alert.revision, event, detail)
            unit.changed("endpoint", alert.endpoint, "updated")


# -- for the controller's loop ----------------------------------------------------------------------


def follow(project: Project) -> None:
    """Go on with the actions of alerts, and begin those that are to begin by themselves.

    Reads and writes the project's own rows and nothing else; what takes longer is a task.
    """
    for alert in project.monitoring.acting():
        if alert.state == "acting":
            _go_on(project, alert)
        elif project.monitoring.settings(alert.endpoint).action == "automatic" and _may(project, alert):
            _take(project, alert, "mlinfra", {}, task=True)


def _go_on(project: Project, alert: Alert) -> None:
    if alert.job is None:
        _job_of(project, alert)
        return
    try:
        job = project.jobs.get(alert.job)
    except NotFound as error:
        fail(project, alert, error.message)
        return
    if job.state not in JOB_ENDED:
        return
    if job.state != "succeeded":
        said = f": {job.error.message}" if job.error is not None else "."
        fail(project, alert, f"Job {job.id} {job.state.replace('_', ' ')}{said}")
        return
    task = alert.detail.get("registering", {})
    if task.get("job") == job.id:
        _failed(project, alert, task["task"], "was not registered")
        return
    with project.storage.unit() as unit:
        args = {"alert": alert.number, "job": job.id}
        id = unit.task(f"{_WORK}:answer", f"alert:{alert.number}", args)
        detail = alert.detail | {"registering": {"job": job.id, "task": id}}
        store.update_alert(unit, alert, detail=detail)


def _job_of(project: Project, alert: Alert) -> None:
    """An action without a job: the one that asked for it is at it, or died."""
    action = alert.detail.get("actions", [{}])[-1]
    if "task" in action:
        _failed(project, alert, action["task"], "could not be started")
        return
    if alert.acted is not None and now() - alert.acted < _PATIENCE:
        return
    with project.storage.unit() as unit:
        args = {"alert": alert.number}
        task = unit.task(f"{_WORK}:start", f"alert:{alert.number}", args)
        actions = [*alert.detail.get("actions", [{}])[:-1], action | {"task": task}]
        store.update_alert(unit, alert, detail=alert.detail | {"actions": actions})


def _failed(project: Project, alert: Alert, task: str, what: str) -> None:
    known = project.tasks.get(task)
    if known.state not in TASK_ENDED or known.state == "succeeded":
        return
    said = known.error.message if known.error is not None else f"its task was {known.state}"
    fail(project, alert, f"The training {what}: {said}")


def _may(project: Project, alert: Alert) -> bool:
    """Whether an action may begin by itself: cool-down and most a day, both by event time."""
    settings = project.monitoring.settings(alert.endpoint)
    with project.storage.read() as connection:
        event = store.seen_until(connection, alert.endpoint)
        alerts = store.alerts_of(connection, alert.endpoint)
    done = [
        dt.datetime.fromisoformat(action["event"])
        for one in alerts
        for action in one.detail.get("actions", [])
        if "event" in action
    ]
    if event is None:
        return not any(one.detail.get("actions") for one in alerts)
    if done and (event - max(done)).total_seconds() < parse_span(settings.cooldown):
        return False
    day = event.date()
    return sum(1 for one in done if one.date() == day) < settings.most_per_day
