"""What the controller makes of what was seen: steps, promotion, rollback, aliases. No process is started."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import pytest
import sqlalchemy as sa

from mlinfra_lab import counters
from mlinfra_lab.counters import Counts, FrontStats, Sides
from mlinfra_lab.endpoints import EndpointsService, rollout_store, rollouts, store
from mlinfra_lab.endpoints import aliases as aliases_module
from mlinfra_lab.errors import Conflict, NotFound
from mlinfra_lab.project import Project
from mlinfra_lab.schema.endpoints import Gates, Paired, Rollout
from mlinfra_lab.schema.models import ModelVersion
from mlinfra_lab.settings import EndpointSettings
from mlinfra_lab.storage import tables

PROMOTE = "mlinfra_lab.models.work:promote"
NOW = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
GATES = Gates(requests=10, truths=100)


class Nobody:
    """No controller: what is asked here is asked of the service itself."""

    def ensure(self) -> None:
        pass

    def wake(self) -> None:
        pass

    def check(self) -> None:
        pass


class World:
    """The rows of one endpoint, with what a front, a monitor and a registry would say."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.truths: Paired | None = None
        self.alias: int | None = 1
        self.token = "front-1"
        self.broken = False
        self.service = self.another()
        self.service.publish("flights@champion", "delay")
        self.up(1)
        self.front(1)

    def another(self) -> EndpointsService:
        return EndpointsService(
            self.project.state,
            self.project.storage,
            self.project.tasks,
            self.find_model,
            "ada",
            Nobody(),
            {"delay": EndpointSettings(gate_requests=10, gate_truths=100)},
            self.paired,
            lambda model, alias: self.alias,
        )

    def paired(self, endpoint: str, candidate: int, stable: int) -> Paired | None:
        if self.broken:
            raise RuntimeError("the sums are gone")
        return self.truths

    def find_model(self, ref: str) -> ModelVersion:
        name, sign, _ = ref.partition("@")
        number = self.alias if sign else int(ref.rpartition("/")[2])
        assert number is not None
        if number > 9:
            raise NotFound(f"There is no {ref}.")
        return ModelVersion(name=name.partition("/")[0], version=number, source="models:/m-1", created=NOW)

    def up(self, number: int) -> None:
        """As the task that prepares it and the front that links it do."""
        with self.project.storage.unit() as unit:
            store.update_revision(unit, "delay", number, "preparing", state="up")

    def front(self, number: int, keep_warm: bool = True) -> None:
        """As the front does when it has switched."""
        with self.project.storage.unit() as unit:
            store.switched(unit, "delay", number, "http://127.0.0.1:1/delay/invocations", keep_warm)

    def seen(self, trial: Rollout, requests: int, failed: int = 0, stable: int = 100) -> None:
        """As the front does each second."""
        both = [Counts(requests=n, rows=n) for n in (requests, stable)]
        for one in both:
            one.latency[20] = one.requests
        both[0].failed = failed
        sides = {trial.id: Sides(*both)}
        counters.write(self.project.state, FrontStats(self.token, time.time(), {}, sides))

    def begin(self, model: str = "flights/2", **more: Any) -> Rollout:
        return self.service.rollout("delay", model, (0.2, 0.5, 1.0), GATES, **more).rollout

    def evaluate(self, trial: Rollout) -> Rollout:
        self.service.evaluate()
        return self.service.rollouts("delay")[0]

    def kinds(self) -> list[str]:
        return [one.kind for one in reversed(self.service.history("delay"))]

    def work(self) -> None:
        """As the task worker does with what is to move the alias; `work.promote` has its own test."""
        left = tables.tasks.c.work == PROMOTE, tables.tasks.c.state == "queued"
        with self.project.storage.unit() as unit:
            rows = unit.connection.execute(sa.select(tables.tasks.c.args).where(*left))
            for args in [row.args for row in rows]:
                if args.get("only_if", self.alias) == self.alias:
                    self.alias = args["version"]
            unit.connection.execute(tables.tasks.update().where(*left).values(state="succeeded"))

    def promoted(self, trial: Rollout) -> Rollout:
        """All gates hold, and the front has switched."""
        self.up(trial.candidate)
        self.truths = paired(1000, 0.4)
        self.evaluate(trial)
        self.seen(trial, 100)
        for _ in range(3):
            trial = self.evaluate(trial)
        assert trial.state == "promoted"
        self.front(trial.candidate)
        return trial

    def tasks(self, work: str) -> list[dict[str, Any]]:
        query = sa.select(tables.tasks.c.args).where(tables.tasks.c.work == work)
        with self.project.storage.read() as connection:
            return [row.args for row in connection.execute(query.order_by(tables.tasks.c.created))]


