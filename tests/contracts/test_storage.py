"""What every room relies on, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import datetime as dt
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from support import eventually

from mlinfra_lab.errors import DatabaseTooNew
from mlinfra_lab.schema.common import now
from mlinfra_lab.schema.data import Column, DatasetVersion
from mlinfra_lab.schema.tasks import Failure
from mlinfra_lab.storage import Storage, from_row, launches, meta, tables, to_row
from mlinfra_lab.tasks import store as tasks


def feed(storage: Storage) -> list[tuple[int, str]]:
    with storage.read() as connection:
        rows = connection.execute(sa.select(tables.feed).order_by(tables.feed.c.revision))
        return [(row.revision, row.id) for row in rows]


def test_a_struct_comes_back_as_it_went_in(storage: Storage) -> None:
    version = DatasetVersion(
        dataset="flights",
        version=1,
        path="data/flights",
        md5="abc.dir",
        commit="0" * 40,
        files=2,
        size=2**40,
        rows=None,
        columns=(Column(name="temp", type="double", nulls=3, mean=1.5), Column(name="ü", type="string")),
        created=dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.timezone(dt.timedelta(hours=2))),
        created_by="ada",
    )
    with storage.unit() as unit:
        unit.put(tables.dataset_versions, to_row(version, tables.dataset_versions))
    with storage.read() as connection:
        row = connection.execute(sa.select(tables.dataset_versions)).one()
    assert from_row(row, DatasetVersion) == version


def test_a_unit_is_all_or_nothing(storage: Storage) -> None:
    with pytest.raises(RuntimeError), storage.unit("ada") as unit:
        meta.put(unit, "port", "1")
        unit.link("dataset", "flights@1", "job", "j1", "read")
        unit.audit("submit", "job", "j1")
        unit.task("mlinfra_lab.data.work:snapshot", "data:flights", {})
        raise RuntimeError
    assert meta.get(storage, "port") is None
    assert feed(storage) == []
    with storage.read() as connection:
        for table in (tables.edges, tables.audit, tables.tasks):
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() == 0


def test_revisions_of_the_feed_follow_commit_order(storage: Storage) -> None:
    """A reader that has seen revision n never finds a smaller one later."""
    seen: list[int] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            fresh = [revision for revision, _ in feed(storage) if revision not in seen]
            assert not fresh or not seen or min(fresh) > max(seen)
            seen.extend(fresh)

    def write(number: int) -> None:
        with storage.unit() as unit:
            unit.changed("job", f"j{number}", "created")

    with ThreadPoolExecutor(5) as pool:
        reader = pool.submit(look)
        list(pool.map(write, range(40)))
        eventually(lambda: len(seen) == 40)
        stop.set()
        reader.result()


def test_an_edge_said_twice_stands_once(storage: Storage) -> None:
    for rows in (1, 2):
        with storage.unit() as unit:
            unit.link("dataset", "flights@1", "job", "j1", "read", {"rows": rows})
    with storage.read() as connection:
        (edge,) = connection.execute(sa.select(tables.edges)).all()
    assert edge.detail == {"rows": 2}


def test_the_watcher_sees_what_others_commit_and_nothing_else(storage: Storage) -> None:
    watcher = storage.watcher()
    try:
        watcher.changed()
        assert not watcher.changed()
        with storage.unit() as unit:
            meta.put(unit, "a", "1")
        assert eventually(watcher.changed, timeout=5)
        assert not watcher.changed()
        with storage.read() as connection:
            connection.execute(sa.select(tables.meta)).all()
        assert not watcher.changed()
    finally:
        watcher.close()


def test_a_launch_is_claimed_once(storage: Storage) -> None:
    with storage.unit() as unit:
        token = launches.commit(unit, "runner", "j1")
    with ThreadPoolExecutor(4) as pool:
        claims = list(pool.map(lambda _: launches.claim(storage, token), range(4)))
    assert sum(claim is not None for claim in claims) == 1
    with storage.read() as connection:
        (mine,) = launches.opened(connection)
    assert launches.alive(mine) is True


def test_a_launch_that_was_given_up_cannot_be_claimed(storage: Storage) -> None:
    with storage.unit() as unit:
        token = launches.commit(unit, "runner", "j1")
    with storage.unit() as unit:
        assert launches.give_up(unit, token, "launching")
    assert launches.claim(storage, token) is None


def test_an_outcome_is_not_accepted_from_a_process_declared_lost(storage: Storage) -> None:
    with storage.unit() as unit:
        token = launches.commit(unit, "runner", "j1")
    assert launches.claim(storage, token)
    with storage.unit() as unit:
        assert launches.give_up(unit, token, "running")
        assert not launches.finish(unit, token, {})
    with storage.read() as connection:
        launch = launches.get(connection, token)
    assert launch is not None
    assert launch.state == "lost"


def test_tasks_of_one_key_run_one_after_the_other(storage: Storage) -> None:
    with storage.unit() as unit:
        first = unit.task("w", "data:flights", {}, id="t1")
        second = unit.task("w", "data:flights", {}, id="t2")
        other = unit.task("w", "data:weather", {}, id="t3")
    assert tasks.waiting(storage) == 2
    taken = [tasks.take(storage, f"worker{number}") for number in range(3)]
    assert [task.id if task else None for task in taken] == [first, other, None]
    with storage.unit() as unit:
        assert tasks.end(unit, first, "worker0", "succeeded", {"rows": 1})
    following = tasks.take(storage, "worker0")
    assert following is not None
    assert following.id == second


def test_two_workers_never_take_the_same_task(storage: Storage) -> None:
    with storage.unit() as unit:
        for number in range(20):
            unit.task("w", f"key{number}", {})
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda number: tasks.take(storage, f"worker{number}"), range(20)))
    assert len({task.id for task in taken if task}) == 20


@pytest.mark.parametrize(("idempotent", "state"), [(True, "queued"), (False, "interrupted")])
def test_a_lost_worker_s_task_runs_again_only_where_that_is_safe(
    storage: Storage, idempotent: bool, state: str
) -> None:
    with storage.unit() as unit:
        id = unit.task("w", "k", {}, idempotent=idempotent)
    tasks.take(storage, "worker")
    with storage.unit() as unit:
        tasks.worker_gone(unit, "worker")
    task = tasks.get(storage, id)
    assert task is not None
    assert task.state == state
    with storage.unit() as unit:
        assert not tasks.end(unit, id, "worker", "succeeded")


def test_a_task_that_kills_its_worker_every_time_ends(storage: Storage) -> None:
    with storage.unit() as unit:
        id = unit.task("w", "k", {})
    for number in range(tasks.MAX_ATTEMPTS):
        assert tasks.take(storage, f"worker{number}")
        with storage.unit() as unit:
            tasks.worker_gone(unit, f"worker{number}")
    task = tasks.get(storage, id)
    assert task is not None
    assert task.state == "interrupted"
    assert task.error is not None
    assert "k" in task.error.message


def test_a_failure_keeps_its_hint(storage: Storage) -> None:
    with storage.unit() as unit:
        id = unit.task("w", "k", {})
    tasks.take(storage, "worker")
    failure = Failure(code="not_found", message="There is no x.", hint="Make it.", detail={"a": [1]})
    with storage.unit() as unit:
        tasks.end(unit, id, "worker", "failed", error=failure)
    task = tasks.get(storage, id)
    assert task is not None
    assert task.error == failure


def test_a_newer_database_is_left_alone(storage: Storage) -> None:
    assert not storage.needs_migration()
    with storage.unit() as unit:
        unit.connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        meta.put(unit, "port", "1")
    with pytest.raises(DatabaseTooNew, match="9999"):
        storage.needs_migration()
    assert meta.get(storage, "port") == "1"


def test_migrating_from_several_processes_at_once_is_safe(storage: Storage) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: storage.migrate(), range(4)))
    assert not storage.needs_migration()


def test_moments_sort_as_text(storage: Storage) -> None:
    moments = [
        now(),
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        dt.datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC),
    ]
    with storage.unit("ada") as unit:
        for moment in moments:
            unit.connection.execute(
                tables.audit.insert().values(at=moment, actor="a", action="b", resource="c", id="d")
            )
    with storage.read() as connection:
        found = connection.execute(sa.select(tables.audit.c.at).order_by(tables.audit.c.at)).scalars().all()
    assert list(found) == sorted(moments)


def test_the_migrations_make_the_tables_the_code_has(storage: Storage) -> None:
    """What `alembic revision --autogenerate` would find to do: nothing."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with storage.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []
