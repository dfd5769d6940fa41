"""Clusters as faces see them, and what the controller's loop asks of them."""

from __future__ import annotations

import builtins
import difflib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mlinfra_lab import settings
from mlinfra_lab.clusters import store
from mlinfra_lab.clusters.backend import Backend
from mlinfra_lab.clusters.store import SCHEDULER, WORKER, Owner
from mlinfra_lab.clusters.truth import answered, beside, derive, said
from mlinfra_lab.clusters.waiting import Controller, wait_for
from mlinfra_lab.errors import Conflict, Invalid, InvalidSettings, MLInfraError, NotFound
from mlinfra_lab.plugins import Door
from mlinfra_lab.schema.clusters import Cluster
from mlinfra_lab.schema.common import JSON
from mlinfra_lab.schema.control import Wanted
from mlinfra_lab.schema.plugins import Plugin
from mlinfra_lab.schema.tasks import Failure
from mlinfra_lab.storage import Storage, Unit

if TYPE_CHECKING:
    from distributed import Client

MODULE = "mlinfra_lab.clusters.node"
CHECK = "mlinfra_lab.clusters.work:check"
ATTACHABLE = ("up", "degraded")


class ClusterRef:
    """A cluster that was asked to come up, or to go.

    Attributes
    ----------
    name
        The cluster's name.
    """

    def __init__(
        self, name: str, get: Callable[[str], Cluster], storage: Storage, controller: Controller
    ) -> None:
        self.name = name
        self._get = get
        self._storage = storage
        self._controller = controller

    def __repr__(self) -> str:
        return f"<cluster {self.name}: {self.cluster.state}>"

    @property
    def cluster(self) -> Cluster:
        """The cluster as it is now."""
        return self._get(self.name)

    def wait(self, timeout: float | None = None, report: Callable[[Cluster], None] | None = None) -> Cluster:
        """Wait until what was asked for is so: all workers connected, or all processes gone.

        Parameters
        ----------
        timeout
            Seconds to wait at most.
        report
            Called with the cluster whenever it changed.

        Raises
        ------
        Failed
            With the reason.
        Conflict
            When somebody asked for the opposite meanwhile.
        Unavailable
            When the time is over (it goes on), or `ControllerDown` when nobody makes it so.
        """
        return wait_for(lambda: self.cluster, self._storage, self._controller, timeout, report)


