"""The tables. Column names are the field names of the Structs in ``schema``."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

metadata = sa.MetaData()


class Moment(TypeDecorator[dt.datetime]):
    """An aware moment, kept as ISO text in UTC so that it sorts and reads the same everywhere."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Any) -> str | None:
        """To text with microseconds always there, so that text order is time order."""
        return None if value is None else value.astimezone(dt.UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, dialect: Any) -> dt.datetime | None:
        """Back to an aware datetime."""
        return None if value is None else dt.datetime.fromisoformat(value)


class Json(TypeDecorator[Any]):
    """Any JSON value, kept as text: read by msgspec, the same on both databases."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> str | None:
        """To text; ``None`` stays NULL."""
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Any) -> Any:
        """Back to plain lists and dictionaries."""
        return None if value is None else msgspec.json.decode(value)


def _text(name: str, **options: Any) -> sa.Column[str]:
    return sa.Column(name, sa.Text, **options)


meta = sa.Table("meta", metadata, _text("key", primary_key=True), _text("value", nullable=False))

feed = sa.Table(
    "feed",
    metadata,
    sa.Column("revision", sa.Integer, primary_key=True, autoincrement=True),
    _text("resource", nullable=False),
    _text("id", nullable=False),
    _text("change", nullable=False),
    sa.Column("at", Moment, nullable=False),
    sqlite_autoincrement=True,
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", Moment, nullable=False),
    _text("actor", nullable=False),
    _text("action", nullable=False),
    _text("resource", nullable=False),
    _text("id", nullable=False),
    sa.Column("detail", Json),
    sqlite_autoincrement=True,
)

edges = sa.Table(
    "edges",
    metadata,
    _text("source_kind", primary_key=True),
    _text("source", primary_key=True),
    _text("target_kind", primary_key=True),
    _text("target", primary_key=True),
    _text("relation", primary_key=True),
    sa.Column("detail", Json, nullable=False),
    sa.Column("at", Moment, nullable=False),
    sa.Index("edges_by_target", "target_kind", "target"),
)

launches = sa.Table(
    "launches",
    metadata,
    _text("token", primary_key=True),
    _text("kind", nullable=False),
    _text("owner", nullable=False),
    _text("state", nullable=False, index=True),
    sa.Column("created", Moment, nullable=False),
    _text("host"),
    _text("boot"),
    sa.Column("pid", sa.Integer),
    sa.Column("started", sa.Double),
    sa.Column("claimed", Moment),
    sa.Column("ended", Moment),
    sa.Column("info", Json, nullable=False),
    sa.Column("outcome", Json),
    sa.Index("launches_by_owner", "kind", "owner"),
)

tasks = sa.Table(
    "tasks",
    metadata,
    _text("id", primary_key=True),
    _text("work", nullable=False),
    _text("key", nullable=False),
    _text("state", nullable=False, index=True),
    sa.Column("args", Json, nullable=False),
    sa.Column("idempotent", sa.Boolean, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("result", Json),
    sa.Column("error", Json),
    _text("launch"),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    sa.Column("created", Moment, nullable=False, index=True),
    _text("created_by", nullable=False),
    sa.Column("started", Moment),
    sa.Column("ended", Moment),
)

environments = sa.Table(
    "environments",
    metadata,
    _text("hash", primary_key=True),
    _text("python", nullable=False),
    _text("platform", nullable=False),
    sa.Column("packages", Json, nullable=False),
    sa.Column("created", Moment, nullable=False),
)

dataset_versions = sa.Table(
    "dataset_versions",
    metadata,
    _text("dataset", primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    _text("path", nullable=False),
    _text("md5", nullable=False),
    _text("commit", nullable=False),
    sa.Column("files", sa.BigInteger, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("rows", sa.BigInteger),
    sa.Column("columns", Json, nullable=False),
    _text("message"),
    sa.Column("created", Moment, nullable=False),
    _text("created_by", nullable=False),
)

clusters = sa.Table(
    "clusters",
    metadata,
    _text("name", primary_key=True),
    _text("backend", nullable=False),
    sa.Column("config", Json, nullable=False),
    sa.Column("desired", sa.Boolean, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    _text("state", nullable=False),
    sa.Column("workers", sa.Integer, nullable=False),
    sa.Column("connected", sa.Integer, nullable=False),
    _text("address"),
    _text("dashboard"),
    _text("reason"),
    sa.Column("changed", Moment),
)

jobs = sa.Table(
    "jobs",
    metadata,
    _text("id", primary_key=True),
    _text("notebook", nullable=False),
    _text("output", nullable=False),
    sa.Column("parameters", Json, nullable=False),
    _text("kernel", nullable=False),
    _text("state", nullable=False, index=True),
    _text("source_md5", nullable=False),
    _text("commit"),
    sa.Column("dirty", sa.Boolean, nullable=False),
    _text("environment"),
    sa.Column("timeout", sa.Double),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    sa.Column("exit_code", sa.Integer),
    sa.Column("error", Json),
    sa.Column("runs", Json, nullable=False),
    _text("launch"),
    _text("cause"),
    sa.Column("conditions", Json),
    sa.Column("created", Moment, nullable=False, index=True),
    _text("created_by", nullable=False),
    sa.Column("started", Moment),
    sa.Column("ended", Moment),
)

endpoints = sa.Table(
    "endpoints",
    metadata,
    _text("name", primary_key=True),
    sa.Column("desired", sa.Boolean, nullable=False),
    _text("state", nullable=False),
    sa.Column("wanted", sa.Integer, nullable=False),
    sa.Column("serving", sa.Integer),
    sa.Column("previous", sa.Integer),
    _text("url"),
    _text("reason"),
    sa.Column("created", Moment, nullable=False),
    sa.Column("changed", Moment, nullable=False),
)

revisions = sa.Table(
    "revisions",
    metadata,
    _text("endpoint", primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    _text("model", nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    _text("run"),
    _text("alias"),
    _text("state", nullable=False),
    _text("model_path"),
    sa.Column("columns", Json, nullable=False),
    sa.Column("tensor", Json),
    sa.Column("example", Json),
    _text("error"),
    sa.Column("created", Moment, nullable=False),
    _text("created_by", nullable=False),
)

rollouts = sa.Table(
    "rollouts",
    metadata,
    _text("id", primary_key=True),
    _text("endpoint", nullable=False, index=True),
    sa.Column("stable", sa.Integer, nullable=False),
    sa.Column("candidate", sa.Integer, nullable=False),
    _text("state", nullable=False),
    sa.Column("steps", Json, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("share", sa.Double, nullable=False),
    sa.Column("gates", Json, nullable=False),
    sa.Column("results", Json, nullable=False),
    sa.Column("seen", Json),
    _text("alias"),
    _text("cause"),
    _text("reason"),
    sa.Column("evaluated", Moment),
    sa.Column("stepped", Moment),
    sa.Column("created", Moment, nullable=False),
    _text("created_by", nullable=False),
    sa.Column("ended", Moment),
)

history = sa.Table(
    "history",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    _text("endpoint", nullable=False, index=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("event_time", Moment),
    _text("kind", nullable=False),
    sa.Column("revision", sa.Integer),
    _text("message", nullable=False),
    _text("actor", nullable=False),
    sa.Column("detail", Json, nullable=False),
    sqlite_autoincrement=True,
)

# -- monitoring -----------------------------------------------------------------------------------
# Everything below is sums, so that windows merge by adding and nothing is ever read twice.

baselines = sa.Table(
    "baselines",
    metadata,
    _text("endpoint", primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("baseline", Json, nullable=False),
    sa.Column("created", Moment, nullable=False),
)

# How far each segment, truth log and the front's counters have been read; moves on in the same unit as the
# sums.
positions = sa.Table(
    "positions",
    metadata,
    _text("endpoint", primary_key=True),
    _text("stream", primary_key=True),
    sa.Column("segment", sa.Integer, nullable=False),
    sa.Column("offset", sa.BigInteger, nullable=False),
    sa.Column("detail", Json),
)

# By the clock: what was asked, and how it was answered.
traffic = sa.Table(
    "traffic",
    metadata,
    _text("endpoint", primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("minute", Moment, primary_key=True),
    sa.Column("sums", Json, nullable=False),
)

# By event time, in buckets (`2013-04-09`, or `#000012` where windows are cut by count).
buckets = sa.Table(
    "buckets",
    metadata,
    _text("endpoint", primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
    _text("bucket", primary_key=True),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("counts", Json, nullable=False),
)

quality = sa.Table(
    "quality",
    metadata,
    _text("endpoint", primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
    _text("bucket", primary_key=True),
    _text("column", primary_key=True),
    _text("value", primary_key=True),
    sa.Column("sums", Json, nullable=False),
)

alerts = sa.Table(
    "alerts",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    _text("endpoint", nullable=False, index=True),
    sa.Column("revision", sa.Integer, nullable=False),
    _text("rule", nullable=False),
    _text("state", nullable=False),
    sa.Column("since", Moment, nullable=False),
    sa.Column("until", Moment),
    sa.Column("raised", Moment, nullable=False),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("limit", sa.Double, nullable=False),
    _text("message", nullable=False),
    sa.Column("explains", Json, nullable=False),
    sa.Column("detail", Json, nullable=False),
    _text("acknowledged_by"),
    _text("job"),
    _text("model"),
    _text("error"),
    sa.Column("acted", Moment),
    sa.Column("closed", Moment),
    sqlite_autoincrement=True,
)
