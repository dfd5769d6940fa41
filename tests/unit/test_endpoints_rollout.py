"""Rollouts as a whole: a real front, real model processes, and a real controller that evaluates."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from endpoint_support import ROW, Client, Traffic, kinds, log_talkers, published, ref, running
from support import eventually, process, processes_of

from mlinfra_lab import counters
from mlinfra_lab.endpoints import recall, truth
from mlinfra_lab.errors import Conflict, Failed, Invalid, NotFound
from mlinfra_lab.project import Project
from mlinfra_lab.schema.endpoints import Gates, Rollout
from mlinfra_lab.segments import beside_folder, segments, truth_folder

pytestmark = pytest.mark.slow

PATIENCE = 240
UNTRUE = Gates(requests=10, truths=0)
"""Nobody sends any truth."""


@pytest.fixture(scope="module")
def live(initialised: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("rollouts") / "project"
    shutil.copytree(initialised, folder)
    project = Project(folder)
    log_talkers(project)
    yield project
    try:
        project.controller.down(timeout=60)
    finally:
        project.close()
        for left in processes_of(folder):
            left.kill()


# -- the good way ---------------------------------------------------------------------------------


def test_step_by_step_to_everything_and_back_at_once(live: Project) -> None:
    client = published(live, "steps", "talker@champion")
    with Traffic(client) as traffic:
        begun = live.endpoints.rollout("steps", ref("two"), steps=(0.2, 0.5, 1.0), gates=UNTRUE)
        assert begun.candidate == 2
        with pytest.raises(Conflict, match="A rollout of endpoint “steps” is under way"):
            live.endpoints.rollout("steps", ref("slow"))
        with pytest.raises(Conflict, match="under way"):
            live.endpoints.publish("talker/1", "steps")
        promoted = begun.wait(PATIENCE)
        assert (promoted.state, promoted.share, promoted.alias) == ("promoted", 1.0, "champion")
        endpoint = eventually(
            lambda: (one := live.endpoints.get("steps")).serving == 2 and one, 10, "the front did not switch"
        )
    assert traffic.statuses.keys() == {200}, "nobody noticed"
    assert set(traffic.revisions) == {1, 2}
    assert (endpoint.previous, endpoint.rollout, endpoint.state) == (1, None, "up")
    assert kinds(live, "steps") == ["published", "rollout", "step", "step", "step", "promoted"]
    messages = {one.kind: one.message for one in live.endpoints.history("steps")}
    assert messages["rollout"] == "talker/2 is tried beside revision 1: 20 %, 50 %, 100 % of the requests."
    assert "of the requests" in messages["step"]
    assert "0 of" in messages["promoted"]
    eventually(lambda: live.models.get("talker@champion").version == 2, 60, "the alias did not follow")
    # It was kept warm: back in no time, and once.
    warm = process(live, "model", "steps.1")
    assert warm is not None
    begun_at = time.monotonic()
    back = live.endpoints.rollback("steps", "It says the wrong thing.")
    took = time.monotonic() - begun_at
    assert (back.serving, back.previous) == (1, None)
    assert took < 1, f"{took:.2f} s"
    assert client.rows(ROW)["predictions"] == ["one:hello"]
    assert live.endpoints.history("steps", 1)[0].message == "It says the wrong thing."
    with pytest.raises(Conflict, match="nothing to go back to"):
        live.endpoints.rollback("steps")
    eventually(lambda: live.models.get("talker@champion").version == 1, 60, "the alias did not come back")
    assert live.endpoints.rollouts("steps") == [promoted]
    live.endpoints.stop("steps")


def test_the_split_is_exact_and_the_stable_version_answers_beside(live: Project) -> None:
    client = published(live, "split")
    begun = live.endpoints.rollout("split", ref("two"), (0.2, 1.0), Gates(requests=10_000, truths=0))
    running(live, "split")
    eventually(lambda: client.rows(ROW)["prediction_ids"][0].startswith("split.2."), 30)
    # From here on any 1,000 requests hold exactly 200 of the candidate's, and any 100 nearly 20.
    revisions = [int(client.rows(ROW)["prediction_ids"][0].split(".")[1]) for _ in range(1000)]
    assert Counter(revisions) == {1: 800, 2: 200}
    for start in range(0, 1000, 100):
        assert 17 <= revisions[start : start + 100].count(2) <= 23
    folder = beside_folder(live.state / "captures", "split", begun.candidate, 1)

    def beside() -> list[Any]:
        readers = [recall.Reader(path) for _, path in segments(folder)]
        return [record for reader in readers for record in reader]

    records = eventually(lambda: len(found := beside()) >= 200 and found, 30)
    for record in records:
        kept = live.endpoints.prediction(record.request)
        assert (kept.prediction, record.predictions, record.rows, record.n) == (
            "two:hello", ["one:hello"], [], 1,
        )  # fmt: skip
    stats = eventually(
        lambda: (one := counters.read(live.state)) and one.targets["split.2"].requests >= 201 and one, 5
    )
    assert stats.targets["split.2"].requests == stats.targets["split.2"].rows
    assert sum(stats.targets["split.1"].latency) == stats.targets["split.1"].requests
    shown = live.endpoints.get("split").rollout
    assert shown is not None
    gates = {one.gate: one for one in shown.results}
    assert gates["errors"].held is None
    assert "waiting for 10,000 requests" in gates["errors"].text
    live.endpoints.stop("split")
    assert begun.rollout.state == "stopped"
    with pytest.raises(Conflict, match="was stopped"):
        begun.wait(10)


def test_no_truth_holds_it_where_it_is_and_by_hand_it_goes_back(live: Project) -> None:
    client = published(live, "held")
    begun = live.endpoints.rollout("held", ref("two"), (0.5, 1.0), Gates(requests=5, truths=50))
    with Traffic(client) as traffic:
        eventually(lambda: "held" in kinds(live, "held"), PATIENCE)
        gates = {one.gate: one.held for one in running(live, "held").results}
        assert gates == {"errors": True, "latency": True, "quality": None}
        ended = live.endpoints.rollback("held")
        eventually(lambda: live.endpoints.get("held").rollout is None, 1)
        count = len(traffic.answers)
        eventually(lambda: len(traffic.answers) > count + 50, 30)
        # The front looks ten times a second.
        late = [answer["prediction_ids"][0] for _, answer in traffic.answers[count + 40 :]]
    assert not [id for id in late if id.startswith("held.2.")]
    assert traffic.statuses.keys() == {200}
    assert (ended.serving, ended.rollout) == (1, None)
    assert begun.rollout.state == "rolled_back"
    assert kinds(live, "held")[-1] == "rolled_back"
    assert kinds(live, "held").count("held") == 1
    with pytest.raises(Failed, match="Revision 2 of endpoint “held” was rolled back"):
        begun.wait(10)
    # What it answered has its truth all the same.
    mine = next(
        answer["prediction_ids"][0]
        for _, answer in traffic.answers
        if answer["prediction_ids"][0].startswith("held.2.")
    )
    assert client.truths([{"id": mine, "truth": 1}]) == (200, {"accepted": 1, "unknown": []})
    live.endpoints.stop("held")


def mlinfra(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"MLINFRA_PROJECT": str(project.root)}
    command = [sys.executable, "-m", "mlinfra_lab", "endpoint", *arguments]
    return subprocess.run(command, env=env, cwd=project.root, capture_output=True, text=True, check=False)


def test_from_the_shell(live: Project) -> None:
    client = published(live, "shell")
    for said, wanted in {"20,x": "are no shares in per cent", "50,20,100": "50, 20, 100 (per cent)"}.items():
        refused = mlinfra(live, "rollout", "shell", "talker/2", "--steps", said)
        assert refused.returncode != 0
        assert wanted in refused.stderr
    begun = mlinfra(live, "rollout", "shell", "talker/2", "--steps", "20,50,100", "--json")
    assert begun.returncode == 0, begun.stderr
    rollout = msgspec.json.decode(begun.stdout, type=Rollout)
    assert (rollout.steps, rollout.state, rollout.candidate) == ((0.2, 0.5, 1.0), "starting", 2)
    running(live, "shell")
    shown = mlinfra(live, "show", "shell")
    assert "revision 2 gets 20 %, revision 1 80 %" in shown.stdout
    eventually(lambda: "waiting for 200 truths" in mlinfra(live, "show", "shell").stdout, 30)
    back = mlinfra(live, "rollback", "shell", "--reason", "Not today.", "--json")
    assert (back.returncode, msgspec.json.decode(back.stdout)["rollout"]) == (0, None)
    happened = mlinfra(live, "history", "shell", "--limit", "1").stdout
    assert "rolled_back" in happened
    assert "Not today." in happened
    # Waited for to the end, by the settings' own gates less the truth that nobody sends.
    with Traffic(client):
        waited = mlinfra(live, "rollout", "shell", "talker/3", "--wait", "--timeout", "200")
    assert waited.returncode == 1
    assert "was rolled back" in waited.stderr
    assert "Revision 1 goes on answering." in waited.stderr
    live.endpoints.stop("shell")


# -- the bad ones ---------------------------------------------------------------------------------


def test_errors_stop_it_at_once(live: Project) -> None:
    client = published(live, "errors")
    with Traffic(client) as traffic:
        begun = live.endpoints.rollout("errors", ref("failing"), (0.2, 1.0), UNTRUE)
        with pytest.raises(Failed, match="failed"):
            begun.wait(PATIENCE)
        ended = live.endpoints.rollouts("errors")[0]
        count = traffic.statuses[500]
        eventually(lambda: len(traffic.answers) > 400, 60)
        assert traffic.statuses[500] == count, "nothing goes there any more"
    # Two failures of two are no chance when one in a hundred may fail.
    assert 1 <= count <= 3
    assert ended.results[0].gate == "errors"
    assert ended.results[0].held is False
    endpoint = live.endpoints.get("errors")
    assert (endpoint.serving, endpoint.state) == (1, "up")
    assert "Revision 2 was rolled back" in (endpoint.reason or "")
    assert live.endpoints.revision("errors", 2).state == "retired"
    eventually(lambda: process(live, "model", "errors.2") is None, 30)
    live.endpoints.stop("errors")


def test_a_slow_one_is_rolled_back(live: Project) -> None:
    client = published(live, "slowly")
    with Traffic(client):
        begun = live.endpoints.rollout("slowly", ref("slow"), (0.3, 1.0), UNTRUE)
        with pytest.raises(Failed, match="95 % of"):
            begun.wait(PATIENCE)
    assert live.endpoints.get("slowly").serving == 1
    live.endpoints.stop("slowly")


def test_one_that_takes_other_rows_hurts_nobody(live: Project) -> None:
    client = published(live, "other")
    with Traffic(client) as traffic:
        begun = live.endpoints.rollout("other", ref("wide"), (0.5, 1.0), UNTRUE)
        with pytest.raises(Failed, match="failed"):
            begun.wait(PATIENCE)
        # What nobody takes is nobody's fault.
        status, answer = client.post({"dataframe_records": [{"wort": "x"}]})
    assert (status, answer["code"]) == (400, "invalid_request")
    assert traffic.statuses.keys() == {200}, "the stable version answered in its place"
    live.endpoints.stop("other")


@pytest.mark.faults
def test_a_request_that_kills_its_process_twice(live: Project) -> None:
    client = published(live, "deaths")
    begun = live.endpoints.rollout("deaths", ref("deadly"), (0.5, 1.0), Gates(requests=10_000, truths=0))
    running(live, "deaths")
    eventually(lambda: client.rows(ROW)["prediction_ids"][0].startswith("deaths.2."), 30)
    statuses = Counter[int]()
    while not begun.rollout.ended:
        statuses[client.post({"dataframe_records": [{"word": "die"}]})[0]] += 1
    # Whatever it does to the candidate, it is not tried on the stable version after that.
    assert 1 <= statuses[503] <= 3
    assert statuses.keys() <= {200, 503}
    with pytest.raises(Failed, match=r"A request killed its process twice|died 3 times"):
        begun.wait(30)
    assert client.rows(ROW)["predictions"] == ["one:hello"]
    live.endpoints.stop("deaths")


def test_what_cannot_be_rolled_out(live: Project) -> None:
    with pytest.raises(NotFound, match="There is no endpoint “nobody”"):
        live.endpoints.rollout("nobody", "talker/2")
    published(live, "strict")
    with pytest.raises(NotFound, match="has no version 99"):
        live.endpoints.rollout("strict", "talker/99")
    with pytest.raises(Conflict, match="talker/1 answers at endpoint “strict” already"):
        live.endpoints.rollout("strict", "talker/1")
    for steps in ((), (0.5,), (0.5, 0.2, 1.0), (0.0, 1.0), (0.5, 1.5)):
        with pytest.raises(Invalid, match="no steps of a rollout"):
            live.endpoints.rollout("strict", "talker/2", steps)
    with pytest.raises(Conflict, match="nothing to go back to"):
        live.endpoints.rollback("strict")
    live.endpoints.stop("strict")
    for ask in (live.endpoints.rollout, live.endpoints.rollback):
        with pytest.raises(Conflict, match="is stopped"):
            ask("strict", "talker/2")


def move(live: Project, version: int) -> None:
    """As a person does who has MLflow open."""
    code = (
        "import mlflow, sys; mlflow.MlflowClient().set_registered_model_alias('talker', 'moved', sys.argv[1])"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(version)],
        env=os.environ | live.runs.environment(),
        check=True,
        capture_output=True,
    )


def test_an_alias_that_is_moved_begins_a_rollout_and_moves_back(live: Project) -> None:
    move(live, 1)
    client = published(live, "alias", "talker@moved")
    with Traffic(client) as traffic:
        move(live, 3)
        ended = eventually(
            lambda: (found := live.endpoints.rollouts("alias")) and found[0].ended and found[0], PATIENCE
        )
        assert (ended.state, ended.cause, ended.alias) == ("rolled_back", "alias:moved", "moved")
        eventually(lambda: live.models.get("talker@moved").version == 1, 60, "the alias did not come back")
        failed = traffic.statuses[500]
        assert failed <= 3, "never a blind switch"
    # It is dealt with once; moved to another version it is tried again.
    assert len(live.endpoints.rollouts("alias")) == 1
    move(live, 2)
    again = running(live, "alias")
    assert live.endpoints.revision("alias", again.candidate).version == 2
    live.endpoints.stop("alias")


# -- what came true -------------------------------------------------------------------------------


def test_truth(live: Project) -> None:
    client = published(live, "truthful")
    other = published(live, "lying")
    ids = client.rows(*[ROW] * 5)["prediction_ids"]
    strange = other.rows(ROW)["prediction_ids"][0]
    assert client.truths({"id": ids[0], "truth": 1}) == (200, {"accepted": 1, "unknown": []})
    bulk = [{"id": id, "truth": truth} for id, truth in zip(ids, (0, True, 0.5, "late", [1, 2]), strict=True)]
    wrong = ["truthful.1.1.99", "truthful.1.77.0", "truthful.9.1.0", strange, "nonsense", ""]
    status, answer = client.truths([*bulk, *({"id": id, "truth": 1} for id in wrong)])
    assert (status, answer) == (200, {"accepted": 5, "unknown": wrong})
    status, answer = client.truths({"id": strange, "truth": 1})
    assert (status, answer["code"]) == (404, "not_found")
    (_, path), *rest = segments(truth_folder(live.state / "captures", "truthful"))
    assert not rest
    kept = [one for _, record in truth.read(path) for one in record.truths]
    wanted = [(1, 1, 0, 1), *((1, 1, row, value) for row, value in enumerate((0, True, 0.5, "late", [1, 2])))]
    assert [tuple(one) for one in kept] == wanted
    offsets = [offset for offset, _ in truth.read(path)]
    assert [record.truths for _, record in truth.read(path, offsets[0])] == [kept[1:]]
    for body, said in {
        b"": "The body is empty",
        b"{": "not valid JSON",
        b"[]": "no truths",
        b"7": "Expected",
        b'{"id": "a"}': "missing required field `truth`",
        b'[{"id": "a", "truth": 1}, {"id": 1, "truth": 1}]': "Item 1, `id`: expected `str`, got `int`",
        b'[{"id": "a", "truth": null}]': "Item 0, `truth`",
        b'[{"id": "a", "truth": 1, "at": 2}]': "unknown field `at`",
        b'[{"id": "a", "truth": 1e999}]': "Item 0, `truth`: number out of range",
        b'[{"id": "a", "truth": 12345678901234567890123}]': "Item 0, `truth`: expected `int` <=",
        b'{"id": "a", "truth": -12345678901234567890123}': "`truth`: expected `int` >=",
        b'[{"id": "a", "truth": [1, ' + b"9" * 401 + b"]}]": "Item 0, `truth[1]`: expected `int` <=",
    }.items():
        status, answer = client.truths(body)
        assert (status, answer["code"]) == (400, "invalid_request"), body
        assert said.lower() in answer["message"].lower()
    many = b"[" + b",".join([b'{"id":"","truth":1}'] * (truth.MOST + 1)) + b"]"
    status, answer = client.truths(many)
    assert (status, answer["code"]) == (413, "too_large")
    assert client.truths([{"id": ids[0], "truth": 1}] * 1000) == (200, {"accepted": 1000, "unknown": []})
    assert client.ask("POST", "/truthful/ground-truth", [], {"Authorization": ""})[0] == 401
    assert client.ask("GET", "/truthful/ground-truth")[0] == 405
    assert client.ask("POST", "/nobody/ground-truth", [])[0] == 404
    # A front that begins anew knows the rows of the segments before it.
    front = process(live, "front")
    assert front is not None
    front.kill()
    eventually(lambda: (one := process(live, "front")) is not None and one.pid != front.pid, 30)
    answered = eventually(lambda: _try(client, {"id": ids[4], "truth": 0}), 30)
    assert answered == (200, {"accepted": 1, "unknown": []})
    live.endpoints.stop("truthful")
    live.endpoints.stop("lying")


def _try(client: Client, body: Any) -> Any:
    try:
        found = client.truths(body)
    except OSError:
        return None
    return found if found[0] == 200 else None


def test_truths_that_cannot_be_kept_are_said_to_be_lost(live: Project) -> None:
    client = published(live, "full")
    id = client.rows(ROW)["prediction_ids"][0]
    folder = truth_folder(live.state / "captures", "full")
    folder.write_text("a file where the folder should be")
    status, answer = client.truths({"id": id, "truth": 1})
    assert (status, answer["code"], answer["detail"]) == (507, "no_room", {"accepted": 0, "captured": False})
    folder.unlink()
    assert client.truths({"id": id, "truth": 1})[0] == 200
    live.endpoints.stop("full")