class ClustersService:
    """Dask clusters declared in ``mlinfra.toml``.

    Parameters
    ----------
    root, state
        The project's folder and its state folder.
    door
        The cluster backends (`Plugins.cluster_backends`).
    actor
        Who acts.
    job
        Id of the job this process belongs to; attaching to a cluster is recorded for it.
    controller
        Makes so what is desired.
    """

    def __init__(
        self,
        root: Path,
        state: Path,
        storage: Storage,
        door: Door,
        actor: str,
        job: str | None,
        controller: Controller,
    ) -> None:
        self._root = root
        self._state = state
        self._storage = storage
        self._door = door
        self._actor = actor
        self._job = job
        self._controller = controller
        self._made: dict[tuple[str, bytes], Backend] = {}

    # -- looking ----------------------------------------------------------------------------------

    def list(self) -> builtins.list[Cluster]:
        """Declared clusters in the file's order, then those that run and are declared no more."""
        declared = self._declared()
        with self._storage.read() as connection:
            rows = store.rows(connection)
            true = {name: self._now(row, store.processes(connection, row)) for name, row in rows.items()}
        left = [row for name, row in true.items() if name not in declared and row.state != "stopped"]
        return [beside(name, true.get(name), spec) for name, spec in declared.items()] + [
            beside(row.name, row, None) for row in left
        ]

    def get(self, name: str) -> Cluster:
        """One cluster.

        Raises
        ------
        NotFound
            With the nearest name.
        """
        known = {cluster.name: cluster for cluster in self.list()}
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            declare = f"Declare it in mlinfra.toml under [clusters.{name}]."
            raise NotFound(
                f"There is no cluster “{name}”.", f"Did you mean “{near[0]}”?" if near else declare
            )
        return known[name]

    def backends(self) -> builtins.list[Plugin]:
        """The backends a cluster can be declared with; a broken one with its error."""
        return self._door.describe()

    def mistakes(self) -> builtins.list[str]:
        """What is wrong with declared clusters, each with what to do about it; starting one says the same."""
        found = []
        for name, spec in self._declared().items():
            try:
                self._checked(name, spec)
            except MLInfraError as error:
                found.append(said(error.message, error.hint))
        return found

    def _declared(self) -> dict[str, settings.ClusterSettings]:
        # The file may have been edited since the project was opened.
        return settings.load(self._root).clusters

    # -- asking -----------------------------------------------------------------------------------

    def start(self, name: str) -> ClusterRef:
        """Ask for a cluster to be up; one that is up, or coming up, is left as it is.

        Raises
        ------
        NotFound
            When it is not declared.
        InvalidSettings
            When its declaration has a mistake: names the key and its line.
        """
        self.get(name)
        spec = self._declared().get(name)
        if spec is None:
            raise Conflict(
                f"Cluster “{name}” is no longer in mlinfra.toml.", f"Add [clusters.{name}] and try again."
            )
        backend = self._checked(name, spec)
        with self._storage.unit(self._actor) as unit:
            row = store.get(unit.connection, name)
            if row is None or not self._goes(unit, row):
                fresh = Cluster(
                    name=name,
                    backend=spec.backend,
                    config=spec.config,
                    desired=True,
                    generation=row.generation + 1 if row else 1,
                    state="starting",
                    workers=backend.workers() or 0,
                )
                store.put(unit, fresh, row)
                unit.audit("start", "cluster", name, {"generation": fresh.generation})
                if not backend.starts:
                    arguments = {"name": name, "generation": fresh.generation}
                    unit.task(CHECK, f"cluster:{name}", arguments)
        self._controller.ensure()
        return ClusterRef(name, self.get, self._storage, self._controller)

    def stop(self, name: str) -> ClusterRef:
        """Ask for a cluster to be gone; the processes of one that is not ours to stop live on."""
        self.get(name)
        with self._storage.unit(self._actor) as unit:
            row = store.get(unit.connection, name)
            if row is not None and row.desired:
                row = msgspec.structs.replace(row, desired=False)
                store.put(unit, self._now(row, store.processes(unit.connection, row)), row)
                unit.audit("stop", "cluster", name)
        if not self._controller.is_down():
            self._controller.ensure()
        return ClusterRef(name, self.get, self._storage, self._controller)

    def scale(self, name: str, workers: int) -> ClusterRef:
        """Ask for another number of workers, until the cluster is started anew.

        Raises
        ------
        Conflict
            When it is not running, or not ours to scale.
        Invalid
            When there cannot be so many.
        """
        self.get(name)
        with self._storage.unit(self._actor) as unit:
            row = store.get(unit.connection, name)
            if row is None or not self._goes(unit, row):
                raise Conflict(f"Cluster “{name}” is not running.", f"mlinfra cluster start {name}")
            backend = self._backend(row)
            if not backend.starts:
                raise Conflict(f"The workers of cluster “{name}” are not ours to start or stop.")
            processes = store.processes(unit.connection, row)
            most = processes.published.get("most") or backend.most() or workers
            if not 1 <= workers <= most:
                few = "It needs one at least." if workers < 1 else f"It can have {most} at most."
                raise Invalid(f"Cluster “{name}” cannot have {workers} workers.", few)
            scaled = msgspec.structs.replace(row, workers=workers)
            store.put(unit, derive(scaled, processes), row)
            unit.audit("scale", "cluster", name, {"workers": workers})
        self._controller.ensure()
        return ClusterRef(name, self.get, self._storage, self._controller)

    def _goes(self, unit: Unit, row: Cluster) -> bool:
        # By what it is, not by what was last written: the controller may just be about to write it.
        return row.desired and self._now(row, store.processes(unit.connection, row)).state != "failed"

    def attach(self, name: str | None = None) -> Client:
        """Connect to a cluster that is up, and make it what Dask uses in this process.

        Parameters
        ----------
        name
            By default the first declared one that is up.

        Returns
        -------
        distributed.Client
            It reconnects by itself when the scheduler was lost and is back.

        Raises
        ------
        Conflict
            When the cluster is not up.
        Unavailable
            When it does not answer.
        """
        cluster = self.get(name) if name else self._any()
        name = cluster.name
        if cluster.state not in ATTACHABLE or cluster.address is None:
            why = f": {cluster.reason}" if cluster.reason else ""
            raise Conflict(f"Cluster “{name}” is {cluster.state}{why}.", f"mlinfra cluster start {name}")
        if cluster.desired:
            # Somebody must be there to bring back a scheduler that was lost.
            self._controller.ensure()
        from mlinfra_lab.clusters import work

        client = work.connect(cluster, self._backend(cluster).security())
        if self._job is not None:
            with self._storage.unit(self._actor) as unit:
                unit.link("cluster", name, "job", self._job, "computed on", work.describe(cluster, client))
        return client

    def _any(self) -> Cluster:
        clusters = self.list()
        if not clusters:
            raise NotFound("This project declares no cluster.", "Add [clusters.NAME] to mlinfra.toml.")
        return next((one for one in clusters if one.state in ATTACHABLE), clusters[0])

    # -- making it so -----------------------------------------------------------------------------

    def wanted(self) -> builtins.list[Wanted]:
        """The processes there should be.

        Workers are started beside their scheduler (they import Dask while it does, and wait until it
        has said where it is), and a scheduler stays until the last of its workers has gone.
        """
        with self._storage.read() as connection:
            rows = store.rows(connection)
            opened = store.opened(connection)
        found: dict[tuple[str, str], Wanted] = {}

        def add(kind: str, owner: Owner, env: dict[str, str]) -> None:
            found[kind, str(owner)] = Wanted(kind=kind, owner=str(owner), module=MODULE, env=env)

        open_schedulers = {owner for kind, owner in opened if kind == SCHEDULER}
        for kind, owner in opened:
            if kind == WORKER and owner.scheduler in open_schedulers:
                add(SCHEDULER, owner.scheduler, {})
        for row in rows.values():
            if not row.desired or row.state == "failed":
                continue
            try:
                backend = self._backend(row)
            except MLInfraError:
                continue  # `observe` writes it down as the reason
            if not backend.starts:
                continue
            env = backend.environment()
            add(SCHEDULER, Owner(row.name, row.generation), env)
            for index in range(row.workers):
                add(WORKER, Owner(row.name, row.generation, index), env)
        return builtins.list(found.values())

    def observe(self) -> None:
        """Bring the rows in line with what is; one that is right already is not written."""
        with self._storage.read() as connection:
            rows = store.rows(connection)
        for name, row in rows.items():
            if row.state in ("stopped", "failed") and not row.desired:
                continue
            with self._storage.read() as connection:
                true = self._now(row, store.processes(connection, row))
            if true == row:
                continue
            with self._storage.unit() as unit:
                # Somebody may have asked for something else meanwhile.
                row_now = store.get(unit.connection, name)
                if row_now is not None:
                    true = self._now(row_now, store.processes(unit.connection, row_now))
                    if true != row_now:
                        store.put(unit, true, row_now)

    def _now(self, row: Cluster, processes: store.Processes) -> Cluster:
        if row.desired:
            try:
                if not self._backend(row).starts:
                    return row  # its check wrote what is to know
            except MLInfraError as error:
                return msgspec.structs.replace(row, state="failed", reason=said(error.message, error.hint))
        return derive(row, processes)

    def checked(self, name: str, generation: int, found: JSON | None, failure: Failure | None) -> Cluster:
        """Write down what a backend's `check` found; for the task that ran it."""
        with self._storage.unit() as unit:
            row = store.get(unit.connection, name)
            if row is None:
                raise NotFound(f"There is no cluster “{name}”.")
            if not row.desired or row.generation != generation:
                return row
            return store.put(unit, answered(row, found, failure), row)

    # -- backends ---------------------------------------------------------------------------------

    def row(self, name: str) -> Cluster | None:
        """A cluster as it was last asked for; for its own processes."""
        with self._storage.read() as connection:
            return store.get(connection, name)

    def backend(self, cluster: Cluster) -> Backend:
        """The backend of a cluster as it was started, with its configuration."""
        return self._backend(cluster)

    def _backend(self, cluster: Cluster) -> Backend:
        key = (cluster.backend, msgspec.json.encode(cluster.config, order="sorted"))
        if key not in self._made:
            where = ("clusters", cluster.name)
            config = self._door.config(cluster.backend, cluster.config, where)
            self._made[key] = self._door.get(cluster.backend)(config, self._root, self._state)
        return self._made[key]

    def _checked(self, name: str, spec: settings.ClusterSettings) -> Backend:
        try:
            return self._backend(Cluster(name=name, backend=spec.backend, config=spec.config))
        except InvalidSettings as error:
            keys = tuple((error.detail or {}).get("key", "").split("."))
            text = (self._root / settings.FILE).read_text(encoding="utf-8")
            line = settings.line_of(text, keys) or settings.line_of(text, ("clusters", name))
            place = f"{settings.FILE}, line {line}" if line else settings.FILE
            raise InvalidSettings(
                f"{place}: {error.message}", error.hint, {"key": ".".join(keys), "line": line}
            ) from error
