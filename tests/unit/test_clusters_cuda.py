"""GPU clusters without a GPU: why not, in plain words; and with a driver's stand-in, dask-cuda itself.

The stand-in is a ``libnvidia-ml.so.1`` compiled here. It answers what dask-cuda and Dask ask NVML about two
GPUs; everything above it (numbering, affinity, limits, spilling's set-up, metrics) is the real code. What
needs the devices themselves is in ``tests/gpu``.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support import eventually, process, processes_of

from mlinfra_lab.errors import Failed, Invalid
from mlinfra_lab.project import Project

LIBRARY = "libnvidia-ml.so.1"
STAND_IN = r"""
#include <stdio.h>
#include <string.h>
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned int gpu, memory; } Rates;
static int gpus[GPUS + 1];
#define OK return 0
int nvmlInitWithFlags(unsigned int flags) { return INIT; }
int nvmlInit_v2(void) { return INIT; }
int nvmlShutdown(void) { OK; }
const char *nvmlErrorString(int code) {
    return code == 9 ? "Driver Not Loaded" : code == 3 ? "Not Supported" : code == 2 ? "Invalid Argument"
         : code == 6 ? "Not Found" : "Unknown Error";
}
int nvmlSystemGetDriverVersion(char *text, unsigned int size) { snprintf(text, size, "590.0"); OK; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = GPUS; OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    if (index >= GPUS) return 2;
    *device = &gpus[index]; OK;
}
int nvmlDeviceGetIndex(void *device, unsigned int *index) { *index = (int *)device - gpus; OK; }
int nvmlDeviceGetUUID(void *device, char *text, unsigned int size) {
    snprintf(text, size, "GPU-00000000-0000-0000-0000-%012d", (int)((int *)device - gpus)); OK;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    char text[96];
    for (int i = 0; i < GPUS; i++) {
        nvmlDeviceGetUUID(&gpus[i], text, sizeof text);
        if (!strcmp(text, uuid)) { *device = &gpus[i]; OK; }
    }
    return 6;
}
int nvmlDeviceGetName(void *device, char *text, unsigned int size) { snprintf(text, size, "Stand-in"); OK; }
int nvmlDeviceGetMemoryInfo(void *device, Memory *memory) {
    memory->total = 8ULL << 30; memory->free = 7ULL << 30; memory->used = 1ULL << 30; OK;
}
int nvmlDeviceGetUtilizationRates(void *device, Rates *rates) { rates->gpu = 5; rates->memory = 5; OK; }
int nvmlDeviceGetCpuAffinity(void *device, unsigned int size, unsigned long long *set) {
    memset(set, 0, size * sizeof *set); set[0] = 1; OK;
}
int nvmlDeviceGetMigMode(void *device, unsigned int *current, unsigned int *pending) { return 3; }
int nvmlDeviceIsMigDeviceHandle(void *device, unsigned int *is) { *is = 0; OK; }
int nvmlDeviceGetComputeRunningProcesses_v2(void *d, unsigned int *count, void *all) { *count = 0; OK; }
int nvmlDeviceGetComputeRunningProcesses_v3(void *d, unsigned int *count, void *all) { *count = 0; OK; }
"""

Make = Callable[..., Project]


def driver(folder: Path, gpus: int = 2, init: int = 0) -> Path:
    """A folder with a stand-in that has so many GPUs and whose start answers ``init``."""
    folder.mkdir()
    source = folder / "nvml.c"
    source.write_text(STAND_IN)
    command = ["gcc", "-shared", "-fPIC", f"-DGPUS={gpus}", f"-DINIT={init}", "-o", LIBRARY, source.name]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


def declared(libraries: Path, more: str = "") -> str:
    # DASK_CUDA_TEST_SINGLE_GPU is dask-cuda's own switch for tests: without it each worker would make a
    # CUDA context, which no stand-in for NVML can give.
    return (
        '\n[clusters.gpu]\nbackend = "cuda"\nmemory = "1 GiB"\n'
        f'environment = {{ LD_LIBRARY_PATH = "{libraries}", DASK_CUDA_TEST_SINGLE_GPU = "1" }}\n{more}'
    )


def no_library(folder: Path) -> Path:
    # The loader ends its search at a file that is too short for a library, so that this holds on a
    # machine with a driver as well.
    folder.mkdir()
    (folder / LIBRARY).touch()
    return folder


@pytest.mark.parametrize(
    ("make_driver", "more", "reason"),
    [
        (
            no_library,
            "",
            "No NVIDIA driver answers on this machine: its library libnvidia-ml.so.1 is not there "
            "(NVML Shared Library Not Found).",
        ),
        (
            lambda folder: driver(folder, init=9),
            "",
            "No NVIDIA driver answers on this machine: NVML says “Driver Not Loaded”.",
        ),
        (lambda folder: driver(folder, gpus=0), "", "This machine has an NVIDIA driver and no GPU."),
        (
            driver,
            "devices = [0, 5]",
            "There is no GPU “5” on this machine: NVML says “Invalid Argument”. It has 2, counted from 0.",
        ),
    ],
    ids=["no library", "no driver", "no gpu", "no such gpu"],
)
def test_why_not_in_plain_words(
    make_project: Make, tmp_path: Path, make_driver: Callable[[Path], Path], more: str, reason: str
) -> None:
    project = make_project(toml=declared(make_driver(tmp_path / "driver"), more))
    with pytest.raises(Failed, match="Cluster “gpu” failed") as caught:
        project.clusters.start("gpu").wait(60)
    assert reason in caught.value.message
    if "devices" not in more:
        assert 'Use a cluster with backend = "local"' in caught.value.message
    # It is not tried again by itself, and nothing of it is left.
    eventually(lambda: process(project, "dask-scheduler") is None and process(project, "dask-worker") is None)
    assert project.clusters.get("gpu").state == "failed"
    assert project.clusters.stop("gpu").wait(30).state == "stopped"


@pytest.mark.slow
def test_dask_cuda_runs_tasks_over_tls(make_project: Make, tmp_path: Path) -> None:
    project = make_project(toml=declared(driver(tmp_path / "driver")))
    cluster = project.clusters.start("gpu").wait(120)
    assert (cluster.workers, cluster.connected) == (2, 2)
    assert cluster.address is not None
    assert cluster.address.startswith("tls://127.0.0.1:")
    with project.clusters.attach("gpu") as client:
        assert client.submit(sum, [1, 2, 3]).result(timeout=30) == 6
        visible = client.run(lambda: os.environ["CUDA_VISIBLE_DEVICES"].split(",")[0])
        assert sorted(visible.values()) == ["0", "1"]
        workers = client.scheduler_info(n_workers=-1)["workers"]
        assert sorted(worker["name"] for worker in workers.values()) == ["gpu-0", "gpu-1"]
        assert {worker["memory_limit"] for worker in workers.values()} == {2**30}
        assert all(address.startswith("tls://127.0.0.1:") for address in workers)
        # Affinity and figures are dask-cuda's and Dask's own doing, from what the stand-in says.
        assert set(map(tuple, client.run(lambda: os.sched_getaffinity(0)).values())) == {(0,)}
        figures = next(iter(workers.values()))["metrics"]
        assert (figures["gpu_utilization"], figures["gpu_memory_used"]) == (5, 2**30)
    with pytest.raises(Invalid, match="cannot have 3 workers") as caught:
        project.clusters.scale("gpu", 3)
    assert caught.value.hint == "It can have 2 at most."
    assert project.clusters.scale("gpu", 1).wait(60).connected == 1

    scheduler = process(project, "dask-scheduler")
    assert scheduler is not None
    scheduler.kill()
    eventually(lambda: process(project, "dask-scheduler") not in (None, scheduler))
    with project.clusters.attach(project.clusters.start("gpu").wait(120).name) as client:
        assert client.submit(sum, [4, 5]).result(timeout=60) == 9

    assert project.clusters.stop("gpu").wait(60).state == "stopped"
    node = "mlinfra_lab.clusters.node"
    eventually(lambda: not [one for one in processes_of(project.root) if node in one.cmdline()])
