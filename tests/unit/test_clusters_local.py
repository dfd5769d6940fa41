"""Local clusters, with real processes: up, attach, scale, TLS, and what a kill does to them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from distributed import Client, Security
from support import eventually, process, processes_of

from mlinfra_lab.clusters import Node, tls
from mlinfra_lab.clusters.backends.local import LocalBackend, LocalConfig
from mlinfra_lab.errors import Failed
from mlinfra_lab.project import Project
from mlinfra_lab.schema.clusters import Cluster
from mlinfra_lab.schema.common import JSON
from mlinfra_lab.storage import tables

Make = Callable[..., Project]
LAB = '\n[clusters.lab]\nbackend = "local"\nworkers = 2\nmemory = "512 MiB"\n'
SCHEDULER, WORKER, NODE = "dask-scheduler", "dask-worker", "mlinfra_lab.clusters.node"


@pytest.fixture(scope="module")
def kept(initialised: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose cluster `lab` is up, for tests that leave it so."""
    folder = tmp_path_factory.mktemp("shared") / "project"
    shutil.copytree(initialised, folder)
    with (folder / "mlinfra.toml").open("a") as file:
        file.write(LAB)
    project = Project(folder)
    project.clusters.start("lab").wait(120)
    yield project
    project.controller.down(timeout=60)
    project.close()


@pytest.fixture
def shared(kept: Project) -> Project:
    """The same, up again should a test before have killed something of it."""
    kept.clusters.start("lab").wait(120)
    return kept


@pytest.fixture
def up(make_project: Make) -> Project:
    """A project whose cluster `lab` is up."""
    project = make_project(toml=LAB)
    project.clusters.start("lab").wait(120)
    return project


def state(project: Project) -> Cluster:
    return project.clusters.get("lab")


def listening(one: psutil.Process) -> set[str]:
    """The addresses a process listens on."""
    return {at.laddr.ip for at in one.net_connections("inet") if at.status == psutil.CONN_LISTEN}


def test_from_nothing_to_a_result_and_back(make_project: Make) -> None:
    project = make_project(toml=LAB)
    seen: list[str] = []
    cluster = project.clusters.start("lab").wait(120, report=lambda one: seen.append(one.state))
    assert seen[0] == "starting"
    assert seen[-1] == "up"
    assert (cluster.desired, cluster.generation, cluster.workers, cluster.connected) == (True, 1, 2, 2)

    with project.clusters.attach("lab") as client:
        assert client.submit(sum, [1, 2, 3]).result(timeout=30) == 6
        assert client.dashboard_link == cluster.dashboard
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        assert {worker["memory_limit"] for worker in workers} == {512 * 2**20}
        assert {worker["nthreads"] for worker in workers} == {1}
        scratch = {Path(worker["local_directory"]) for worker in workers}
        assert all(project.state / "run" in folder.parents for folder in scratch)

    # Asked again it is left as it is.
    assert project.clusters.start("lab").wait(30).generation == 1
    stopped = project.clusters.stop("lab").wait(30)
    assert (stopped.state, stopped.address, stopped.dashboard) == ("stopped", None, None)
    eventually(lambda: process(project, SCHEDULER) is None and process(project, WORKER) is None)
    eventually(lambda: not [one for one in processes_of(project.root) if NODE in one.cmdline()])


@pytest.mark.slow
def test_it_does_not_die_with_whoever_asked(make_project: Make) -> None:
    project = make_project(toml=LAB)
    code = (
        "import sys, os, signal; from mlinfra_lab import Project;"
        "Project(sys.argv[1]).clusters.start('lab').wait(120);"
        "os.killpg(0, signal.SIGKILL)"
    )
    command = [sys.executable, "-c", code, str(project.root)]
    assert subprocess.run(command, start_new_session=True, check=False).returncode == -9
    assert state(project).state == "up"
    with project.clusters.attach() as client:
        assert client.submit(sum, [1, 2]).result(timeout=30) == 3


