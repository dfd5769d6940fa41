"""The monitor: everything captured is counted once, whatever comes and in whatever order."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest
from monitor_support import (
    DAY,
    FIRST,
    NAME,
    START,
    Line,
    answer,
    baseline,
    drain,
    publish,
    recount,
    rows,
    segment_files,
    sums,
    truth_of,
)  # fmt: skip

from mlinfra_lab import counters
from mlinfra_lab.errors import Invalid
from mlinfra_lab.monitoring import store
from mlinfra_lab.monitoring.process import Monitor
from mlinfra_lab.project import Project
from mlinfra_lab.schema.monitoring import RANGES


@pytest.fixture
def chance() -> random.Random:
    return random.Random(7)


def same(project: Project, slices: tuple[str, ...] = ()) -> None:
    """The monitor's sums are those of a full recount."""
    mine, judged = sums(project)
    theirs, right = recount(project, slices=slices)
    assert mine == theirs
    assert judged.keys() == right.keys()
    for key, total in right.items():
        assert judged[key] == pytest.approx(total, abs=1e-6), key


def test_rows_and_truths_are_counted_by_day(project: Project, chance: random.Random) -> None:
    number = publish(project, known=baseline())
    line = Line(project, number)
    monitor = Monitor(project)
    truths = line.days(0, 3, chance)
    drain(monitor)
    line.true(truths)
    more = line.days(2, 2, chance)
    line.true(more)
    drain(monitor)
    same(project)
    found, _ = sums(project)
    assert {day for _, day in found} == {"2013-01-01", "2013-01-02", "2013-01-03", "2013-01-04"}
    assert found[number, "2013-01-03"][0] == 120
    monitor.close()
    line.close()


def test_a_monitor_goes_on_where_the_last_one_stood(project: Project, chance: random.Random) -> None:
    number = publish(project, known=baseline())
    line = Line(project, number, limit=4_000)
    truths: list[tuple[str, int]] = []
    for day in range(4):
        truths += line.days(day, 1, chance, each=200)
        chance.shuffle(truths)
        line.true(truths[:100])
        line.writer.sync()
        monitor = Monitor(project)
        drain(monitor)
        monitor.close()
    assert len(segment_files(project)) > 4
    same(project)
    line.close()
    monitor = Monitor(project)
    drain(monitor)
    same(project)
    monitor.close()


def test_the_last_truth_wins(project: Project, chance: random.Random) -> None:
    number = publish(project, known=baseline())
    line = Line(project, number)
    truths = line.days(0, 2, chance)
    line.true(truths)
    first = Monitor(project)
    drain(first)
    first.close()
    line.true(truths[:10])
    line.true([(id, 1 - truth) for id, truth in truths[:5]])
    line.true([(truths[7][0], 0), (truths[7][0], 1), (truths[7][0], 0)])
    line.true([(f"{NAME}.{number}.1.999999", 1), (truths[9][0], "what?")])
    monitor = Monitor(project)
    drain(monitor)
    same(project)
    with project.storage.read() as connection:
        detail = store.all_positions(connection)[NAME, "truth"][2]
    assert detail["truths"] == len(truths) + 10 + 5 + 3 + 2
    assert detail["duplicates"] + detail["contradictions"] == 10 + 5 + 3 + 1
    assert detail["contradictions"] >= 5
    assert (detail["unknown"], detail["unreadable"]) == (1, 1)
    monitor.close()
    line.close()


def test_late_truth_of_a_revision_that_answers_no_more(project: Project, chance: random.Random) -> None:
    known = baseline()
    old = publish(project, known=known)
    line = Line(project, old)
    truths = line.days(0, 2, chance)
    line.close()
    new = publish(project, known=known, version=2)
    other = Line(project, new)
    more = other.days(1, 2, chance)
    monitor = Monitor(project)
    drain(monitor)
    other.true(truths + more)
    drain(monitor)
    same(project)
    monitor.close()
    other.close()


