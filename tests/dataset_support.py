"""Datasets in tests: files to make versions of, and versions made without a worker."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path

import pandas as pd

from mlinfra_lab.data import work
from mlinfra_lab.project import Project
from mlinfra_lab.schema.common import JSON
from mlinfra_lab.schema.data import DatasetVersion
from mlinfra_lab.storage.tables import edges as table
from mlinfra_lab.tasks import Report


def run(folder: Path, *command: str) -> str:
    """What a command says; ``dvc`` is the one of this environment."""
    if command[0] == "dvc":
        command = (sys.executable, "-m", *command)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


def frame(rows: int, start: int = 0) -> pd.DataFrame:
    """A small table; ``rows`` must be even."""
    return pd.DataFrame({"flight": range(start, start + rows), "carrier": ["AA", "UA"] * (rows // 2)})


def put(project: Project, name: str, rows: int = 10, start: int = 0) -> Path:
    """Write a table into the project as Parquet."""
    path = project.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    frame(rows, start).to_parquet(path)
    return path


def asked(name: str, path: str, intent: str | None = None) -> JSON:
    """What the service gives a task worker."""
    return {"name": name, "path": path, "intent": intent or uuid.uuid4().hex, "actor": "ada", "message": None}


def quiet(project: Project) -> Report:
    """A report that nobody reads and nobody cancels."""
    return Report(project.state / "run" / "report.json", lambda: False)


def snapshot(project: Project, path: str, name: str = "flights", intent: str | None = None) -> DatasetVersion:
    """Make a version in this process, as a task worker does."""
    return work.snapshot(project, asked(name, path, intent), quiet(project))


def objects(project: Project) -> list[Path]:
    """The objects in DVC's cache."""
    return sorted(file for file in (project.root / ".dvc/cache/files").rglob("*") if file.is_file())


def add_remote(dvc: Path, remote: Path) -> None:
    """Set up a remote, as `dvc remote add -d` does."""
    with (dvc / ".dvc" / "config").open("a") as file:
        file.write(f"[core]\n    remote = store\n['remote \"store\"']\n    url = {remote}\n")


def edges(project: Project, version: DatasetVersion) -> list[tuple[str, str, str]]:
    """The recorded edges at a version."""
    with project.storage.read() as connection:
        rows = connection.execute(table.select()).all()
    return [
        (row.source_kind, row.source, row.target) for row in rows if version.ref in (row.source, row.target)
    ]
