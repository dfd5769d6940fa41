"""``backend = "cuda"``: a scheduler and one dask-cuda worker for each GPU of this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from mlinfra_lab.clusters.backend import Backend, Node
from mlinfra_lab.clusters.backends.local import check_memory
from mlinfra_lab.errors import MissingDependency
from mlinfra_lab.schema.common import JSON

if TYPE_CHECKING:
    from distributed.security import Security

_LOCAL = 'Use a cluster with backend = "local" on this machine.'


class CudaConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys of ``[clusters.NAME]`` with ``backend = "cuda"``.

    Attributes
    ----------
    devices
        The GPUs to use, by number or UUID; by default those in ``CUDA_VISIBLE_DEVICES``, else all.
    threads
        Threads of each worker.
    memory
        Main memory of each worker: ``"8 GiB"``, bytes, or ``"auto"``: the machine's for each.
    environment
        Environment variables of the processes. No secrets: the file is in git.
    """

    devices: Annotated[
        list[int | str] | None, Meta(title="GPUs", description="By number or UUID; by default all.")
    ] = None
    threads: Annotated[int, Meta(ge=1, le=1024, title="Threads", description="Threads of each worker.")] = 1
    memory: Annotated[
        int | str,
        Meta(title="Memory", description="Main memory of each worker: “8 GiB”, bytes, or “auto”."),
    ] = "auto"
    environment: Annotated[
        dict[str, str], Meta(title="Environment", description="Environment variables; no secrets.")
    ] = {}

    def __post_init__(self) -> None:
        check_memory(self.memory)
        if self.devices is not None and len(set(self.devices)) != max(len(self.devices), 1):
            raise ValueError("“devices” is empty or names a GPU twice")


class CudaBackend(Backend):
    """dask-cuda's workers: each has its own GPU, the CPUs near it, and puts on disk what overflows."""

    id: ClassVar[str] = "cuda"
    label: ClassVar[str] = "This machine's GPUs"
    Config: ClassVar[type[msgspec.Struct]] = CudaConfig
    config: CudaConfig

    def workers(self) -> int | None:
        """See `Backend.workers`: how many GPUs there are is for the scheduler's process to say."""
        return None

    def environment(self) -> dict[str, str]:
        """See `Backend.environment`."""
        return dict(self.config.environment)

    def security(self) -> Security | None:
        """See `Backend.security`."""
        from mlinfra_lab.clusters.backends import _process

        return _process.security(self.state)

    def run(self, node: Node) -> JSON | None:
        """See `Backend.run`."""
        # Both ask: a driver can go away between the scheduler's start and a worker's.
        devices = find_devices(self.config.devices)
        from mlinfra_lab.clusters.backends import _process

        if node.role == "scheduler":
            return _process.run(_process.scheduler(node, {"workers": len(devices), "most": len(devices)}))
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[node.index]

        def make(address: str, options: dict[str, Any]) -> Any:
            from dask_cuda import CUDAWorker

            return CUDAWorker(
                address,
                nthreads=self.config.threads,
                memory_limit=_process.memory(self.config.memory),
                name=f"{node.cluster}-{node.index}",
                **options,
            )

        return _process.run(_process.worker(node, make))


def find_devices(chosen: list[int | str] | None) -> list[str]:
    """The GPUs to use, as ``CUDA_VISIBLE_DEVICES`` names them.

    Raises
    ------
    MissingDependency
        When dask-cuda, a driver or a GPU is missing, in plain words.
    """
    try:
        import dask_cuda  # noqa: F401
        import pynvml
    except ImportError as error:
        raise MissingDependency(
            f"GPU clusters need dask-cuda ({error}).", "pip install 'mlinfra-lab[gpu]'"
        ) from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise MissingDependency(
            f"No NVIDIA driver answers on this machine: {_plain(error)}.", _LOCAL
        ) from error
    try:
        visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
        devices = [str(device).strip() for device in chosen or visible or range(pynvml.nvmlDeviceGetCount())]
        if not devices:
            raise MissingDependency("This machine has an NVIDIA driver and no GPU.", _LOCAL)
        for device in devices:
            _look(pynvml, device)
        return devices
    finally:
        pynvml.nvmlShutdown()


def _look(pynvml: Any, device: str) -> None:
    try:
        if device.isdecimal():
            pynvml.nvmlDeviceGetHandleByIndex(int(device))
        else:
            pynvml.nvmlDeviceGetHandleByUUID(device.encode())
    except pynvml.NVMLError as error:
        count = pynvml.nvmlDeviceGetCount()
        raise MissingDependency(
            f"There is no GPU “{device}” on this machine: {_plain(error)}.",
            f"It has {count}, counted from 0. Correct “devices” or CUDA_VISIBLE_DEVICES.",
        ) from error


def _plain(error: Exception) -> str:
    text = str(error).strip().rstrip(".")
    if type(error).__name__ == "NVMLError_LibraryNotFound":
        return f"its library libnvidia-ml.so.1 is not there ({text})"
    return f"NVML says “{text}”"
