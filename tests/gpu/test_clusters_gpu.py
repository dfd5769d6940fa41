"""A GPU cluster on a machine that has GPUs."""

from __future__ import annotations

import sys
from collections.abc import Callable

import cloudpickle

from mlinfra_lab.clusters.backends.cuda import find_devices
from mlinfra_lab.project import Project


def there_and_back(values: list[float]) -> list[float]:
    """Copy numbers to the worker's GPU and back, through CUDA's driver."""
    import array

    from cuda.bindings import driver
    from cuda.core import Device

    Device().set_current()
    sent, received = array.array("d", values), array.array("d", [0.0] * len(values))
    size = len(sent) * sent.itemsize
    error, memory = driver.cuMemAlloc(size)
    assert error == driver.CUresult.CUDA_SUCCESS, error
    (error,) = driver.cuMemcpyHtoD(memory, sent.buffer_info()[0], size)
    assert error == driver.CUresult.CUDA_SUCCESS, error
    (error,) = driver.cuMemcpyDtoH(received.buffer_info()[0], memory, size)
    assert error == driver.CUresult.CUDA_SUCCESS, error
    driver.cuMemFree(memory)
    return received.tolist()


def test_one_worker_for_each_gpu_and_each_has_its_own(make_project: Callable[..., Project]) -> None:
    devices = find_devices(None)
    project = make_project(toml='\n[clusters.gpu]\nbackend = "cuda"\n')
    cluster = project.clusters.start("gpu").wait(180)
    assert (cluster.workers, cluster.connected) == (len(devices), len(devices))
    # The workers cannot import this file: its functions travel by value.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with project.clusters.attach("gpu") as client:
        seen = client.run(lambda: __import__("os").environ["CUDA_VISIBLE_DEVICES"].split(",")[0])
        assert sorted(seen.values()) == sorted(devices)

        futures = [client.submit(there_and_back, [1.0, 2.5], workers=[worker], pure=False) for worker in seen]
        assert client.gather(futures) == [[1.0, 2.5]] * len(devices)
        figures = client.scheduler_info(n_workers=-1)["workers"].values()
        assert all(worker["metrics"]["gpu_memory_used"] > 0 for worker in figures)
    assert project.clusters.stop("gpu").wait(60).state == "stopped"
