"""`kill -9` in the middle of a rollout: nobody is left with a candidate that nobody looks after.

`make test` kills each process once, at a step drawn from the seed; `make faults` at each.
"""

from __future__ import annotations

import concurrent.futures
import os
import random
import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import end
from endpoint_support import ROW, Traffic, kinds, log_talkers, published, ref, running
from support import ALL, SEED, eventually, kill, process

from mlinfra_lab.endpoints import recall
from mlinfra_lab.endpoints.refs import RolloutRef
from mlinfra_lab.errors import Conflict, Failed
from mlinfra_lab.project import Project
from mlinfra_lab.schema.endpoints import Gates
from mlinfra_lab.segments import segments

pytestmark = [pytest.mark.faults, pytest.mark.slow]

PATIENCE = 240
UNATTENDED = 4.0
VICTIMS = ["front", "candidate", "controller"]
STEPS = ["starting", "first step", "second step"]
MATRIX = [
    (victim, step)
    for victim in VICTIMS
    for step in (STEPS if ALL else [random.Random(f"{SEED}{victim}").choice(STEPS)])
]


@pytest.fixture(scope="module")
def live(initialised: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose front waits less long for somebody who looks after a candidate."""
    folder = tmp_path_factory.mktemp("faults") / "project"
    shutil.copytree(initialised, folder)
    # A process of the project inherits an allow-list only, so it comes in through the interpreter's start-up.
    site = tmp_path_factory.mktemp("site")
    setting = {"MLINFRA_UNATTENDED_SECONDS": str(UNATTENDED)}
    (site / "sitecustomize.py").write_text(f"import os; os.environ.update({setting!r})")
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", str(site))
    project = Project(folder)
    try:
        log_talkers(project)
        yield project
    finally:
        patch.undo()
        end(project)


def controller(project: Project) -> psutil.Process:
    beat = project.controller.alive()
    assert beat is not None
    return psutil.Process(beat.pid)


@pytest.mark.parametrize(("victim", "step"), MATRIX)
def test_killed_during_a_rollout(live: Project, victim: str, step: str) -> None:
    """It goes on where it was, and whatever was acknowledged is there."""
    name = f"{victim}-{step.replace(' ', '-')}"
    client = published(live, name)
    with Traffic(client) as traffic:
        begun = live.endpoints.rollout(name, ref("two"), (0.3, 0.6, 1.0), Gates(requests=30, truths=0))
        if step != "starting":
            running(live, name)
        if step == "second step":
            eventually(lambda: begun.rollout.step == 1 or begun.rollout.ended, PATIENCE)
        if victim == "controller":
            kill(controller(live))
        else:
            owner = "http" if victim == "front" else f"{name}.2"
            kind = "front" if victim == "front" else "model"
            kill(eventually(lambda: process(live, kind, owner), 60))
        promoted = begun.wait(PATIENCE)
        eventually(lambda: live.endpoints.get(name).serving == 2, 30)
        traffic.more(20)
    assert promoted.state == "promoted"
    assert kinds(live, name) == ["published", "rollout", "step", "step", "step", "promoted"]
    # One request may have been on its way when the front went.
    assert traffic.statuses.keys() <= ({200, 0} if victim == "front" else {200})
    assert len(set(traffic.ids)) == len(traffic.ids)
    for id in traffic.ids:
        assert live.endpoints.prediction(id).row == ROW
    live.endpoints.stop(name)


def test_a_candidate_whose_process_dies_again_and_again(live: Project) -> None:
    client = published(live, "mortal")
    with Traffic(client) as traffic:
        begun = live.endpoints.rollout("mortal", ref("two"), (0.5, 1.0), Gates(requests=10_000, truths=0))
        running(live, "mortal")
        killed: set[int] = set()
        while not begun.rollout.ended and len(killed) < 5:
            one = process(live, "model", "mortal.2")
            if one is not None and one.pid not in killed:
                kill(one)
                killed.add(one.pid)
            time.sleep(0.05)
        with pytest.raises(Failed, match=r"process died 3 times|killed its process twice"):
            begun.wait(60)
        traffic.more(20)
    # A request that two of them died over is given to no third.
    assert traffic.statuses[503] <= 1
    assert traffic.statuses.keys() <= {200, 503}
    live.endpoints.stop("mortal")


def test_a_dead_controller_and_a_rollout_that_nobody_looks_after(live: Project) -> None:
    client = published(live, "alone")
    with Traffic(client) as traffic:
        begun = live.endpoints.rollout("alone", ref("two"), (0.5, 1.0), Gates(requests=10_000, truths=0))
        eventually(lambda: traffic.revisions[2] > 20, PATIENCE)
        kill(controller(live))
        killed = time.monotonic()

        def left() -> bool:
            recent = traffic.ids[-40:]
            return not any(id.startswith("alone.2.") for id in recent)

        eventually(left, UNATTENDED + 10, "the candidate still gets requests")
        assert time.monotonic() - killed > UNATTENDED - 1.5, "it was in good order until then"
        count = traffic.revisions[2]
        traffic.more(100)
        assert traffic.revisions[2] == count
        # What the rows say of it did not change: nobody was there to write.
        assert begun.rollout.share == 0.5
        live.controller.ensure()
        eventually(lambda: traffic.revisions[2] > count + 20, 60, "it does not go on")
        # By hand it goes back though nobody else is there.
        kill(controller(live))
        begun_at = time.monotonic()
        live.endpoints.rollback("alone")
        took = time.monotonic() - begun_at
        eventually(left, 10)
    assert took < 1, f"{took:.2f} s"
    assert traffic.statuses.keys() == {200}
    assert begun.rollout.state == "rolled_back"
    live.endpoints.stop("alone")


def test_back_by_hand_while_the_controller_is_dead(live: Project) -> None:
    client = published(live, "byhand")
    live.endpoints.rollout("byhand", ref("two"), (1.0,), Gates(requests=5, truths=0))
    with Traffic(client):
        eventually(lambda: live.endpoints.get("byhand").serving == 2, PATIENCE)
        eventually(lambda: process(live, "model", "byhand.1"), 60)
    kill(controller(live))
    begun = time.monotonic()
    back = live.endpoints.rollback("byhand")
    took = time.monotonic() - begun
    assert (back.serving, took < 1) == (1, True), f"{took:.2f} s"
    assert client.rows(ROW)["predictions"] == ["one:hello"]
    live.endpoints.stop("byhand")


def test_two_rollouts_at_once(live: Project) -> None:
    published(live, "twice")
    others = [Project(live.root) for _ in range(4)]

    def begin(project: Project) -> RolloutRef | Conflict:
        try:
            return project.endpoints.rollout("twice", ref("two"))
        except Conflict as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(begin, others))
    for one in others:
        one.close()
    refused = [one for one in found if isinstance(one, Conflict)]
    assert len(refused) == 3
    assert all("under way" in one.message for one in refused)
    assert len(live.endpoints.rollouts("twice")) == 1
    live.endpoints.stop("twice")


def test_a_full_disk_is_said_and_nothing_is_torn(live: Project) -> None:
    """The kernel lets no file of the front's grow any more, as on a full disk."""
    client = published(live, "cramped")
    kept = client.rows(ROW)["prediction_ids"][0]
    ((_, path),) = segments(live.state / "captures" / "cramped" / "1")
    front = process(live, "front")
    assert front is not None
    size = path.stat().st_size
    resource.prlimit(front.pid, resource.RLIMIT_FSIZE, (size + 20, resource.RLIM_INFINITY))
    try:
        answer = client.rows(ROW)
        assert answer == {"predictions": ["one:hello"], "prediction_ids": None, "captured": False}
        assert client.truths({"id": kept, "truth": 1})[0] in (200, 507)
        assert path.stat().st_size == size, "half a record was taken back"
    finally:
        resource.prlimit(front.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    again = client.rows(ROW)
    assert again["prediction_ids"] == ["cramped.1.1.1"]
    assert recall.Reader(path).rows() == 2
    assert os.getpgid(front.pid) == front.pid, "it is the same front"
    live.endpoints.stop("cramped")
