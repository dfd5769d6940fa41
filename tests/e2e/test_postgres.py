"""A project whose rows are in PostgreSQL: jobs and tasks go the same way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from support import write_notebook

from mlinfra_lab.project import Project

pytestmark = pytest.mark.slow


def test_a_project_lives_in_postgresql(
    postgres: str,
    make_project: Callable[..., Project],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE team")
    monkeypatch.setenv("MLINFRA_DATABASE", postgres.replace("/postgres?", "/team?"))
    project = make_project()
    assert project.storage.dialect == "postgresql"
    data = project.root / "data.csv"
    data.write_text("a\n1\n2\n")
    assert project.data.snapshot(data).wait(120).rows == 2
    done = project.jobs.submit(write_notebook(project.root / "a.ipynb", ["1"])).wait(120)
    assert done.job.state == "succeeded"
    assert not (project.state / "mlinfra.db").exists()
    # A colleague's checkout of the same project: the database has one controller, not two.
    other = Project(_checkout(project.root, tmp_path / "colleague"))
    assert [job.id for job in other.jobs.list()] == [done.job.id]
    left = subprocess.run(
        [sys.executable, "-m", "mlinfra_lab.controller", "--project", str(other.root)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert left.returncode == 0
    assert "on another machine" in left.stderr
    other.close()


def _checkout(root: Path, target: Path) -> Path:
    target.mkdir()
    (target / "mlinfra.toml").write_bytes((root / "mlinfra.toml").read_bytes())
    return target
