"""Rows of monitoring: baselines, sums, how far was read, alerts.

Everything is kept as sums, added to in the same unit that moves the positions on: what was read is
counted once, whoever dies when.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import sqlalchemy as sa

from mlinfra_lab.counters import Counts as Traffic
from mlinfra_lab.schema.common import JSON, now
from mlinfra_lab.schema.endpoints import Endpoint, HistoryEntry, Revision, Rollout
from mlinfra_lab.schema.monitoring import Alert, Baseline, Counts
from mlinfra_lab.storage import Unit, from_row, launches, to_row
from mlinfra_lab.storage.tables import (
    alerts,
    baselines,
    buckets,
    endpoints,
    feed,
    history,
    positions,
    quality,
    revisions,
    rollouts,
    tasks,
    traffic,
)

ALL = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
"""The minute of `traffic` that holds the sum of all others."""
BESIDE = "beside"
"""Column under which `quality` holds a candidate's losses beside those of another revision."""


class Bucket(msgspec.Struct, kw_only=True):
    """What one bucket holds of one revision; two are merged by adding.

    Attributes
    ----------
    columns
        By the baseline's columns, in their order.
    first, last
        Event times of the earliest and the latest row, seconds since the epoch.
    """

    rows: int
    columns: list[Counts]
    predicted: Counts
    first: float
    last: float


Sums = dict[str, float]
QualityKey = tuple[int, str, str, str]
"""Revision, bucket, column, value."""


def plus(one: Sums, other: Sums) -> Sums:
    """Two rows of ``quality`` together."""
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


# -- baselines ------------------------------------------------------------------------------------


def put_baseline(unit: Unit, endpoint: str, revision: int, baseline: Baseline) -> None:
    """Keep what a revision was trained on; one that is there stays, rows may be counted into its cells."""
    if baseline_of(unit.connection, endpoint, revision) is not None:
        return
    values = {
        "endpoint": endpoint,
        "revision": revision,
        "baseline": msgspec.to_builtins(baseline),
        "created": now(),
    }
    unit.put(baselines, values)
    unit.changed("monitor", endpoint, "updated")


def baseline_of(connection: sa.Connection, endpoint: str, revision: int) -> Baseline | None:
    """What a revision was trained on, once it is known."""
    query = sa.select(baselines.c.baseline).where(
        baselines.c.endpoint == endpoint, baselines.c.revision == revision
    )
    found = connection.execute(query).scalar()
    return None if found is None else msgspec.convert(found, Baseline)


def baseline_is_awaited(connection: sa.Connection, work: str, endpoint: str, revision: int) -> bool:
    """Whether the task that fetches a revision's baseline has not ended yet."""
    query = sa.select(tasks.c.args).where(tasks.c.work == work, tasks.c.state.in_(("queued", "running")))
    wanted = {"endpoint": endpoint, "number": revision}
    return any(wanted.items() <= row.args.items() for row in connection.execute(query))


# -- endpoints, read only -------------------------------------------------------------------------


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """What monitoring needs to know of an endpoint."""

    endpoint: Endpoint
    revisions: dict[int, Revision]
    rollout: Rollout | None


def watched(connection: sa.Connection, name: str | None = None) -> dict[str, Watched]:
    """Endpoints with all their revisions; one of them when it is named."""
    query = sa.select(endpoints).order_by(endpoints.c.name)
    numbers = sa.select(revisions).order_by(revisions.c.number)
    running = sa.select(rollouts).where(rollouts.c.state.in_(("starting", "running")))
    if name is not None:
        query = query.where(endpoints.c.name == name)
        numbers = numbers.where(revisions.c.endpoint == name)
        running = running.where(rollouts.c.endpoint == name)
    of: dict[str, dict[int, Revision]] = {}
    for row in connection.execute(numbers):
        of.setdefault(row.endpoint, {})[row.number] = from_row(row, Revision)
    going = {row.endpoint: from_row(row, Rollout) for row in connection.execute(running)}
    found = {}
    for row in connection.execute(query):
        one = from_row(row, Endpoint)
        found[one.name] = Watched(endpoint=one, revisions=of.get(one.name, {}), rollout=going.get(one.name))
    return found


def any_desired(connection: sa.Connection) -> bool:
    """Whether anything is to answer."""
    query = sa.select(endpoints.c.name).where(endpoints.c.desired).limit(1)
    return connection.execute(query).first() is not None


def is_current(connection: sa.Connection, token: str) -> bool:
    """Whether a launch is still this process's own to live by."""
    launch = launches.get(connection, token)
    return launch is not None and launch.state == "running"


