"""What starts must start light: which modules each face has loaded when it is done."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from support import write_notebook

from mlinfra_lab.project import Project

HEAVY = (
    "mlflow",
    "dask",
    "distributed",
    "dvc",
    "torch",
    "sklearn",
    "pandas",
    "pyarrow",
    "papermill",
    "numpy",
)
_RUN = """
import sys
from mlinfra_lab.cli import main
try:
    main({arguments!r})
except SystemExit as end:
    assert end.code in (0, None), end.code
print(*sorted(sys.modules), file=sys.stderr)
"""


def loaded(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return {name.split(".")[0] for name in done.stderr.splitlines()[-1].split()}


def test_importing_the_package_loads_nothing_but_itself() -> None:
    code = (
        "import sys; before = set(sys.modules); import mlinfra_lab; "
        "print(*(set(sys.modules) - before), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = {name.split(".")[0] for name in done.stderr.split()}
    assert found - set(sys.stdlib_module_names) == {"mlinfra_lab"}


def test_help_loads_neither_the_database_nor_the_vocabulary() -> None:
    modules = loaded(_RUN.format(arguments=["--help"]))
    assert not modules & {*HEAVY, "sqlalchemy", "msgspec", "rich", "psutil", "IPython"}


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["job", "list"], ["runs", "list"], ["data", "list"], ["model", "list"], ["endpoint", "list"],
     ["cluster", "list"]],
    ids=" ".join,
)  # fmt: skip
def test_reading_loads_nothing_heavy(project: Project, arguments: list[str]) -> None:
    modules = loaded(_RUN.format(arguments=["--project", str(project.root), *arguments]))
    assert not modules & {*HEAVY, "alembic", "IPython", "tornado"}


def test_submitting_loads_nothing_heavy(make_project: Callable[..., Project]) -> None:
    project = make_project()
    notebook = write_notebook(project.root / "a.ipynb", ["1"], "x = 1")
    words = ["--project", str(project.root), "job", "run", str(notebook), "-p", "x", "2"]
    assert not loaded(_RUN.format(arguments=words)) & {*HEAVY, "alembic", "IPython", "tornado", "nbformat"}