def test_only_loopback_and_only_with_the_projects_certificate(shared: Project) -> None:
    for kind in (SCHEDULER, WORKER):
        one = process(shared, kind)
        assert one is not None
        assert listening(one) == {"127.0.0.1"}
    address = state(shared).address
    assert address is not None
    place = urlsplit(address)
    assert place.scheme == "tls"

    with pytest.raises(OSError, match="tcp://"):
        Client(address.replace("tls://", "tcp://"), timeout=2)
    # Encrypted, but with nothing to show; and with another project's certificate.
    other = tls.ensure(_folder(shared.root / "other"))
    mine = tls.Files.inside(shared.state / "tls")
    for files in ((), (other.cert, other.key)):
        context = ssl.create_default_context(cafile=str(mine.ca))
        if files:
            context.load_cert_chain(*files)
        with (
            socket.create_connection((place.hostname, place.port), timeout=10) as plain,
            pytest.raises((ssl.SSLError, ConnectionError)),
            context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
        ):
            # TLS 1.3 tells a client that it was refused when it first reads.
            if not wrapped.recv(1):
                raise ConnectionError("closed")
    security = Security(
        require_encryption=True,
        tls_ca_file=str(mine.ca),
        tls_client_cert=str(other.cert),
        tls_client_key=str(other.key),
    )
    with pytest.raises(OSError, match="tls://"):
        Client(address, security=security, timeout=2)
    with shared.clusters.attach("lab") as client:
        assert client.submit(sum, [1]).result(timeout=30) == 1


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_dashboard_is_found_by_its_secret_path_alone(shared: Project) -> None:
    dashboard = state(shared).dashboard
    assert dashboard is not None
    place = urlsplit(dashboard)
    assert place.hostname == "127.0.0.1"
    secret = place.path.split("/")[1]
    assert len(secret) >= 22
    assert status_of(dashboard) == 200
    assert status_of(f"http://{place.netloc}/{secret}/health") == 200
    for path in ("", "status", "sitemap.json", "health", "metrics", "info/main/workers.html",
                 "statics/css/base.css", secret, f"x{secret}/status", "json/counts.json"):  # fmt: skip
        assert status_of(f"http://{place.netloc}/{path}") == 404, path
    # The database and the certificates are for this user alone.
    assert stat.S_IMODE(shared.state.stat().st_mode) == 0o700
    assert stat.S_IMODE((shared.state / "tls" / "node.key").stat().st_mode) == 0o600


def test_workers_have_nothing_to_tell_over_http(shared: Project) -> None:
    worker = process(shared, WORKER)
    assert worker is not None
    ports = {at.laddr.port for at in worker.net_connections("inet") if at.status == psutil.CONN_LISTEN}
    answers = set()
    for port in ports:
        try:
            answers |= {status_of(f"http://127.0.0.1:{port}/{path}") for path in ("metrics", "status", "")}
        except OSError:
            continue  # the port that speaks TLS
    assert answers == {404}


def test_a_killed_scheduler_comes_back_where_it_was(shared: Project) -> None:
    before = state(shared)
    old = process(shared, SCHEDULER)
    assert old is not None
    workers = {process(shared, WORKER, f"lab.1.{index}") for index in range(2)}
    with shared.clusters.attach("lab") as client:
        assert client.submit(sum, [1, 2]).result(timeout=30) == 3
        old.kill()
        eventually(lambda: process(shared, SCHEDULER) not in (None, old))
        after = shared.clusters.start("lab").wait(60)
        assert (after.address, after.dashboard) == (before.address, before.dashboard)
        assert after.generation == before.generation
        # The same client, and the same worker processes.
        assert eventually(lambda: client.status == "running", 60)
        assert client.submit(sum, [3, 4]).result(timeout=60) == 7
    assert {process(shared, WORKER, f"lab.1.{index}") for index in range(2)} == workers


@pytest.mark.slow
def test_a_scheduler_whose_port_was_taken_goes_elsewhere(up: Project) -> None:
    before = state(up)
    assert before.address is not None
    old = process(up, SCHEDULER)
    controller = up.controller.alive()
    assert old is not None
    assert controller is not None
    # Nobody starts another one until the port has a new owner.
    psutil.Process(controller.pid).suspend()
    old.kill()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place = urlsplit(before.address)
        eventually(lambda: _bound(taken, place.port))
        taken.listen()
        psutil.Process(controller.pid).resume()
        eventually(lambda: process(up, SCHEDULER) not in (None, old))
        after = eventually(lambda: (one := state(up)).state == "up" and one.address != before.address and one)
    assert after.connected == 2
    with up.clusters.attach("lab") as client:
        assert client.submit(sum, [3, 4]).result(timeout=60) == 7


def _bound(server: socket.socket, port: int | None) -> bool:
    try:
        server.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def test_a_killed_worker_is_replaced(shared: Project) -> None:
    old = process(shared, WORKER, "lab.1.1")
    assert old is not None
    old.kill()
    eventually(lambda: process(shared, WORKER, "lab.1.1") not in (None, old))
    assert shared.clusters.start("lab").wait(60).connected == 2


