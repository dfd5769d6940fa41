"""What lineage says of each kind of thing: where the domains' facts meet.

Each function gives a node with its facts in the order they are shown, and the edges into it that can be
derived, so that they need not be written down.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from mlinfra_lab import git
from mlinfra_lab.errors import NotFound
from mlinfra_lab.jobs import notebook as reading
from mlinfra_lab.schema.lineage import Edge, Node, NodeKind

if TYPE_CHECKING:
    from mlinfra_lab.project import Project

Described = tuple[Node, list[Edge]]


def describer(project: Project) -> Callable[[NodeKind, str], Described]:
    """The function `LineageService` asks."""
    by_kind: dict[str, Callable[[Project, str], Described]] = {
        "prediction": _prediction,
        "revision": _revision,
        "model": _model,
        "run": _run,
        "job": _job,
        "notebook": _notebook,
        "cell": _cell,
        "dataset": _dataset,
        "commit": _commit,
        "environment": _environment,
        "cluster": _cluster,
        "alert": _alert,
    }

    def describe(kind: NodeKind, id: str) -> Described:
        try:
            return by_kind[kind](project, id)
        except NotFound as error:
            return Node(kind=kind, id=id, title=id, missing=error.message), []

    return describe


def _edge(source_kind: NodeKind, source: str, kind: NodeKind, target: str, relation: str) -> Edge:
    return Edge(source_kind=source_kind, source=source, target_kind=kind, target=target, relation=relation)


def resolver(project: Project) -> Callable[[str], str]:
    """Turns what other commands take (an alias, the beginning of a run's id) into an id of the graph."""

    def resolve(id: str) -> str:
        if re.fullmatch(r"[^/@]+@[^/@]+", id) and not re.fullmatch(r".*@\d+", id):
            return project.models.get(id).ref
        return project.runs.get(id).id if re.fullmatch(r"[0-9a-f]{4,31}", id) else id

    return resolve


def _prediction(project: Project, id: str) -> Described:
    found = project.endpoints.prediction(id)
    facts = {
        "prediction": found.prediction,
        "at": found.at,
        "event time": found.event_time,
        "latency": f"{found.latency * 1000:.1f} ms",
        "request": found.row,
    }
    revision = f"{found.endpoint}.{found.revision}"
    node = Node(kind="prediction", id=id, title=f"Prediction {id}", facts=facts)
    return node, [_edge("revision", revision, "prediction", id, "answered by")]


def _revision(project: Project, id: str) -> Described:
    name, _, number = id.rpartition(".")
    found = project.endpoints.revision(name, int(number))
    facts = {
        "endpoint": name,
        "model": f"{found.model}/{found.version}",
        "published": found.created,
        "by": found.created_by,
        "asked for": f"{found.model}@{found.alias}" if found.alias else None,
    }
    node = Node(kind="revision", id=id, title=f"{name}, revision {number}", facts=facts)
    return node, [_edge("model", f"{found.model}/{found.version}", "revision", id, "serves")]


def _model(project: Project, id: str) -> Described:
    found = project.models.get(id)
    facts = {"aliases": ", ".join(found.aliases) or None, "registered": found.created, "source": found.source}
    node = Node(kind="model", id=id, title=id, facts=facts)
    run = project.models.logged_by(found)
    if found.run and run != found.run:
        node.facts["claims to be of run"] = found.run
    return node, [_edge("run", run, "model", id, "registered from")] if run else []


def _run(project: Project, id: str) -> Described:
    found = project.runs.get(id)
    facts = {
        "experiment": found.experiment,
        **found.metrics,
        "parameters": found.params,
        "started": found.started,
    }
    # That a job made it is an edge the job itself has written; the tag could be anybody's.
    return Node(kind="run", id=id, title=f"Run {found.name}", facts=facts), []


def _job(project: Project, id: str) -> Described:
    found = project.jobs.get(id)
    took = (found.ended - found.started).total_seconds() if found.ended and found.started else None
    facts = {
        "state": found.state,
        "parameters": found.parameters,
        "started": found.started,
        "took": None if took is None else f"{took:.1f} s",
        "by": found.created_by,
        "output": found.output,
        "because of": found.cause,
        "done again": _reproductions(project, id),
    }
    return Node(kind="job", id=id, title=f"Job {id}", facts=facts), []


def _reproductions(project: Project, id: str) -> str | None:
    """Which jobs did this one again, each with the verdict."""
    made = [edge for edge in project.lineage.out_of("job", id) if edge.relation == "reproduces"]
    said = [f"{edge.target}: {edge.detail.get('text', 'not compared yet')}" for edge in made]
    return "; ".join(said) or None


def _notebook(project: Project, id: str) -> Described:
    there = project.jobs.path_of(id).is_file()
    facts = {"path": id, "now": "there" if there else "gone; its source is kept with each job"}
    return Node(kind="notebook", id=id, title=id, facts=facts), []


def _cell(project: Project, id: str) -> Described:
    job, _, index = id.partition("#")
    row = project.jobs.get(job)
    source = None
    # The executed notebook has the injected parameters, so cells are counted in it; it can be gone.
    try:
        cells = reading.read(project.jobs.path_of(row.output))["cells"]
        source = reading.source_of(cells[int(index)])
    except (NotFound, IndexError):
        source = None
    number = int(index) + 1  # people count from 1
    facts = {"cell": number, "of": row.notebook, "source": source}
    missing = None if source is not None else f"The output {row.output} that held the cell is gone."
    return Node(kind="cell", id=id, title=f"Cell {number}", facts=facts, missing=missing), []


def _dataset(project: Project, id: str) -> Described:
    found = project.data.get(id)
    facts = {
        "rows": found.rows,
        "files": found.files,
        "size": found.size,
        "path": found.path,
        "md5": found.md5,
        "made": found.created,
    }
    return Node(kind="dataset", id=id, title=id, facts=facts), []


def _commit(project: Project, id: str) -> Described:
    found = git.commit_facts(project.root, id)
    if found is None:
        raise NotFound(f"There is no commit {id} in the project's repository.")
    return Node(kind="commit", id=id, title=f"Commit {id[:10]}", facts=found), []


def _environment(project: Project, id: str) -> Described:
    found = project.lineage.environment(id)
    facts = {"python": found.python, "platform": found.platform, "packages": len(found.packages)}
    return Node(kind="environment", id=id, title=f"Environment {id}", facts=facts), []


def _cluster(project: Project, id: str) -> Described:
    found = project.clusters.get(id)
    facts = {"backend": found.backend, "now": found.state, **found.config}
    return Node(kind="cluster", id=id, title=f"Cluster {id}", facts=facts), []


def _alert(project: Project, id: str) -> Described:
    if not id.isdecimal():
        raise NotFound(f"There is no alert {id}.")
    found = project.monitoring.alert(int(id))
    facts = {
        "alert": found.message,
        "state": found.state,
        "rule": found.rule,
        "since": found.since,
        "until": found.until,
        "value": found.value,
        "limit": found.limit,
        "explained by": ", ".join(f"{name} {share:.0%}" for name, share in found.explains) or None,
    }
    return Node(kind="alert", id=id, title=f"Alert {id} of {found.endpoint}", facts=facts), []
