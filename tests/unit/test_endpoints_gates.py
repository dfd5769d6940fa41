"""Who gets which request, and when a candidate holds; nothing is started here."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any

import pytest

from mlinfra_lab import counters
from mlinfra_lab.counters import LATENCY_EDGES, Counts, Sides, quantile
from mlinfra_lab.endpoints import gates as judging
from mlinfra_lab.endpoints.canary import Canary, Split
from mlinfra_lab.endpoints.rollout_store import Carried
from mlinfra_lab.schema.endpoints import Gates, Paired, Rollout

NOW = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
GATES = Gates(errors=0.01, latency=3.0, quality=1.05, requests=50, truths=200)


@pytest.mark.parametrize("share", [0.001, 0.05, 0.2, 0.333, 0.5, 0.9, 1.0])
def test_the_split_is_exact_and_even(share: float) -> None:
    split = Split()
    taken = [split.next(share) for _ in range(5000)]
    assert sum(taken) == round(5000 * share)
    for length in (10, 50, 200, 1000):
        for start in range(0, 4000, 97):
            assert abs(sum(taken[start : start + length]) - length * share) <= 4
    if share == 0.2:
        assert Counter(place % 5 for place, one in enumerate(taken) if one).most_common(1)[0][1] < 300


def test_a_changed_share_holds_from_there_on() -> None:
    split = Split()
    taken = [split.next(0.0) for _ in range(33)] + [split.next(1.0) for _ in range(33)]
    assert taken == [False] * 33 + [True] * 33


# -- counting -------------------------------------------------------------------------------------


def test_latencies_are_counted_by_cells() -> None:
    counts = Counts()
    for seconds in (0.00001, 0.0001, 0.001, 0.01, 100.0, 75.0):
        counts.answered(2, seconds)
    assert (counts.requests, counts.rows, sum(counts.latency)) == (6, 12, 6)
    assert counts.latency[0] == 1
    assert counts.latency[1] == 1
    assert counts.latency[-1] == 2
    assert LATENCY_EDGES[0] == pytest.approx(1e-4)
    assert 60 < LATENCY_EDGES[-1] < 100


def test_quantiles_are_right_to_a_cell() -> None:
    counts = Counts()
    for place in range(1000):
        counts.answered(1, 0.001 + place * 1e-5)
    for share in (0.5, 0.95, 0.99):
        wanted = 0.001 + share * 0.01
        found = quantile(counts.latency, share)
        assert found is not None
        assert wanted / 2**0.5 < found < wanted * 2**0.5
    assert quantile(Counts().latency, 0.5) is None


def test_counts_add_up_over_the_fronts_restarts() -> None:
    def sides(requests: int) -> Sides:
        return Sides(Counts(requests=requests), Counts(requests=2 * requests))

    carried = Carried()
    assert carried.add("a", sides(5)).candidate.requests == 5
    assert carried.add("a", sides(8)).candidate.requests == 8
    assert carried.add("b", sides(1)).candidate.requests == 9
    assert carried.add("b", sides(4)).stable.requests == 24
    assert carried.add("c", sides(0)).candidate.requests == 12


def test_the_file_of_counters(tmp_path: Any) -> None:
    (tmp_path / "run").mkdir()
    assert counters.read(tmp_path) is None
    written = counters.FrontStats("t", 1.0, {"delay.1": Counts(requests=3)}, {"r1": Sides()})
    counters.write(tmp_path, written)
    assert counters.read(tmp_path) == written
    (tmp_path / "run" / counters.FILE).write_text("{")
    assert counters.read(tmp_path) is None


# -- gates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requests", "failed", "refused", "held"),
    [
        (0, 0, 0, None),
        (49, 0, 0, None),
        (50, 0, 0, True),
        (60, 0, 20, None),  # what nobody takes says nothing of it
        (2, 2, 0, False),
        (1, 1, 0, None),  # one in a hundred may
        (50, 1, 0, None),
        (100, 1, 0, True),
        (50, 6, 0, False),
        (1000, 10, 0, True),
        (1000, 25, 0, False),
        (1000, 12, 0, None),
    ],
)
def test_errors(requests: int, failed: int, refused: int, held: bool | None) -> None:
    found = judging.errors(GATES, Counts(requests=requests, failed=failed, refused=refused))
    assert found.held is held, found.text
    if held is None:
        assert "waiting for" in found.text


def test_no_failure_at_all_may_be_asked_for() -> None:
    strict = Gates(errors=0.0)
    assert judging.errors(strict, Counts(requests=10_000, failed=1)).held is False
    assert judging.errors(strict, Counts(requests=50)).held is True


def test_the_tail_is_the_binomials() -> None:
    # P(X >= 3) of 10 at 0.1, and P(X >= 5) of 100 at 0.01, from a table.
    assert judging.tail(10, 3, 0.1) == pytest.approx(0.0701908264, rel=1e-8)
    assert judging.tail(100, 5, 0.01) == pytest.approx(0.0034323, rel=1e-4)
    assert judging.tail(10**6, 10**4 + 600, 0.01) < 1e-6
    assert (judging.tail(5, 0, 0.5), judging.tail(5, 1, 0.0), judging.tail(5, 5, 1.0)) == (1.0, 0.0, 1.0)


def answered(seconds: float, requests: int, slow: int = 0) -> Counts:
    counts = Counts()
    for place in range(requests):
        counts.answered(1, seconds * 20 if place < slow else seconds)
    return counts


@pytest.mark.parametrize(
    ("candidate", "held"),
    [
        (answered(0.02, 60), True),
        (answered(0.1, 60), False),
        (answered(0.1, 49), None),
        (answered(0.02, 49), None),
        (answered(0.02, 60, slow=3), True),  # one in twenty may
        (answered(0.02, 60, slow=5), None),
        (answered(0.02, 60, slow=20), False),
        (Counts(), None),
    ],
)
def test_latency(candidate: Counts, held: bool | None) -> None:
    found = judging.latency(GATES, Sides(candidate, answered(0.02, 100)))
    assert found.held is held, found.text


def test_a_latency_that_nobody_feels_is_no_fault() -> None:
    assert judging.latency(GATES, Sides(answered(0.005, 60), answered(0.0005, 60))).held is True
    assert judging.latency(GATES, Sides(answered(5.0, 60), Counts())).held is True


@pytest.mark.parametrize(
    ("paired", "step", "held"),
    [
        (None, 0, None),
        (Paired(n=0, candidate=None, stable=None, metric="log loss"), 0, None),
        (Paired(n=199, candidate=0.9, stable=0.5, metric="log loss"), 0, None),
        (Paired(n=200, candidate=0.9, stable=0.5, metric="log loss"), 0, False),
        (Paired(n=200, candidate=0.9, stable=0.5, metric="log loss"), 2, False),
        (Paired(n=200, candidate=0.9, stable=0.5, metric="log loss", error=0.5), 0, None),
        (Paired(n=200, candidate=0.5, stable=0.5, metric="log loss"), 0, True),
        (Paired(n=200, candidate=0.52, stable=0.5, metric="log loss"), 0, True),
        (Paired(n=399, candidate=0.5, stable=0.5, metric="log loss"), 1, None),
        (Paired(n=400, candidate=0.5, stable=0.5, metric="log loss"), 1, True),
    ],
)
def test_quality(paired: Paired | None, step: int, held: bool | None) -> None:
    found = judging.quality(GATES, paired, step)
    assert (found.held, found.needed) == (held, 200 * (step + 1)), found.text


def test_what_must_be_seen_grows_with_each_step() -> None:
    sides = Sides(answered(0.02, 60), answered(0.02, 60))
    paired = Paired(n=300, candidate=0.5, stable=0.5, metric="log loss")
    assert judging.held(judging.judge(GATES, sides, paired, 0))
    second = judging.judge(GATES, sides, paired, 1)
    assert [one.held for one in second] == [None, None, None]
    assert judging.broken(second) is None


# -- the front's own watch ------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def rollout(**values: Any) -> Rollout:
    given: dict[str, Any] = {"state": "running", "share": 1.0, "evaluated": NOW}
    return Rollout(
        id="r1", endpoint="delay", stable=1, candidate=2, steps=(1.0,), gates=GATES, created=NOW,
        created_by="ada", **given | values,
    )  # fmt: skip


def canary(clock: Clock, first: Rollout) -> tuple[Canary, Counts]:
    candidate = Counts()
    shadow: Any = None  # nothing is answered here
    return Canary(first, Counts(), candidate, shadow, clock, unattended=30.0), candidate


def test_a_candidate_that_nobody_looks_after_gets_nothing() -> None:
    clock = Clock()
    one, _ = canary(clock, rollout())
    one.follow(rollout())
    assert not one.takes(), "whoever evaluated it may be gone since"
    one.follow(rollout(evaluated=NOW + dt.timedelta(seconds=1)))
    assert one.takes()
    clock.now = 29.9
    one.follow(rollout(evaluated=NOW + dt.timedelta(seconds=1)))
    assert one.takes()
    clock.now = 30.1
    assert not one.takes()
    # A clock that was set back is no evaluation; any change of what was written is.
    one.follow(rollout(evaluated=NOW - dt.timedelta(hours=1)))
    assert one.takes()


@pytest.mark.parametrize("state", ["starting", "promoted", "rolled_back", "stopped"])
def test_only_one_that_runs_gets_requests(state: str) -> None:
    one, _ = canary(Clock(), rollout(evaluated=None, state="starting", share=0.0))
    one.follow(rollout(state=state))
    assert not one.takes()


def test_the_front_stops_at_the_failure_that_is_too_much() -> None:
    one, counts = canary(Clock(), rollout(evaluated=None))
    one.follow(rollout())
    assert one.takes()
    counts.requests, counts.failed = 1, 1
    one.failed()
    assert one.takes()
    assert one.reason is None
    counts.requests, counts.failed = 2, 2
    one.failed()
    assert not one.takes()
    assert one.reason == "2 of 2 requests failed (100 %; at most 1.0 % may)."


def test_what_came_before_is_not_held_against_it() -> None:
    candidate, shadow = Counts(requests=100, failed=100), None
    one = Canary(rollout(), Counts(), candidate, shadow)  # type: ignore[arg-type]
    one.failed()
    assert one.broken is None
    assert one.sides == Sides()