def test_a_scheduler_outlives_a_database_that_cannot_be_written(tmp_path: Path) -> None:
    said: list[JSON] = []

    def publish(info: JSON) -> None:
        said.append(info)
        if len(said) == 1:
            raise OSError("the disk is full")
        os.kill(os.getpid(), signal.SIGTERM)

    node = Node(
        cluster="lab", generation=1, role="scheduler", index=0, root=tmp_path, state=tmp_path, before={},
        stop=threading.Event(), publish=publish, scheduler=dict, wanted=lambda: True,
    )  # fmt: skip
    assert LocalBackend(LocalConfig(), tmp_path, tmp_path).run(node) == {"stopped": "asked to"}
    assert len(said) == 2
    assert said[0] == said[1]


@pytest.mark.slow
def test_scaling_up_and_down(up: Project) -> None:
    assert up.clusters.scale("lab", 3).wait(60).connected == 3
    with up.clusters.attach("lab") as client:
        # What lies on a worker that goes is handed to those that stay.
        kept = client.map(lambda n: n * n, range(12))
        client.gather(kept)
        down = up.clusters.scale("lab", 1).wait(60)
        assert (down.workers, down.connected) == (1, 1)
        assert client.gather(kept) == [n * n for n in range(12)]
    # The next start is as the file says again.
    up.clusters.stop("lab").wait(30)
    again = up.clusters.start("lab").wait(120)
    assert (again.workers, again.generation) == (2, 2)


@pytest.mark.slow
def test_stopping_waits_for_no_task(up: Project) -> None:
    client = up.clusters.attach("lab")
    busy = client.map(time.sleep, [600, 601])
    eventually(lambda: len([task for tasks in client.processing().values() for task in tasks]) == 2)
    began = time.monotonic()
    client.close()
    up.clusters.stop("lab").wait(30)
    assert time.monotonic() - began < 15
    del busy


@pytest.mark.slow
def test_a_changed_declaration_is_said_and_applied_at_the_next_start(up: Project) -> None:
    file = up.root / "mlinfra.toml"
    file.write_text(file.read_text().replace("workers = 2\nmemory", "workers = 1\nmemory"))
    changed = state(up)
    assert (changed.state, changed.reason) == ("up", "changed in mlinfra.toml; restart to apply")
    assert changed.config["workers"] == 2
    up.clusters.stop("lab").wait(30)
    assert up.clusters.start("lab").wait(120).workers == 1


@pytest.mark.slow
def test_a_cluster_that_cannot_start_fails_with_the_reason(make_project: Make) -> None:
    project = make_project(toml=f'{LAB}environment = {{ DASK_DISTRIBUTED__SCHEDULER__PICKLE = "false" }}\n')
    with pytest.raises(Failed, match="the scheduler ended 4 times in a row, last: RuntimeError: Pickling"):
        project.clusters.start("lab").wait(120)
    failed = state(project)
    assert failed.state == "failed"
    # Mended and started again it is another generation.
    file = project.root / "mlinfra.toml"
    file.write_text("\n".join(line for line in file.read_text().splitlines() if "PICKLE" not in line))
    assert project.clusters.start("lab").wait(120).generation == 2


def test_a_job_that_attached_is_linked_to_the_cluster(
    shared: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLINFRA_JOB", "jabcdefgh")
    project = Project(shared.root)
    for _ in range(2):
        project.clusters.attach("lab").close()
    with project.storage.read() as connection:
        rows = connection.execute(tables.edges.select()).all()
    project.close()
    (edge,) = [row for row in rows if row.source_kind == "cluster"]
    assert (edge.source, edge.target_kind, edge.target) == ("lab", "job", "jabcdefgh")
    assert edge.relation == "computed on"
    assert (edge.detail["workers"], edge.detail["threads"], edge.detail["memory"]) == (2, 2, 2**30)
    assert set(edge.detail["versions"]) == {"python", "dask", "distributed"}


def test_rows_and_feed_are_written_only_when_something_changed(shared: Project) -> None:
    def entries() -> int:
        with shared.storage.read() as connection:
            feed = connection.execute(tables.feed.select().where(tables.feed.c.resource == "cluster"))
            return len(feed.all())

    eventually(lambda: (row := shared.clusters.row("lab")) is not None and row.state == "up")
    before = entries()
    for _ in range(5):
        shared.clusters.observe()
    assert entries() == before