@pytest.fixture
def world(project: Project, monkeypatch: pytest.MonkeyPatch) -> World:
    # Each call is a look: nobody waits here.
    monkeypatch.setattr(rollouts, "EVALUATE_SECONDS", 0.0)
    monkeypatch.setattr(aliases_module, "LOOK_SECONDS", 0.0)
    return World(project)


def paired(n: int, candidate: float, stable: float = 0.5) -> Paired:
    return Paired(n=n, candidate=candidate, stable=stable, metric="log loss")


def test_step_by_step(world: World) -> None:
    trial = world.begin()
    assert world.evaluate(trial).state == "starting", "its process is not there yet"
    assert world.service.wanted()[-1].owner == "delay.2"
    world.up(2)
    trial = world.evaluate(trial)
    assert (trial.state, trial.step, trial.share) == ("running", 0, 0.2)
    assert trial.evaluated is not None
    first = trial.evaluated
    world.seen(trial, 12)
    trial = world.evaluate(trial)
    assert (trial.step, {one.gate: one.held for one in trial.results}) == (
        0, {"errors": True, "latency": True, "quality": None},
    )  # fmt: skip
    assert trial.evaluated is not None
    assert trial.evaluated > first, "the front sees that somebody looks"
    world.evaluate(trial)
    assert world.kinds() == ["published", "rollout", "step", "held"], "said once a step"
    world.truths = paired(100, 0.4)
    trial = world.evaluate(trial)
    assert (trial.step, trial.share) == (1, 0.5)
    trial = world.evaluate(trial)
    assert trial.step == 1, "each step wants more"
    world.seen(trial, 20)
    world.truths = paired(200, 0.4)
    assert world.evaluate(trial).step == 2
    world.seen(trial, 30)
    world.truths = paired(300, 0.4)
    trial = world.evaluate(trial)
    assert (trial.state, trial.share) == ("promoted", 1.0)
    endpoint = world.service.get("delay")
    assert (endpoint.wanted, endpoint.serving, endpoint.rollout) == (2, 1, None)
    world.front(2)
    endpoint = world.service.get("delay")
    assert (endpoint.serving, endpoint.previous) == (2, 1)
    assert {one.owner for one in world.service.wanted()} == {"http", "delay.1", "delay.2"}
    assert world.kinds()[-1] == "promoted"
    said = world.service.history("delay", 1)[0].message
    assert "log loss 0.4 on 300 truths, the stable version's 0.5" in said
    # The alias that names what answers follows, by a task.
    assert world.tasks(PROMOTE) == [{"name": "flights", "version": 2, "alias": "champion", "only_if": 1}]
    assert world.service.revision("delay", 2).alias == "champion"


def test_while_the_alias_follows_nothing_else_begins(world: World) -> None:
    trial = world.promoted(world.begin())
    # The task has not run yet: the alias is where it was when the rollout began.
    assert world.evaluate(trial) == trial
    world.work()
    assert world.alias == 2
    assert world.evaluate(trial) == trial
    world.alias = 3
    moved = world.evaluate(trial)
    assert (moved.cause, moved.candidate) == ("alias:champion", 3)


def test_a_worse_one_is_rolled_back_at_any_step(world: World) -> None:
    trial = world.begin(cause="alert:1")
    world.up(2)
    world.evaluate(trial)
    world.seen(trial, 12)
    world.truths = paired(99, 0.9)
    assert world.evaluate(trial).state == "running", "too little is known"
    world.truths = paired(100, 0.9)
    trial = world.evaluate(trial)
    assert (trial.state, trial.share, trial.cause) == ("rolled_back", 0.0, "alert:1")
    assert trial.reason == "log loss 0.9 on 100 truths, the stable version's 0.5."
    endpoint = world.service.get("delay")
    assert (endpoint.serving, endpoint.wanted, endpoint.rollout) == (1, 1, None)
    assert world.service.revision("delay", 2).state == "retired"
    assert world.tasks(PROMOTE) == [], "the alias never moved"
    assert world.begin("flights/3").candidate == 3