def test_without_a_baseline_the_first_rows_are_one(project: Project, chance: random.Random) -> None:
    number = publish(project)
    line = Line(project, number)
    monitor = Monitor(project)
    truths = line.days(0, 1, chance, each=FIRST - 1)
    line.true(truths[:300])
    drain(monitor)
    assert sums(project) == ({}, {})
    view = project.monitoring.view(NAME)
    assert "first 1,000 rows become" in view.empty["drift"]
    assert view.captured >= len(view.recent) > 0
    # What the front says was kept is captured, though it is in no bucket yet.
    kept = counters.Counts(requests=9, rows=FIRST - 1 + 20, uncaptured=20)
    targets = {f"{NAME}.{number}": kept}
    counters.write(project.state, counters.FrontStats(token="a", at=time.time(), targets=targets))
    drain(monitor)
    view = project.monitoring.view(NAME)
    assert (view.captured, view.missed) == (FIRST - 1, 20)
    assert "; 999 came so far" in view.empty["drift"]
    truths += line.days(1, 1, chance, each=200)
    drain(monitor)
    # The truth that came before is in it.
    same(project)
    assert project.monitoring.baseline(NAME, number).source == "first rows"
    assert project.monitoring.view(NAME).captured == FIRST - 1 + 200
    line.true(truths)
    drain(monitor)
    same(project)
    monitor.close()
    line.close()


