"""What a declaration may say, and what a cluster is told to be from its row and its processes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import msgspec
import psutil
import pytest

from mlinfra_lab.clusters.store import SCHEDULER, WORKER, Owner, Processes
from mlinfra_lab.clusters.truth import ENDS_TOO_OFTEN, derive
from mlinfra_lab.errors import Conflict, InvalidSettings, MissingDependency, NotFound, to_failure
from mlinfra_lab.plugins import Plugins
from mlinfra_lab.project import Project
from mlinfra_lab.schema.clusters import Cluster
from mlinfra_lab.schema.common import JSON, now
from mlinfra_lab.schema.control import Launch
from mlinfra_lab.storage import launches

Make = Callable[..., Project]
LAB = '\n[clusters.lab]\nbackend = "local"\n'


# -- declarations ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backend", "config", "message"),
    [
        ("local", {"workers": 0}, "“workers” in [clusters.x] is wrong: expected int >= 1."),
        ("local", {"memory": "lots"}, "“memory”: “lots” is no size; write it like “2 GiB” or “auto”."),
        ("local", {"memory": 12}, "“memory” of 12 bytes is too little for a worker"),
        ("local", {"environment": {"A": 1}}, "“environment[...]” in [clusters.x] is wrong: expected str"),
        ("local", {"jit_unspill": True}, "unknown key “jit_unspill”"),
        ("cuda", {"jit_unspill": True}, "unknown key “jit_unspill”"),
        ("cuda", {"devices": []}, "“devices” is empty or names a GPU twice."),
        ("cuda", {"devices": [0, 0]}, "“devices” is empty or names a GPU twice."),
        ("address", {}, "[clusters.x] lacks “address”."),
        ("address", {"address": "host:8786"}, "“address” is “host:8786”; write it like “tls://host:8786”."),
        ("address", {"address": "tls://host:8786"}, "a tls:// address needs “ca” and “cert”"),
    ],
)
def test_mistakes_in_a_declaration(backend: str, config: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        Plugins().cluster_backends.config(backend, config, ("clusters", "x"))
    assert message in caught.value.message


@pytest.mark.parametrize("backend", ["local", "cuda", "address"])
def test_every_key_is_described_for_the_form(backend: str) -> None:
    (plugin,) = [one for one in Plugins().cluster_backends.describe() if one.id == backend]
    assert plugin.config is not None
    (config,) = plugin.config["$defs"].values()
    assert config["additionalProperties"] is False
    assert all(key["title"] and key["description"] for key in config["properties"].values())


def test_a_mistake_is_named_with_its_line(make_project: Make) -> None:
    project = make_project(toml=LAB + "workerz = 3\n")
    lines = (project.root / "mlinfra.toml").read_text().splitlines()
    with pytest.raises(InvalidSettings) as caught:
        project.clusters.start("lab")
    line = lines.index("workerz = 3") + 1
    assert caught.value.message == f"mlinfra.toml, line {line}: unknown key “workerz” in [clusters.lab]."
    assert caught.value.hint == "Did you mean “workers”?"
    assert project.clusters.get("lab").state == "stopped"


def test_an_unknown_backend_is_named_with_its_line(make_project: Make) -> None:
    project = make_project(toml='\n[clusters.lab]\nbackend = "locl"\n')
    with pytest.raises(InvalidSettings, match=r"no cluster backend “locl” in \[clusters.lab\]") as caught:
        project.clusters.start("lab")
    assert caught.value.hint == "Did you mean “local”?"
    assert caught.value.detail is not None
    assert caught.value.detail["line"]


def test_an_unknown_cluster_gets_the_nearest(make_project: Make) -> None:
    project = make_project(toml=LAB)
    with pytest.raises(NotFound) as caught:
        project.clusters.get("lap")
    assert caught.value.hint == "Did you mean “lab”?"


def test_attaching_to_what_is_not_up(make_project: Make) -> None:
    project = make_project(toml=LAB)
    with pytest.raises(Conflict, match="“lab” is stopped") as caught:
        project.clusters.attach("lab")
    assert caught.value.hint == "mlinfra cluster start lab"
    with pytest.raises(Conflict, match="not running"):
        project.clusters.scale("lab", 3)


def test_a_cluster_is_listed_as_the_file_has_it_now(make_project: Make) -> None:
    project = make_project(toml=LAB)
    with (project.root / "mlinfra.toml").open("a") as file:
        file.write('\n[clusters.far]\nbackend = "address"\naddress = "tcp://far:8786"\n')
    listed = {cluster.name: cluster for cluster in project.clusters.list()}
    assert list(listed)[-2:] == ["lab", "far"]
    assert (listed["far"].state, listed["far"].config) == ("stopped", {"address": "tcp://far:8786"})


# -- the truth ------------------------------------------------------------------------------------


def launch(kind: str, state: str, ago: float = 10, index: int | None = None, **more: Any) -> Launch:
    """A launch that was made so many seconds ago; a running one is this very process."""
    me = psutil.Process()
    made = now() - dt.timedelta(seconds=ago)
    return Launch(
        token=f"{kind}{ago}{index}",
        kind=kind,
        owner=str(Owner("lab", 1, index)),
        state=state,  # type: ignore[arg-type]
        created=made,
        ended=made if state in ("exited", "lost", "void") else None,
        host=launches.host(),
        boot=launches.boot(),
        pid=me.pid,
        started=me.create_time(),
        **more,
    )


def processes(*found: Launch) -> Processes:
    return Processes(tuple(sorted(found, key=lambda one: one.created, reverse=True)))


def up(connected: int) -> Launch:
    said: JSON = {"address": "tls://127.0.0.1:1", "dashboard": "http://d", "connected": connected}
    return launch(SCHEDULER, "running", info=said)


def row(**changes: Any) -> Cluster:
    asked: dict[str, Any] = {"desired": True, "generation": 1, "state": "starting", "workers": 2}
    return Cluster(name="lab", backend="local", config={}, **asked | changes)


def lost() -> Launch:
    return launch(SCHEDULER, "lost", info={"address": "tls://127.0.0.1:1", "connected": 2})


@pytest.mark.parametrize(
    ("before", "found", "state", "reason"),
    [
        (row(), list, "starting", None),
        (row(), lambda: [launch(SCHEDULER, "launching")], "starting", None),
        (row(), lambda: [up(0)], "starting", "0 of 2 workers connected"),
        (row(), lambda: [up(1)], "starting", "1 of 2 workers connected"),
        (row(), lambda: [up(2)], "up", None),
        (row(state="up"), lambda: [up(1)], "degraded", "1 of 2 workers connected"),
        (
            row(state="up"),
            lambda: [up(1), launch(WORKER, "lost", index=1)],
            "degraded",
            "1 of 2 workers connected; worker 1 ended (killed, or out of memory) and is started again",
        ),
        (row(state="degraded"), lambda: [up(2)], "up", None),
        (
            row(state="up"),
            lambda: [lost()],
            "degraded",
            "the scheduler was lost and is being started again",
        ),
        (
            row(),
            lambda: [launch(SCHEDULER, "lost")],
            "starting",
            "the scheduler ended (killed, or out of memory) and is started again",
        ),
        (row(desired=False, state="up"), lambda: [up(2)], "stopping", None),
        (row(desired=False, state="stopping"), lambda: [lost()], "stopped", None),
        (row(state="failed", reason="why"), lambda: [up(2)], "failed", "why"),
    ],
)
def test_what_it_is(
    before: Cluster, found: Callable[[], list[Launch]], state: str, reason: str | None
) -> None:
    true = derive(before, processes(*found()))
    assert (true.state, true.reason) == (state, reason)


def test_only_a_scheduler_that_lives_counts() -> None:
    dead = msgspec.structs.replace(up(2), started=1.0)
    true = derive(row(state="up"), processes(dead))
    assert (true.state, true.connected, true.address) == ("degraded", 0, "tls://127.0.0.1:1")


def test_an_error_for_people_is_the_end_of_it() -> None:
    error = to_failure(MissingDependency("There is no GPU.", "Use local."))
    ended = launch(SCHEDULER, "exited", outcome={"error": {"code": error.code, "message": error.message,
                                                          "hint": error.hint}})  # fmt: skip
    true = derive(row(workers=0), processes(ended))
    assert (true.state, true.reason) == ("failed", "There is no GPU. Use local.")


def crash(ago: float, index: int = 0, lived: float = 5) -> Launch:
    """A worker that was started so long ago and lived so long."""
    code = "internal" if ago % 2 else "unavailable"
    one = launch(WORKER, "exited", ago, index, outcome={"error": {"code": code, "message": "No."}})
    return msgspec.structs.replace(one, ended=one.created + dt.timedelta(seconds=lived))


def test_a_crash_is_tried_again_but_not_for_ever() -> None:
    often = [crash(10 * n) for n in range(1, ENDS_TOO_OFTEN + 1)]
    assert derive(row(), processes(up(1), *often[:-1])).state == "starting"
    true = derive(row(), processes(up(1), *often))
    assert true.state == "failed"
    assert true.reason == (
        f"worker 0 ended {ENDS_TOO_OFTEN} times in a row, last: No. "
        "Its log is logs/dask-worker-lab.1.0.log in the state folder."
    )


@pytest.mark.parametrize(
    "found",
    [
        # Different workers, each once.
        lambda: [crash(10, index=n) for n in range(ENDS_TOO_OFTEN)],
        # One that lives again.
        lambda: [launch(WORKER, "running", 5, 0), *(crash(10 * n) for n in range(1, ENDS_TOO_OFTEN + 1))],
        # One that did its work for a while between two ends.
        lambda: [crash(100 * n, lived=90 if n == 2 else 5) for n in range(1, ENDS_TOO_OFTEN + 1)],
    ],
    ids=["each once", "lives", "worked between"],
)
def test_what_is_no_crash_loop(found: Callable[[], list[Launch]]) -> None:
    assert derive(row(), processes(up(1), *found())).state == "starting"


def test_owners_read_what_they_wrote() -> None:
    for owner in (Owner("lab", 3), Owner("far-away", 12, 7)):
        assert Owner.parse(str(owner)) == owner
    assert Owner("lab", 3, 1).scheduler == Owner("lab", 3)