def changes(connection: sa.Connection) -> int:
    """Revision of the change feed."""
    return int(connection.execute(sa.select(sa.func.max(feed.c.revision))).scalar() or 0)


# -- positions ------------------------------------------------------------------------------------


def all_positions(connection: sa.Connection) -> dict[tuple[str, str], tuple[int, int, JSON]]:
    """Segment, offset and detail by endpoint and stream."""
    rows = connection.execute(sa.select(positions))
    return {(row.endpoint, row.stream): (row.segment, row.offset, row.detail or {}) for row in rows}


def put_position(unit: Unit, endpoint: str, stream: str, segment: int, offset: int, detail: JSON) -> None:
    """How far a stream was read, in the unit with what was read."""
    values = {
        "endpoint": endpoint,
        "stream": stream,
        "segment": segment,
        "offset": offset,
        "detail": detail,
    }
    unit.put(positions, values)


# -- sums -----------------------------------------------------------------------------------------


def bucket(connection: sa.Connection, endpoint: str, revision: int, name: str) -> Bucket | None:
    """One bucket of one revision."""
    query = sa.select(buckets.c.rows, buckets.c.counts).where(
        buckets.c.endpoint == endpoint, buckets.c.revision == revision, buckets.c.bucket == name
    )
    row = connection.execute(query).first()
    return None if row is None else _bucket(row)


def put_bucket(unit: Unit, endpoint: str, revision: int, name: str, held: Bucket) -> None:
    """Write a bucket as it is now."""
    counts = msgspec.to_builtins(held)
    del counts["rows"]
    unit.put(
        buckets,
        {"endpoint": endpoint, "revision": revision, "bucket": name, "rows": held.rows, "counts": counts},
    )


def buckets_of(
    connection: sa.Connection, endpoint: str, revision: int | None = None, since: str | None = None
) -> dict[int, dict[str, Bucket]]:
    """An endpoint's buckets by revision and name.

    Parameters
    ----------
    since
        The first bucket that is wanted.
    """
    query = sa.select(buckets).where(buckets.c.endpoint == endpoint)
    if revision is not None:
        query = query.where(buckets.c.revision == revision)
    if since is not None:
        query = query.where(buckets.c.bucket >= since)
    found: dict[int, dict[str, Bucket]] = {}
    for row in connection.execute(query.order_by(buckets.c.revision, buckets.c.bucket)):
        found.setdefault(row.revision, {})[row.bucket] = _bucket(row)
    return found


def _bucket(row: Any) -> Bucket:
    return msgspec.convert({"rows": row.rows, **row.counts}, Bucket)


def add_quality(unit: Unit, endpoint: str, sums: dict[QualityKey, Sums]) -> None:
    """Add to the rows of ``quality``."""
    for (revision, name, column, value), more in sums.items():
        here = sa.and_(
            quality.c.endpoint == endpoint,
            quality.c.revision == revision,
            quality.c.bucket == name,
            quality.c.column == column,
            quality.c.value == value,
        )
        known = unit.connection.execute(sa.select(quality.c.sums).where(here)).scalar() or {}
        unit.put(
            quality,
            {
                "endpoint": endpoint,
                "revision": revision,
                "bucket": name,
                "column": column,
                "value": value,
                "sums": plus(known, more),
            },
        )


def quality_of(
    connection: sa.Connection, endpoint: str, revision: int | None = None, column: str | None = None
) -> dict[QualityKey, Sums]:
    """An endpoint's rows of ``quality``."""
    query = sa.select(quality).where(quality.c.endpoint == endpoint)
    if revision is not None:
        query = query.where(quality.c.revision == revision)
    if column is not None:
        query = query.where(quality.c.column == column)
    rows = connection.execute(query)
    return {(row.revision, row.bucket, row.column, row.value): row.sums for row in rows}


def add_traffic(unit: Unit, endpoint: str, revision: int, minute: dt.datetime, more: Traffic) -> None:
    """Add to a minute of a revision's traffic, and to all of it."""
    for when in (minute, ALL):
        here = sa.and_(
            traffic.c.endpoint == endpoint, traffic.c.revision == revision, traffic.c.minute == when
        )
        known = unit.connection.execute(sa.select(traffic.c.sums).where(here)).scalar()
        total = more if known is None else msgspec.convert(known, Traffic) + more
        values = {"endpoint": endpoint, "revision": revision, "minute": when}
        unit.put(traffic, values | {"sums": msgspec.to_builtins(total)})


