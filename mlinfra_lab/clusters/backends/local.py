"""``backend = "local"``: a scheduler and workers as processes of their own on this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from mlinfra_lab.clusters.backend import Backend, Node
from mlinfra_lab.errors import InvalidSettings
from mlinfra_lab.schema.common import JSON
from mlinfra_lab.settings import parse_size

if TYPE_CHECKING:
    from distributed.security import Security

# What Dask's nanny sets for its workers, which ours do without: several processes that each start a
# thread per core for linear algebra get in each other's way, and glibc is to give memory back.
QUIET = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}


def most_workers() -> int:
    """Worker processes that can make sense on this machine: each one imports Dask and has a core's share."""
    return max(16, 8 * (os.cpu_count() or 1))


def check_memory(memory: int | str) -> None:
    """Refuse what is no size of memory; for ``__post_init__``, hence ValueError."""
    if memory == "auto":
        return
    try:
        size = parse_size(memory)
    except InvalidSettings as error:
        raise ValueError(f"“memory”: {error.message.rstrip('.')}; write it like “2 GiB” or “auto”") from None
    if size < 1024**2:
        raise ValueError(f"“memory” of {size} bytes is too little for a worker; write it like “2 GiB”")


class LocalConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys of ``[clusters.NAME]`` with ``backend = "local"``.

    Attributes
    ----------
    workers
        Worker processes.
    threads
        Threads of each worker: how many tasks it does at a time.
    memory
        What each worker may use before it puts results on disk and pauses: ``"2 GiB"``, bytes, or
        ``"auto"`` for its threads' share of the machine.
    environment
        Environment variables of the processes. No secrets: the file is in git.
    """

    workers: Annotated[int, Meta(ge=1, le=512, title="Workers", description="Worker processes.")] = 2
    threads: Annotated[int, Meta(ge=1, le=1024, title="Threads", description="Threads of each worker.")] = 1
    memory: Annotated[
        int | str,
        Meta(title="Memory", description="What each worker may use: “2 GiB”, bytes, or “auto”."),
    ] = "2 GiB"
    environment: Annotated[
        dict[str, str], Meta(title="Environment", description="Environment variables; no secrets.")
    ] = {}

    def __post_init__(self) -> None:
        if self.workers > most_workers():
            raise ValueError(f"“workers”: this machine can do with {most_workers()} at most")
        check_memory(self.memory)


class LocalBackend(Backend):
    """Processes on this machine, each with a launch of its own, so that nothing dies with who asked."""

    id: ClassVar[str] = "local"
    label: ClassVar[str] = "This machine"
    Config: ClassVar[type[msgspec.Struct]] = LocalConfig
    config: LocalConfig

    def workers(self) -> int | None:
        """See `Backend.workers`."""
        return self.config.workers

    def most(self) -> int | None:
        """See `Backend.most`."""
        return most_workers()

    def environment(self) -> dict[str, str]:
        """See `Backend.environment`."""
        return QUIET | self.config.environment

    def security(self) -> Security | None:
        """See `Backend.security`."""
        from mlinfra_lab.clusters.backends import _process

        return _process.security(self.state)

    def run(self, node: Node) -> JSON | None:
        """See `Backend.run`."""
        from mlinfra_lab.clusters.backends import _process

        if node.role == "scheduler":
            return _process.run(_process.scheduler(node, {}))

        def make(address: str, options: dict[str, Any]) -> Any:
            return _process.Worker(
                address,
                nthreads=self.config.threads,
                memory_limit=_process.memory(self.config.memory),
                name=f"{node.cluster}-{node.index}",
                **options,
            )

        return _process.run(_process.worker(node, make))
