"""Parts of an alert's action that take long: called in task workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlinfra_lab import retrain
from mlinfra_lab.errors import Failed
from mlinfra_lab.models import work as models
from mlinfra_lab.monitoring import store
from mlinfra_lab.schema.common import JSON
from mlinfra_lab.tasks import Report

if TYPE_CHECKING:
    from mlinfra_lab.project import Project


def start(project: Project, args: JSON, report: Report) -> JSON:
    """Begin the action of ``args["alert"]``; a job that was submitted already only gets written down."""
    alert = project.monitoring.alert(args["alert"])
    if alert.state != "acting" or alert.job is not None:
        return {"job": alert.job}
    report("Looking up what trained the model")
    action = alert.detail.get("actions", [{}])[-1]
    earlier = {one.get("job") for one in alert.detail.get("actions", [])}
    for job in project.jobs.caused(retrain.cause(alert)):
        if alert.acted is not None and job.created >= alert.acted and job.id not in earlier:
            retrain.record(project, alert.number, job.id)
            return {"job": job.id}
    planned = retrain.plan(project, alert, action.get("parameters", {}))
    retrain.submit(project, alert, planned)
    return {"job": project.monitoring.alert(alert.number).job}


def answer(project: Project, args: JSON, report: Report) -> JSON:
    """Register what the job of an alert trained; done again it registers nothing twice.

    Raises
    ------
    Failed
        When the job logged no model, or several.
    """
    alert, job = project.monitoring.alert(args["alert"]), args["job"]
    revision = project.endpoints.revision(alert.endpoint, alert.revision)
    runs = [run for run in project.runs.of_job(job) if project.runs.logged_models(run.id)]
    if not runs:
        raise Failed(f"Job {job} logged no model.", "Log one in its notebook, and act once more.")
    source = project.models.source(runs[-1].id)
    intent = f"alert-{alert.number}-{job}"
    asked = {"source": source, "name": revision.model, "alias": None, "intent": intent}
    version = models.register(project, asked, report)
    with project.storage.unit(project.actor) as unit:
        known = store.alert(unit.connection, alert.number)
        if known is not None and known.state == "acting" and known.job == job:
            store.update_alert(unit, known, state="answered", model=version.ref)
            unit.link("alert", str(alert.number), "model", version.ref, "answered by")
            event = store.seen_until(unit.connection, alert.endpoint)
            message = f"{version.ref} was trained to answer it."
            detail = {"alert": alert.number, "job": job, "model": version.ref}
            store.remember(unit, alert.endpoint, "action", message, alert.revision, event, detail)
            unit.audit("answer", "alert", str(alert.number), {"model": version.ref})
            unit.changed("endpoint", alert.endpoint, "updated")
    return {"model": version.ref}
