"""Mending the absolute locations in an MLflow store that was copied or moved.

MLflow writes the full path of every run's and model's files into its rows. A copied project would read,
and worse, write the original's. MLflow has no command for this, so the columns are rewritten here.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("workspaces", "default_artifact_root"),
    ("workspaces", "trace_archival_location"),
)
"""Every column of MLflow's tables that says where files lie. (A dataset's source is history: it stays.)"""

_KEYS = {"artifact_location", "artifact_uri", "source", "storage_location"}
TRACE_TAG = "mlflow.artifactLocation"


def relocate(store: Path, old_root: Path, new_root: Path) -> int:
    """Rewrite locations below ``old_root`` to the same place below ``new_root``, in one transaction.

    Locations elsewhere (object stores, other folders) stay. Doing it again changes nothing.

    Parameters
    ----------
    store
        MLflow's SQLite file; nothing happens while there is none.

    Returns
    -------
    int
        Places that were rewritten.
    """
    if not store.exists() or old_root == new_root:
        return 0
    connection = sqlite3.connect(store, timeout=30, isolation_level=None)
    try:
        connection.create_function("mended", 1, _Mender(old_root, new_root), deterministic=True)
        connection.execute("BEGIN IMMEDIATE")
        changed = 0
        for table, column in COLUMNS:
            if _has(connection, table, column):
                changed += _mend(connection, table, column)
        if _has(connection, "trace_tags", "value"):
            changed += _mend(connection, "trace_tags", "value", f"AND key = '{TRACE_TAG}'")
        connection.execute("COMMIT")
    finally:
        # Closing without a commit takes everything back.
        connection.close()
    return changed


def relocate_files(store: Path, old_root: Path, new_root: Path) -> int:
    """`relocate` for MLflow's old kind of store, a folder with a ``meta.yaml`` for everything in it."""
    mended = _Mender(old_root, new_root)
    changed = 0
    for path in sorted(store.rglob("meta.yaml")):
        before = path.read_text(encoding="utf-8").splitlines(keepends=True)
        after = [_mended_line(line, mended) for line in before]
        if after != before:
            changed += sum(one != other for one, other in zip(after, before, strict=True))
            beside = path.with_name("meta.yaml.new")
            beside.write_text("".join(after), encoding="utf-8")
            beside.replace(path)
    return changed


def _mended_line(line: str, mended: _Mender) -> str:
    key, colon, value = line.partition(": ")
    return f"{key}{colon}{mended(value.strip())}\n" if key in _KEYS else line


def _mend(connection: sqlite3.Connection, table: str, column: str, also: str = "") -> int:
    # The names are this module's own.
    mend = f"UPDATE {table} SET {column} = mended({column}) WHERE {column} <> mended({column}) {also}"  # noqa: S608
    return connection.execute(mend).rowcount


def _has(connection: sqlite3.Connection, table: str, column: str) -> bool:
    # Not every version of MLflow has every table.
    return any(row[1] == column for row in connection.execute(f"PRAGMA table_info({table})"))


class _Mender:
    def __init__(self, old: Path, new: Path) -> None:
        # As MLflow writes places: a bare path, and the two ways to write it as a URI.
        forms = [(str(old), str(new)), (old.as_uri(), new.as_uri())]
        forms += [(f"file:{old}", f"file:{new}"), (f"file://{old}", f"file://{new}")]
        self._forms = list(dict.fromkeys(forms))

    def __call__(self, value: str | None) -> str | None:
        if value is None:
            return None
        for old, new in self._forms:
            # A copy inside the original has the old root as its own beginning and must not be mended twice.
            if _below(value, new) and new.startswith(old):
                return value
            if _below(value, old):
                return new + value[len(old) :]
        return value


def _below(value: str, root: str) -> bool:
    return value == root or value.startswith(root + "/")