def test_a_torn_segment_is_read_as_far_as_it_is_whole(project: Project, chance: random.Random) -> None:
    number = publish(project, known=baseline())
    line = Line(project, number)
    line.days(0, 3, chance)
    monitor = Monitor(project)
    drain(monitor)
    line.days(3, 1, chance)
    path = segment_files(project)[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    drain(monitor)
    assert "2013-01-04" not in {day for _, day in sums(project)[0]}
    # A front that begins anew goes on in the next segment, and seals the torn one.
    again = Line(project, number)
    again.days(4, 1, chance)
    drain(monitor)
    same(project)
    assert {day for _, day in sums(project)[0]} == {f"2013-01-0{day}" for day in (1, 2, 3, 5)}
    monitor.close()
    again.close()


def test_a_record_that_is_half_written_is_waited_for(project: Project, chance: random.Random) -> None:
    number = publish(project, known=baseline())
    line = Line(project, number)
    line.days(0, 1, chance)
    path = segment_files(project)[0]
    before = path.stat().st_size
    line.days(1, 1, chance)
    whole = path.read_bytes()
    path.write_bytes(whole[: before + 11])
    monitor = Monitor(project)
    drain(monitor)
    assert {day for _, day in sums(project)[0]} == {"2013-01-01"}
    path.write_bytes(whole)
    drain(monitor)
    same(project)
    monitor.close()


def test_removed_segments_are_passed_over(project: Project, chance: random.Random) -> None:
    number = publish(project, known=baseline())
    line = Line(project, number, limit=10_000)
    monitor = Monitor(project)
    truths = line.days(0, 2, chance)
    drain(monitor)
    line.days(2, 4, chance)
    line.writer.sync()
    gone = segment_files(project)[1]
    gone.unlink()
    drain(monitor)
    found, _ = sums(project)
    assert sum(one[0] for one in found.values()) < 6 * 60
    line.true(truths)
    drain(monitor)
    fresh = Monitor(project)
    drain(fresh)
    assert sums(project)[0] == found
    monitor.close()
    fresh.close()


def test_columns_that_vanish_and_values_that_are_new(project: Project, chance: random.Random) -> None:
    number = publish(project, known=baseline())
    captures = project.state / "captures"
    from mlinfra_lab.endpoints.capture import Writer

    writer = Writer(captures, NAME, number)
    for columns, row in [
        (("x", "kind"), [0.5, "never seen"]),
        (("kind", "x", "noise", "more"), [None, None, None, 1]),
    ]:
        for _ in range(300):
            writer.append(
                [row],
                [[0.4, 0.6]],
                at=START,
                request="r",
                latency=0.001,
                event_times=[START],
                columns=columns,
            )
    monitor = Monitor(project)
    drain(monitor)
    with project.storage.read() as connection:
        held = store.bucket(connection, NAME, number, "2013-01-01")
    assert held is not None
    by_name = dict(zip(("x", "kind", "noise"), held.columns, strict=True))
    assert by_name["noise"].missing == 600
    assert by_name["x"].missing == 300
    assert by_name["kind"].cells[-1] == 300
    assert by_name["kind"].missing == 300
    view = project.monitoring.view(NAME)
    noise = next(row for row in view.drift.features if row.name == "noise")
    assert noise.drifted == (True,)
    assert noise.values[0] is not None
    assert noise.values[0] > 1
    monitor.close()


def test_clock_jumps_end_no_window(project: Project, chance: random.Random) -> None:
    number = publish(project, known=baseline())
    line = Line(project, number)
    asked = rows(300, chance)
    today = 1_700_000_000.0
    line.ask(asked, at=today)
    line.ask(asked[:50], at=today + 40 * 365 * DAY)
    line.ask(asked[:50], at=today - 40 * 365 * DAY)
    line.ask(asked[:2], times=[float("nan"), 1e300], at=today)
    monitor = Monitor(project)
    drain(monitor)
    found, _ = sums(project)
    assert sorted(one[0] for one in found.values()) == [50, 50, 302]
    view = project.monitoring.view(NAME)
    assert view.end is not None
    assert view.end.timestamp() == today
    assert view.captured == 402
    monitor.close()
    line.close()


def test_a_few_rows_from_long_ago_stretch_nothing(project: Project, chance: random.Random) -> None:
    number = publish(project, known=baseline())
    line = Line(project, number)
    line.days(0, 20, chance)
    line.ask(rows(4, chance), [0.0, -1.0, 1.0, 300 * DAY])
    monitor = Monitor(project)
    drain(monitor)
    view = project.monitoring.view(NAME)
    assert view.start is not None
    assert (view.start.year, view.start.month) == (2013, 1)
    assert (len(view.traffic.times), view.captured) == (20, 1204)
    assert all(span.start.year == 2013 for span in view.drift.windows)
    assert all(at.year == 2013 for at in view.quality.times)
    # Many are no mistake: they are shown.
    line.ask(rows(200, chance), [0.0] * 200)
    drain(monitor)
    seen = project.monitoring.view(NAME)
    assert seen.start is not None
    assert seen.start.year == 1969
    monitor.close()
    line.close()


def test_the_monitor_of_a_project_that_was_taken_down_is_stopped(project: Project) -> None:
    publish(project)
    project.controller.down()
    line = next(one for one in project.status().lines if one.kind == "monitor")
    assert (line.desired, line.actual) == ("up", "stopped")
    assert "taken down" in (line.why or "")


def test_slices_and_windows_by_count(make_project: Callable[..., Project], chance: random.Random) -> None:
    project = make_project(toml='[endpoints.delay]\nwindow = 250\nleast = 50\nslices = ["kind"]\n')
    number = publish(project, known=baseline())
    line = Line(project, number, limit=30_000)
    truths = line.days(0, 10, chance, each=100)
    monitor = Monitor(project)
    drain(monitor)
    monitor.close()
    line.true(truths)
    line.true([(id, 1 - truth) for id, truth in truths[:400]])
    monitor = Monitor(project)
    drain(monitor)
    found, judged = sums(project)
    assert {key: one[0] for (_, key), one in found.items()} == {f"#{n:06d}": 250 for n in range(4)}
    whole = [one for (_, _, column, _), one in judged.items() if column == ""]
    assert [one["n"] for one in whole] == [250] * 4
    kinds = dict.fromkeys("ab", 0.0)
    for (_, _, column, value), one in judged.items():
        if column == "kind":
            kinds[value] += one["n"]
    assert sum(kinds.values()) == 1000
    view = project.monitoring.view(NAME)
    assert len(view.drift.windows) == 4
    assert view.window == "250 rows"
    assert [one.value for one in view.slices] == ["a", "b"]
    monitor.close()
    line.close()


def test_hours_where_windows_are_shorter_than_days(
    make_project: Callable[..., Project], chance: random.Random
) -> None:
    project = make_project(toml='[endpoints.delay]\nwindow = "12h"\nleast = 20\n')
    number = publish(project, known=baseline())
    line = Line(project, number)
    line.days(0, 2, chance)
    monitor = Monitor(project)
    drain(monitor)
    found, _ = sums(project)
    assert all("T" in key for _, key in found)
    view = project.monitoring.view(NAME)
    assert [one.start.hour for one in view.drift.windows] == [0, 12, 0, 12]
    assert view.window == "12 hours"
    monitor.close()
    line.close()


def test_truth_that_waits_for_nothing(project: Project, chance: random.Random) -> None:
    """A row and its truth that come between two looks are joined all the same."""
    number = publish(project, known=baseline())
    line = Line(project, number)
    monitor = Monitor(project)
    for day in range(5):
        asked = rows(20, chance)
        ids = line.ask(asked, [START + day * DAY] * 20)
        line.true([(id, truth_of(row, chance)) for id, row in zip(ids, asked, strict=True)])
        monitor.turn()
    drain(monitor)
    same(project)
    assert answer(0) == 0.5
    monitor.close()
    line.close()


def test_what_the_front_counts_is_added_up_once(project: Project, chance: random.Random) -> None:
    number = publish(project, known=baseline())
    at = time.time() // 60 * 60 + 1
    target = f"{NAME}.{number}"

    def front(token: str, requests: int, failed: int, uncaptured: int = 0, after: float = 0.0) -> None:
        counts = counters.Counts(requests=requests, rows=requests, failed=failed, uncaptured=uncaptured)
        counts.latency[10] = requests
        counters.write(
            project.state, counters.FrontStats(token=token, at=at + after, targets={target: counts})
        )

    first = Monitor(project)
    front("a", 100, 1)
    drain(first)
    drain(first)
    front("a", 150, 1, after=1)
    drain(first)
    first.close()
    second = Monitor(project)
    front("a", 200, 3, after=2)
    drain(second)
    # Another front begins at nothing; what the first did not write any more is lost.
    front("b", 10, 0, uncaptured=4, after=3)
    drain(second)
    view = project.monitoring.view(NAME)
    tiles = {tile.id: tile for tile in view.tiles}
    assert tiles["errors"].note == "3 of 210"
    assert tiles["errors"].value == pytest.approx(100 * 3 / 210)
    assert tiles["errors"].broken
    assert tiles["latency"].value is not None
    assert 1 < tiles["latency"].value < 5
    assert view.missed == 4
    assert "traffic" not in view.empty
    line = Line(project, number)
    line.ask(rows(5, chance))
    drain(second)
    day = project.monitoring.view(NAME, "day")
    assert day.traffic.step == 3600
    assert sum(sum(one.values) for one in day.traffic.series) == 210  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="“year” is no range"):
        project.monitoring.view(NAME, "year")  # type: ignore[arg-type]
    second.close()
    line.close()


def test_a_range_ends_with_the_newest_row(project: Project, chance: random.Random) -> None:
    number = publish(project, known=baseline())
    line = Line(project, number)
    line.days(0, 60, chance, each=20)
    monitor = Monitor(project)
    drain(monitor)
    found = {name: project.monitoring.view(NAME, name) for name in RANGES}
    assert {name: len(view.traffic.times) for name, view in found.items()} == {
        "day": 2, "week": 8, "month": 31, "all": 60,
    }  # fmt: skip
    # Windows that a range begins in are whole.
    assert all(span.rows == 140 for span in found["month"].drift.windows[:-1])
    monitor.close()
    line.close()