def test_what_fronts_have_counted_adds_up_over_their_restarts(world: World) -> None:
    trial = world.begin()
    world.up(2)
    world.evaluate(trial)
    world.truths = paired(1000, 0.4)
    world.seen(trial, 6)
    assert world.evaluate(trial).step == 0
    world.token = "front-2"
    world.seen(trial, 3)
    trial = world.evaluate(trial)
    assert (trial.step, trial.results[0].seen) == (0, 9)
    # And over those of the controller, which remembers nothing.
    world.service = world.another()
    world.seen(trial, 4)
    trial = world.evaluate(trial)
    assert (trial.step, trial.results[0].seen) == (1, 10)


def test_errors_seen_by_a_front_that_could_not_say_so(world: World) -> None:
    trial = world.begin()
    world.up(2)
    world.evaluate(trial)
    world.seen(trial, 4, failed=4)
    trial = world.evaluate(trial)
    assert (trial.state, trial.results[0].held) == ("rolled_back", False)


@pytest.mark.parametrize("how", ["fails", "dawdles", "dies"])
def test_one_that_does_not_come_up(world: World, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = world.begin()
    wanted = {"fails": "It cannot answer: no such file", "dawdles": "come up within", "dies": "died 3 times"}
    if how == "fails":
        with world.project.storage.unit() as unit:
            store.fail(unit, "delay", 2, "no such file")
    elif how == "dawdles":
        monkeypatch.setattr(rollouts, "START_SECONDS", -1.0)
    else:
        with world.project.storage.unit() as unit:
            for place in range(3):
                unit.connection.execute(
                    tables.launches.insert().values(
                        token=f"t{place}", kind="model", owner="delay.2", state="lost", created=NOW, info={}
                    )
                )
    trial = world.evaluate(trial)
    assert (trial.state, wanted[how] in (trial.reason or "")) == ("rolled_back", True)
    assert world.service.get("delay").serving == 1


def test_a_moved_alias_begins_one_and_moves_back(world: World) -> None:
    world.service.evaluate()
    assert world.service.rollouts("delay") == [], "it is where it was"
    world.alias = 2
    world.service.evaluate()
    (trial,) = world.service.rollouts("delay")
    assert (trial.cause, trial.alias, trial.candidate) == ("alias:champion", "champion", 2)
    assert world.service.get("delay").wanted == 1, "never a blind switch"
    world.service.rollback("delay")
    assert world.tasks(PROMOTE) == [{"name": "flights", "version": 1, "alias": "champion", "only_if": 2}]
    for _ in range(2):
        world.service.evaluate()
    assert len(world.service.rollouts("delay")) == 1, "what was rolled back is not tried again by itself"
    world.work()
    assert world.alias == 1
    world.service.evaluate()
    world.alias = 2
    world.service.evaluate()
    assert len(world.service.rollouts("delay")) == 2, "moved once more it is"


def test_a_moved_alias_that_is_promoted_stays(world: World) -> None:
    world.alias = 2
    world.service.evaluate()
    (trial,) = world.service.rollouts("delay")
    trial = world.promoted(trial)
    assert world.tasks(PROMOTE) == []
    assert world.evaluate(trial) == trial
    assert world.alias == 2


@pytest.mark.parametrize("how", ["rolled back", "promoted"])
def test_an_alias_that_was_moved_on_meanwhile_is_left_there(world: World, how: str) -> None:
    world.alias = 2
    world.service.evaluate()
    (trial,) = world.service.rollouts("delay")
    world.alias = 3  # somebody has MLflow open
    if how == "rolled back":
        world.service.rollback("delay")
        world.service.evaluate()
        assert len(world.service.rollouts("delay")) == 1, "a task is about to move the alias, or not"
    else:
        world.promoted(trial)
    world.work()
    assert world.alias == 3, "the newer move is not undone"
    world.service.evaluate()
    moved = world.service.rollouts("delay")[0]
    assert (moved.cause, moved.state) == ("alias:champion", "starting")
    assert world.service.revision("delay", moved.candidate).version == 3


def test_an_alias_that_was_moved_while_one_was_tried_by_hand_is_left_there(world: World) -> None:
    trial = world.begin()
    world.alias = 3
    world.promoted(trial)
    world.work()
    assert world.alias == 3
    world.service.evaluate()
    assert world.service.revision("delay", world.service.rollouts("delay")[0].candidate).version == 3


def test_back_at_once_before_the_alias_has_followed(world: World) -> None:
    world.promoted(world.begin())
    world.service.rollback("delay")
    world.front(1)
    world.service.evaluate()
    world.work()
    assert world.alias == 1, "forth and back, one after the other"
    world.service.evaluate()
    assert len(world.service.rollouts("delay")) == 1, "what was just left is not tried again"


def test_tried_again_by_hand_before_the_alias_is_back(world: World) -> None:
    world.alias = 2
    world.service.evaluate()
    world.service.rollback("delay")
    trial = world.begin("flights/2")
    world.work()
    assert world.alias == 1
    world.promoted(trial)
    world.work()
    assert world.alias == 2, "it points to what was promoted"
    world.service.evaluate()
    assert len(world.service.rollouts("delay")) == 2


def test_an_alias_that_is_removed_is_shown_no_more(world: World) -> None:
    def shown() -> str | None:
        revision = world.service.get("delay").revision
        assert revision is not None
        return revision.alias

    world.service.evaluate()
    assert shown() == "champion"
    world.alias = None
    for _ in range(3):
        world.service.evaluate()
    assert shown() is None
    assert world.kinds() == ["published", "alias"], "said once"
    assert "“champion” of flights was removed" in world.service.history("delay", 1)[0].message
    # Nobody brings it back but who removed it.
    assert world.begin().alias is None
    world.service.rollback("delay")
    assert world.tasks(PROMOTE) == []
    world.alias = 1
    world.service.evaluate()
    assert shown() == "champion"
    world.alias = 3
    world.service.evaluate()
    assert world.service.rollouts("delay")[0].cause == "alias:champion", "it is followed again"


def test_an_alias_that_is_moved_to_what_cannot_be_had(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.alias = 10
    for _ in range(3):
        world.service.evaluate()
    assert world.service.rollouts("delay") == []
    assert caplog.text.count("no rollout begins") == 1


def test_a_gate_that_cannot_be_looked_at_stops_nothing_else(world: World) -> None:
    trial = world.begin()
    world.up(2)
    trial = world.evaluate(trial)
    world.broken = True
    assert world.evaluate(trial) == trial, "it is not evaluated, and the front will notice"
    assert [one.owner for one in world.service.wanted()] == ["http", "delay.1", "delay.2"]


def test_by_hand(world: World) -> None:
    with pytest.raises(Conflict, match="no other revision answered before it"):
        world.service.rollback("delay")
    world.service.publish("flights/2", "delay")
    # Before it answers, there is only that to take back.
    assert world.service.rollback("delay").wanted == 1
    assert world.service.revision("delay", 2).state == "retired"
    world.service.publish("flights/3", "delay")
    world.up(3)
    world.front(3, keep_warm=False)
    assert world.service.revision("delay", 1).state == "retired"
    assert [one.owner for one in world.service.wanted()] == ["http", "delay.3"]
    # Not kept warm it has to be started, and meanwhile the newer one goes on.
    back = world.service.rollback("delay", "It is wrong.")
    assert (back.wanted, back.serving) == (1, 3)
    assert world.service.revision("delay", 1).state == "starting"
    assert [one.owner for one in world.service.wanted()] == ["http", "delay.3", "delay.1"]
    world.front(1)
    endpoint = world.service.get("delay")
    assert (endpoint.serving, endpoint.previous) == (1, None)
    assert world.service.revision("delay", 3).state == "retired"
    assert world.kinds() == ["published", "rolled_back", "published", "rolled_back"]


def test_stopping_ends_a_rollout(world: World) -> None:
    trial = world.begin()
    world.service.stop("delay")
    trial = world.service.rollouts("delay")[0]
    assert (trial.state, trial.reason) == ("stopped", "The endpoint was stopped.")
    assert world.kinds()[-1] == "stopped"
    assert world.service.wanted() == []
    for ask in (world.begin, lambda: world.service.rollback("delay")):
        with pytest.raises(Conflict, match="is stopped"):
            ask()
    world.service.publish("flights/2", "delay")
    assert world.service.get("delay").previous is None


def test_what_was_counted_survives_as_json(world: World) -> None:
    trial = world.begin()
    carried = rollout_store.Carried()
    carried.add("a", Sides(Counts(requests=3), Counts(requests=5)))
    with world.project.storage.unit() as unit:
        assert rollout_store.evaluated(unit, trial, (), carried)
        values = {"state": "running", "step": 0, "share": 0.2}
        assert rollout_store.evaluated(unit, trial, (), carried, **values)
        again = rollout_store.evaluated(unit, trial, (), carried, **values)
        assert not again, "it is not what was read any more"
    with world.project.storage.read() as connection:
        assert rollout_store.carried(connection, trial.id) == carried
