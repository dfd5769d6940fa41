"""MLflow's runs as they stand in its SQLite file, read directly.

MLflow's client needs seconds to be imported and 20 ms for a page of runs; this needs neither. Nothing is
written here: other people's stores are written through their own client. A test holds what is read here
against `MlflowClient`'s answers.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlinfra_lab.errors import Conflict, Unavailable
from mlinfra_lab.schema.runs import LoggedModel, Run

JOB_TAG = "mlinfra.job"
_CHUNK = 500  # SQLite takes a limited number of parameters in one statement
# CROSS JOIN keeps SQLite from reading all runs once for each experiment.
_RUN = """
SELECT r.run_uuid, r.name, e.name, r.status, r.start_time, r.end_time
FROM runs r CROSS JOIN experiments e ON e.experiment_id = r.experiment_id
"""
_OF_TAG = """
WHERE r.run_uuid IN (SELECT run_uuid FROM tags WHERE key = ? AND value = ?) AND r.lifecycle_stage = 'active'
ORDER BY r.start_time, r.run_uuid
"""
# In the order of MLflow's own search when none is asked for.
_NEWEST = """
SELECT run_uuid FROM runs
WHERE lifecycle_stage = 'active' AND experiment_id IN (SELECT experiment_id FROM experiments WHERE {})
ORDER BY start_time DESC, run_uuid LIMIT ?
"""


class SqliteStore:
    """An MLflow store in a SQLite file, read only.

    Parameters
    ----------
    path
        The file; while it does not exist the store is empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"SqliteStore({str(self.path)!r})"

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection | None]:
        """A connection that sees one consistent state; ``None`` while there is no store.

        Raises
        ------
        Conflict
            The file has another schema than we read: a version of MLflow too old, or not MLflow's at all.
        Unavailable
            The file cannot be read.
        """
        if not self.path.exists():
            yield None
            return
        try:
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=ro", uri=True, timeout=10, isolation_level=None
            )
            try:
                # A connection lives for one question, so it must not read the whole file into a cache first.
                connection.execute("PRAGMA mmap_size = 1073741824")
                connection.execute("BEGIN")
                yield connection
            finally:
                connection.close()
        except sqlite3.OperationalError as error:
            if str(error).startswith("no such"):
                raise Conflict(
                    f"{self.path} is no MLflow store of this MLflow's schema ({error}).",
                    f"Bring it up to date: mlflow db upgrade sqlite:///{self.path}",
                ) from error
            raise Unavailable(f"MLflow's store {self.path} cannot be read: {error}.") from error
        except sqlite3.DatabaseError as error:
            raise Unavailable(f"MLflow's store {self.path} cannot be read: {error}.") from error

    def experiment(self, name: str) -> str | None:
        """Id of an experiment that is not deleted, if there is one of that name."""
        with self.read() as connection:
            if connection is None:
                return None
            row = connection.execute(
                "SELECT experiment_id FROM experiments WHERE name = ? AND lifecycle_stage = 'active'", (name,)
            ).fetchone()
        return None if row is None else str(row[0])

    def newest(self, limit: int, experiment: str | None = None) -> list[Run]:
        """The newest runs that are not deleted, of one experiment (by name) or of all."""
        which = ("lifecycle_stage = ?", "active") if experiment is None else ("name = ?", experiment)
        with self.read() as connection:
            if connection is None:
                return []
            rows = connection.execute(_NEWEST.format(which[0]), (which[1], limit))
            return _by_id(connection, [id for (id,) in rows])

    def get(self, ids: Iterable[str]) -> list[Run]:
        """Runs by their full ids, deleted ones too, in the order asked for; unknown ids are left out."""
        wanted = list(ids)
        with self.read() as connection:
            if connection is None:
                return []
            return _by_id(connection, wanted)

    def matching(self, prefix: str, limit: int) -> list[str]:
        """Ids that begin with ``prefix`` (plain letters and digits), of runs that are not deleted."""
        with self.read() as connection:
            if connection is None:
                return []
            rows = connection.execute(
                "SELECT run_uuid FROM runs"
                " WHERE run_uuid >= ? AND run_uuid < ? AND lifecycle_stage = 'active'"
                " ORDER BY start_time DESC, run_uuid LIMIT ?",
                (prefix, prefix + "\x7f", limit),
            )
            return [id for (id,) in rows]

    def of_job(self, job: str) -> list[Run]:
        """The runs that a job started, oldest first."""
        with self.read() as connection:
            if connection is None:
                return []
            return _filled(connection, connection.execute(_RUN + _OF_TAG, (JOB_TAG, job)))

    def logged_models(self, run: str) -> list[LoggedModel]:
        """The models that a run logged and that are not deleted, oldest first."""
        with self.read() as connection:
            if connection is None:
                return []
            rows = connection.execute(
                "SELECT model_id, name, creation_timestamp_ms, artifact_location, source_run_id"
                " FROM logged_models WHERE source_run_id = ? AND lifecycle_stage = 'active'"
                " ORDER BY creation_timestamp_ms, model_id",
                (run,),
            )
            return [_logged(row) for row in rows]


def _logged(row: tuple[Any, ...]) -> LoggedModel:
    id, name, created, location, run = row
    return LoggedModel(id=id, name=name, created=moment(created), location=location, run=run)


def _by_id(connection: sqlite3.Connection, ids: Sequence[str]) -> list[Run]:
    """The runs of these ids that there are, in this order."""
    rows: list[tuple[Any, ...]] = []
    for part in _chunks(ids):
        rows += connection.execute(f"{_RUN} WHERE r.run_uuid IN ({_marks(part)})", part)
    found = {run.id: run for run in _filled(connection, rows)}
    return [found[id] for id in ids if id in found]


def _filled(connection: sqlite3.Connection, rows: Iterable[tuple[Any, ...]]) -> list[Run]:
    """Runs with their parameters, latest metrics and tags."""
    heads = list(rows)
    ids = [row[0] for row in heads]
    params = _by_run(connection, "SELECT run_uuid, key, value FROM params", ids)
    tags = _by_run(connection, "SELECT run_uuid, key, value FROM tags", ids)
    metrics = _by_run(
        # MLflow writes a NaN as 0 with a mark (and an infinity as the largest float, which stays that).
        connection,
        "SELECT run_uuid, key, CASE WHEN is_nan THEN NULL ELSE value END FROM latest_metrics",
        ids,
    )
    runs = []
    for id, name, experiment, status, started, ended in heads:
        own = tags.get(id, {})
        runs.append(
            Run(
                id=id,
                name=name or own.get("mlflow.runName", ""),
                experiment=experiment,
                status=status,
                started=None if started is None else moment(started),
                ended=None if ended is None else moment(ended),
                params=params.get(id, {}),
                metrics={
                    key: float("nan") if value is None else value
                    for key, value in metrics.get(id, {}).items()
                },
                tags=own,
                job=own.get(JOB_TAG),
            )
        )
    return runs


def _by_run(connection: sqlite3.Connection, select: str, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for part in _chunks(ids):
        for id, key, value in connection.execute(f"{select} WHERE run_uuid IN ({_marks(part)})", part):
            found.setdefault(id, {})[key] = value
    return {id: dict(sorted(values.items())) for id, values in found.items()}


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))


def moment(milliseconds: int) -> dt.datetime:
    """MLflow's milliseconds since the epoch as an aware moment."""
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)
