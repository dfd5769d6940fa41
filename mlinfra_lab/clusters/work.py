"""What needs Dask: looking whether a scheduler answers, and connecting to it."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import dask
import distributed

from mlinfra_lab.errors import MLInfraError, Unavailable, to_failure
from mlinfra_lab.schema.clusters import Cluster
from mlinfra_lab.schema.common import JSON

if TYPE_CHECKING:
    from mlinfra_lab.project import Project
    from mlinfra_lab.tasks import Report

# Also how long a client goes on trying when it has lost its scheduler.
_SECONDS = 30


class Client(distributed.Client):  # type: ignore[misc]
    """Dask's client, which knows where the dashboard really is (its path holds a secret)."""

    mlinfra_dashboard: str | None = None

    @property
    def dashboard_link(self) -> str | None:
        """URL of the scheduler's dashboard."""
        return self.mlinfra_dashboard


def check(project: Project, args: JSON, report: Report) -> Cluster:
    """Task: look whether a cluster that is not ours to start is there, and write it down."""
    name, generation = args["name"], args["generation"]
    clusters = project.clusters
    cluster = clusters.row(name)
    if cluster is None or cluster.generation != generation:
        return clusters.get(name)
    report(f"looking for {name}")
    try:
        found = clusters.backend(cluster).check()
    except MLInfraError as error:
        # The cluster has failed; the task, which was to find out, has not.
        return clusters.checked(name, generation, None, to_failure(error))
    return clusters.checked(name, generation, found, None)


def connect(cluster: Cluster, security: distributed.Security | None) -> Client:
    """A connected client, which is from now on what Dask uses in this process.

    Raises
    ------
    Unavailable
        When the scheduler does not answer.
    """
    try:
        client = Client(cluster.address, security=security, timeout=_SECONDS, set_as_default=True)
    except OSError as error:
        raise Unavailable(
            f"Cluster “{cluster.name}” does not answer at {cluster.address}: {error}.",
            f"See what is wrong with it: mlinfra cluster list. Its log: logs/*{cluster.name}*.log.",
        ) from error
    client.mlinfra_dashboard = cluster.dashboard
    return client


def describe(cluster: Cluster, client: Client) -> JSON:
    """What lineage keeps of a cluster that something was computed on."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return {
        "backend": cluster.backend,
        "generation": cluster.generation,
        "workers": len(workers),
        "threads": sum(worker["nthreads"] for worker in workers),
        "memory": sum(worker["memory_limit"] or 0 for worker in workers),
        "versions": {
            "python": platform.python_version(),
            "dask": dask.__version__,
            "distributed": distributed.__version__,
        },
    }
