"""Clusters that somebody else keeps: only whether they answer is looked at."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import eventually, processes_of

from mlinfra_lab.clusters import tls
from mlinfra_lab.clusters.backends.address import AddressBackend, AddressConfig
from mlinfra_lab.errors import Conflict, Failed, InvalidSettings, Unavailable
from mlinfra_lab.project import Project

pytestmark = pytest.mark.slow

Make = Callable[..., Project]
SCHEDULER = """
import asyncio, sys
from pathlib import Path
import dask, distributed
from distributed import LocalCluster, Security

async def main(where, *files):
    security = Security()
    if files:
        ca, cert, key = files
        pairs = {f"tls_{role}_{part}": path for role in ("scheduler", "worker", "client")
                 for part, path in (("cert", cert), ("key", key))}
        security = Security(tls_ca_file=ca, require_encryption=True, **pairs)
    async with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, asynchronous=True,
                            host="127.0.0.1", dashboard_address=None, security=security,
                            protocol="tls://" if files else "tcp://") as cluster:
        Path(where).write_text(cluster.scheduler_address)
        await cluster.scheduler.finished()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def keep(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Starts a scheduler with one worker that is none of ours; ``keep(*tls files)`` gives its address."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*files: Path) -> str:
        where = tmp_path / f"address-{len(started)}"
        started.append(subprocess.Popen([sys.executable, "-c", SCHEDULER, where, *files]))
        return eventually(lambda: where.exists() and where.read_text(), 60)

    yield start
    for process in started:
        process.kill()
        process.wait()


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def backend(root: Path, **config: str) -> AddressBackend:
    return AddressBackend(AddressConfig(**config), root, root / ".mlinfra")


def test_up_attach_and_down(make_project: Make, keep: Callable[..., str]) -> None:
    address = keep()
    project = make_project(toml=f'\n[clusters.far]\nbackend = "address"\naddress = "{address}"\n')
    cluster = project.clusters.start("far").wait(60)
    assert (cluster.state, cluster.address, cluster.connected) == ("up", address, 1)
    with project.clusters.attach("far") as client:
        assert client.submit(sum, [1, 2]).result(timeout=30) == 3
    with pytest.raises(Conflict, match="not ours to start or stop"):
        project.clusters.scale("far", 3)
    assert project.clusters.stop("far").wait(30).state == "stopped"
    # It lives on: it is not ours.
    assert backend(project.root, address=address).check()["connected"] == 1
    assert not [one for one in processes_of(project.root) if "mlinfra_lab.clusters.node" in one.cmdline()]


def test_one_that_does_not_answer_fails_with_the_reason(make_project: Make) -> None:
    address = f"tcp://127.0.0.1:{closed_port()}"
    project = make_project(toml=f'\n[clusters.far]\nbackend = "address"\naddress = "{address}"\n')
    with pytest.raises(Failed, match=f"No Dask scheduler answers at {address}: .*refused"):
        project.clusters.start("far").wait(60)
    failed = project.clusters.get("far")
    assert failed.state == "failed"
    with pytest.raises(Conflict, match="“far” is failed: No Dask scheduler answers"):
        project.clusters.attach("far")
    assert project.clusters.stop("far").wait(30).state == "stopped"


def test_tls_with_the_right_files_and_with_others(tmp_path: Path, keep: Callable[..., str]) -> None:
    theirs, other = tmp_path / "theirs", tmp_path / "other"
    for folder in (theirs, other):
        folder.mkdir()
        tls.ensure(folder)
    address = keep(*tls.Files.inside(theirs / "tls"))
    right = {"ca": "theirs/tls/ca.pem", "cert": "theirs/tls/node.pem", "key": "theirs/tls/node.key"}
    assert backend(tmp_path, address=address, **right).check()["connected"] == 1
    wrong = {name: path.replace("theirs", "other") for name, path in right.items()}
    with pytest.raises(Unavailable, match=r"(?i)certificate"):
        backend(tmp_path, address=address, **wrong).check()
    with pytest.raises(Unavailable, match="answers at tcp://"):
        backend(tmp_path, address=address.replace("tls://", "tcp://")).check()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    files = {"ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"}
    with pytest.raises(InvalidSettings, match=r"There is no file .*ca\.pem \(“ca” of the cluster\)"):
        backend(tmp_path, address="tls://127.0.0.1:8786", **files).security()


def test_something_else_that_answers(tmp_path: Path) -> None:
    server = "import http.server; http.server.test(port=int(__import__('sys').argv[1]), bind='127.0.0.1')"
    port = closed_port()
    with subprocess.Popen([sys.executable, "-c", server, str(port)], stderr=subprocess.DEVNULL) as process:
        eventually(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        with pytest.raises(Unavailable, match=f"answers at tcp://127.0.0.1:{port}"):
            backend(tmp_path, address=f"tcp://127.0.0.1:{port}").check()
        process.kill()