def traffic_of(
    connection: sa.Connection, endpoint: str, since: dt.datetime
) -> tuple[dict[tuple[int, dt.datetime], Traffic], dict[int, Traffic]]:
    """An endpoint's traffic by revision and minute, and all that a revision ever had.

    Parameters
    ----------
    since
        The first minute that is wanted.
    """
    wanted = sa.or_(traffic.c.minute >= since, traffic.c.minute == ALL)
    query = sa.select(traffic).where(traffic.c.endpoint == endpoint, wanted).order_by(traffic.c.minute)
    minutes: dict[tuple[int, dt.datetime], Traffic] = {}
    whole: dict[int, Traffic] = {}
    for row in connection.execute(query):
        counts = msgspec.convert(row.sums, Traffic)
        if row.minute == ALL:
            whole[row.revision] = counts
        else:
            minutes[row.revision, row.minute] = counts
    return minutes, whole


def forget_minutes(unit: Unit, before: dt.datetime) -> None:
    """Drop the minutes before a moment; what they add up to stays."""
    old = sa.and_(traffic.c.minute < before, traffic.c.minute != ALL)
    unit.connection.execute(traffic.delete().where(old))


# -- history --------------------------------------------------------------------------------------


def history_of(connection: sa.Connection, endpoint: str, limit: int = 500) -> list[HistoryEntry]:
    """What happened to an endpoint, oldest first."""
    query = sa.select(history).where(history.c.endpoint == endpoint).order_by(history.c.number.desc())
    rows = connection.execute(query.limit(limit)).all()
    return [from_row(row, HistoryEntry) for row in reversed(rows)]


def remember(
    unit: Unit,
    endpoint: str,
    kind: str,
    message: str,
    revision: int | None,
    event_time: dt.datetime | None,
    detail: JSON | None = None,
) -> None:
    """Append to an endpoint's history."""
    unit.connection.execute(
        history.insert().values(
            endpoint=endpoint,
            at=now(),
            event_time=event_time,
            kind=kind,
            revision=revision,
            message=message,
            actor=unit.actor,
            detail=detail or {},
        )
    )


def seen_until(connection: sa.Connection, name: str) -> dt.datetime | None:
    """Newest event time that has been counted, but for what the future says; ``None`` before the first."""
    query = sa.select(buckets.c.counts).where(buckets.c.endpoint == name)
    ends = [row.counts["last"] for row in connection.execute(query)]
    limit = now() + dt.timedelta(days=1)
    found = max((end for end in ends if end <= limit.timestamp()), default=None)
    return None if found is None else dt.datetime.fromtimestamp(found, dt.UTC)


# -- alerts ---------------------------------------------------------------------------------------


def alerts_of(connection: sa.Connection, endpoint: str | None = None) -> list[Alert]:
    """Alerts, newest first."""
    query = sa.select(alerts).order_by(alerts.c.number.desc())
    if endpoint is not None:
        query = query.where(alerts.c.endpoint == endpoint)
    return [from_row(row, Alert) for row in connection.execute(query)]


def alert(connection: sa.Connection, number: int) -> Alert | None:
    """One alert."""
    if number >= 2**31:
        return None  # more than the column holds: asking for it would be an error
    row = connection.execute(sa.select(alerts).where(alerts.c.number == number)).first()
    return None if row is None else from_row(row, Alert)


def in_state(connection: sa.Connection, *states: str) -> list[Alert]:
    """Alerts in some states, oldest first."""
    query = sa.select(alerts).where(alerts.c.state.in_(states)).order_by(alerts.c.number)
    return [from_row(row, Alert) for row in connection.execute(query)]


def add_alert(unit: Unit, new: Alert) -> int:
    """Write an alert; returns the number it got."""
    values = to_row(new, alerts)
    del values["number"]
    written = unit.connection.execute(alerts.insert().values(**values).returning(alerts.c.number))
    number = int(written.scalar_one())
    unit.changed("alert", str(number), "created")
    unit.changed("monitor", new.endpoint, "updated")
    return number


def update_alert(unit: Unit, seen: Alert, **values: Any) -> bool:
    """Change an alert that is in the state it was seen in; false when it is no longer."""
    done = unit.connection.execute(
        alerts.update().where(alerts.c.number == seen.number, alerts.c.state == seen.state).values(**values)
    )
    if done.rowcount:
        unit.changed("alert", str(seen.number), "updated")
        unit.changed("monitor", seen.endpoint, "updated")
    return done.rowcount == 1
