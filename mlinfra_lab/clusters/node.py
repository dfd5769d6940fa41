"""A process of a cluster: ``python -m mlinfra_lab.clusters.node``.

It is a scheduler or a worker, says its launch's owner; what it does as such is the backend's.
"""

from __future__ import annotations

import signal
import threading

from mlinfra_lab import launched
from mlinfra_lab.clusters import store
from mlinfra_lab.clusters.backend import Node
from mlinfra_lab.project import Project
from mlinfra_lab.schema.common import JSON


def main(project: Project, claim: launched.Claim) -> JSON | None:
    """Be what the owner says until told to stop."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    owner = store.Owner.parse(claim.owner)
    clusters = project.clusters

    def wanted() -> bool:
        row = clusters.row(owner.cluster)
        return row is not None and row.desired and row.generation == owner.generation

    def scheduler() -> JSON:
        with project.storage.read() as connection:
            return store.living_scheduler(connection, owner.scheduler)

    cluster = clusters.row(owner.cluster)
    if cluster is None or not wanted():
        return {"stopped": "not wanted any more"}
    kind = store.SCHEDULER if owner.index is None else store.WORKER
    with project.storage.read() as connection:
        before = store.published(connection, kind, owner)
    node = Node(
        cluster=owner.cluster,
        generation=owner.generation,
        role="scheduler" if owner.index is None else "worker",
        index=owner.index or 0,
        root=project.root,
        state=project.state,
        before=before,
        stop=stop,
        publish=claim.info,
        scheduler=scheduler,
        wanted=wanted,
    )
    return clusters.backend(cluster).run(node)


if __name__ == "__main__":
    launched.run(main)
