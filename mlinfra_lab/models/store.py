"""MLflow's model registry as it stands in a SQLite file, read directly.

For the reason that `mlinfra_lab.runs.store` gives, and held against `MlflowClient`'s answers in the same way.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from typing import Any
from urllib.parse import unquote

from mlinfra_lab.schema.models import Model, ModelVersion

# MLflow keeps a deleted version's row, and keeps prompts in the same tables.
_VERSIONS = """
SELECT v.name, v.version, v.source, v.run_id, v.creation_time
FROM model_versions v
WHERE v.workspace = 'default' AND v.current_stage <> 'Deleted_Internal'
"""
_NAMES = """
SELECT m.name FROM registered_models m
WHERE m.workspace = 'default' AND NOT EXISTS (
    SELECT 1 FROM registered_model_tags t
    WHERE t.workspace = m.workspace AND t.name = m.name
      AND t.key = 'mlflow.prompt.is_prompt' AND lower(t.value) = 'true')
"""


def models(connection: sqlite3.Connection) -> list[Model]:
    """All registered models by name, each with its versions, newest first."""
    names = [name for (name,) in connection.execute(f"{_NAMES} ORDER BY m.name")]
    aliases = _aliases(connection)
    versions: dict[str, list[ModelVersion]] = {name: [] for name in names}
    for row in connection.execute(f"{_VERSIONS} ORDER BY v.name, v.version DESC"):
        if row[0] in versions:
            versions[row[0]].append(_version(row, aliases.get(row[0], {})))
    return [Model(name=name, versions=tuple(versions[name]), aliases=aliases.get(name, {})) for name in names]


def model(connection: sqlite3.Connection, name: str) -> Model | None:
    """One registered model."""
    if connection.execute(f"{_NAMES} AND m.name = ?", (name,)).fetchone() is None:
        return None
    aliases = _aliases(connection, name).get(name, {})
    rows = connection.execute(f"{_VERSIONS} AND v.name = ? ORDER BY v.version DESC", (name,))
    return Model(name=name, versions=tuple(_version(row, aliases) for row in rows), aliases=aliases)


def names(connection: sqlite3.Connection) -> list[str]:
    """Names of all registered models."""
    return [name for (name,) in connection.execute(f"{_NAMES} ORDER BY m.name")]


def place(connection: sqlite3.Connection, version: ModelVersion) -> tuple[str | None, str | None]:
    """Where a version's files lie, and the run that made them according to the store itself.

    The run that a version names is whatever its author said. So for a logged model it is the logged
    model's own; for files of a run it is the run in whose artifacts they lie.
    """
    row = connection.execute(
        "SELECT source, storage_location FROM model_versions"
        " WHERE workspace = 'default' AND name = ? AND version = ?",
        (version.name, version.version),
    ).fetchone()
    if row is None:
        return None, None
    source, location = row
    location = location or source
    if source.startswith("models:/m-"):
        logged = connection.execute(
            "SELECT artifact_location, source_run_id FROM logged_models WHERE model_id = ?",
            (source.removeprefix("models:/"),),
        ).fetchone()
        return (None, None) if logged is None else (location if location == logged[0] else None, logged[1])
    run = connection.execute("SELECT artifact_uri FROM runs WHERE run_uuid = ?", (version.run,)).fetchone()
    if run is not None and run[0] and below(location, run[0]):
        return location, version.run
    return location, None


def below(location: str, folder: str) -> bool:
    """Whether a place, path or URI, lies in a folder, judged by its text and without a step upwards."""
    return location.startswith(folder.rstrip("/") + "/") and ".." not in unquote(location).split("/")


def _aliases(connection: sqlite3.Connection, name: str | None = None) -> dict[str, dict[str, int]]:
    query = "SELECT name, alias, version FROM registered_model_aliases WHERE workspace = 'default'"
    rows = connection.execute(
        f"{query} ORDER BY alias" if name is None else f"{query} AND name = ? ORDER BY alias",
        () if name is None else (name,),
    )
    found: dict[str, dict[str, int]] = {}
    for model, alias, version in rows:
        found.setdefault(model, {})[alias] = version
    return found


def _version(row: tuple[Any, ...], aliases: dict[str, int]) -> ModelVersion:
    name, version, source, run, created = row
    return ModelVersion(
        name=name,
        version=version,
        source=source or "",
        run=run or None,
        aliases=tuple(alias for alias, at in aliases.items() if at == version),
        created=dt.datetime.fromtimestamp(created / 1000, dt.UTC),
    )
