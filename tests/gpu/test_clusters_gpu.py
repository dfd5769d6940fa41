"""A GPU cluster on a machine that has GPUs."""

from __future__ import annotations

from collections.abc import Callable

from mlinfra_lab.clusters.backends.cuda import find_devices
from mlinfra_lab.project import Project


def test_one_worker_for_each_gpu_and_each_has_its_own(make_project: Callable[..., Project]) -> None:
    devices = find_devices(None)
    project = make_project(toml='\n[clusters.gpu]\nbackend = "cuda"\n')
    cluster = project.clusters.start("gpu").wait(180)
    assert (cluster.workers, cluster.connected) == (len(devices), len(devices))
    with project.clusters.attach("gpu") as client:
        seen = client.run(lambda: __import__("os").environ["CUDA_VISIBLE_DEVICES"].split(",")[0])
        assert sorted(seen.values()) == sorted(devices)

        def doubled(values: list[float]) -> list[float]:
            """On the device itself, through CUDA's driver: copied there, doubled here, copied back."""
            import array

            from cuda.core import Device

            device = Device()
            device.set_current()
            stream = device.create_stream()
            raw = array.array("d", [2 * value for value in values])
            there = device.memory_resource.allocate(raw.buffer_info()[1] * raw.itemsize, stream=stream)
            from cuda.bindings import driver

            size = len(raw) * raw.itemsize
            (error,) = driver.cuMemcpyHtoD(int(there.handle), raw.buffer_info()[0], size)
            assert error == driver.CUresult.CUDA_SUCCESS, error
            back = array.array("d", [0.0] * len(raw))
            (error,) = driver.cuMemcpyDtoH(back.buffer_info()[0], int(there.handle), size)
            assert error == driver.CUresult.CUDA_SUCCESS, error
            return back.tolist()

        futures = [client.submit(doubled, [1.0, 2.5], workers=[worker], pure=False) for worker in seen]
        assert client.gather(futures) == [[2.0, 5.0]] * len(devices)
        figures = client.scheduler_info(n_workers=-1)["workers"].values()
        assert all(worker["metrics"]["gpu_memory_used"] > 0 for worker in figures)
    assert project.clusters.stop("gpu").wait(60).state == "stopped"
