"""``mlinfra cluster``: Dask clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlinfra_lab.cli import complete
from mlinfra_lab.cli.base import Group, Listing, Seconds, Session, StoppedWaiting, pass_session, yes_option

if TYPE_CHECKING:
    from mlinfra_lab.clusters import ClusterRef
    from mlinfra_lab.schema.clusters import Cluster


@click.group(
    "cluster", cls=Group, examples=["cluster start local", "cluster scale local 4", "cluster stop local"]
)
def cluster() -> None:
    """Dask clusters, declared as [clusters.NAME] in mlinfra.toml.

    A cluster belongs to the project, not to the shell or notebook that started it.
    """


@cluster.command("list", examples=["cluster list"])
@pass_session
def list_(session: Session) -> Listing[Cluster]:
    """All declared clusters and what became of them."""
    empty = "No clusters. Declare one in mlinfra.toml: [clusters.local]"
    for mistake in session.project.clusters.mistakes():
        session.face.say(f"warning: {mistake}")
    return Listing(session.project.clusters.list(), "Cluster", empty)


@cluster.command("show", examples=["cluster show local"])
@click.argument("name", shell_complete=complete.clusters)
@pass_session
def show(session: Session, name: str) -> Cluster:
    """One cluster: state, workers, address, dashboard."""
    return session.project.clusters.get(name)


@cluster.command("start", examples=["cluster start local", "cluster start local --no-wait"])
@click.argument("name", shell_complete=complete.clusters)
@click.option("--wait/--no-wait", default=True, help="Wait until its workers are there.")
@click.option("--timeout", type=Seconds(), metavar="S", help="Seconds to wait.")
@pass_session
def start(session: Session, name: str, wait: bool, timeout: float | None) -> Cluster:
    """Ask for a cluster to be up."""
    ref = session.project.clusters.start(name)
    if wait:
        _wait(session, ref, name, timeout)
    return session.project.clusters.get(name)


@cluster.command("attach", examples=["cluster attach local", "cluster attach"])
@click.argument("name", required=False, shell_complete=complete.clusters)
@pass_session
def attach(session: Session, name: str | None) -> Any:
    """Start a cluster if need be and connect to it.

    In a notebook the connection is a dask.distributed Client, in the variable "client" and as the result.
    In a shell the answer is the cluster with its address. Without NAME it is the only one declared.
    """
    namespace = session.face.namespace()
    if namespace is not None:
        client = session.project.clusters.attach(name)
        namespace["client"] = client
        return client
    if name is None:
        declared = session.project.clusters.list()
        if len(declared) != 1:
            raise click.UsageError(
                f"Which cluster? There are {', '.join(one.name for one in declared) or 'none'}."
            )
        name = declared[0].name
    _wait(session, session.project.clusters.start(name), name, None)
    return session.project.clusters.get(name)


@cluster.command("scale", examples=["cluster scale local 4"])
@click.argument("name", shell_complete=complete.clusters)
@click.argument("workers", type=click.IntRange(min=0))
@pass_session
def scale(session: Session, name: str, workers: int) -> Cluster:
    """Change how many workers a cluster has."""
    session.project.clusters.scale(name, workers)
    return session.project.clusters.get(name)


@cluster.command("stop", examples=["cluster stop local", "cluster stop local --yes"])
@click.argument("name", shell_complete=complete.clusters)
@yes_option
@pass_session
def stop(session: Session, name: str, yes: bool) -> Cluster:
    """Stop a cluster. What its workers hold in memory is lost."""
    found = session.project.clusters.get(name)
    if found.desired:
        workers = f"{found.connected} worker{'' if found.connected == 1 else 's'}"
        session.confirm(
            f"Stop cluster {name} ({found.state}, {workers})? What they hold in memory is lost.", yes
        )
        session.project.clusters.stop(name)
    return session.project.clusters.get(name)


def _wait(session: Session, ref: ClusterRef, name: str, timeout: float | None) -> None:
    try:
        with session.face.meter(f"cluster {name}") as meter:
            meter("starting", line=f"cluster {name}: starting")

            def report(now: Cluster) -> None:
                meter(f"{now.connected} of {now.workers} workers", now.connected, now.workers or None)

            ref.wait(timeout, report)
    except KeyboardInterrupt:
        say = session.program
        raise StoppedWaiting(
            f"Interrupted; cluster {name} goes on starting.",
            f"{say}cluster show {name} · {say}cluster stop {name}",
        ) from None
