"""Both databases: SQLite in a folder, and a real PostgreSQL that is started for the tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from mlinfra_lab.storage import Storage

_NUMBER = itertools.count()


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """An empty, migrated database of each kind."""
    url = None
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres")
        name = f"contract{next(_NUMBER)}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        url = server.replace("/postgres?", f"/{name}?")
    storage = Storage(tmp_path, url)
    storage.migrate()
    yield storage
    storage.close()
