"""What several tests need: waiting on conditions, notebooks, and what lives."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import nbformat
import psutil

from mlinfra_lab.project import Project
from mlinfra_lab.storage import launches

T = TypeVar("T")

SEED = int(os.environ.get("MLINFRA_SEED") or random.SystemRandom().randrange(10**6))
"""What the moments of the fault tests are drawn from; printed at the head of each test run."""
os.environ["MLINFRA_SEED"] = str(SEED)  # so that every process of this run draws the same
ALL = os.environ.get("MLINFRA_FAULTS") == "all"
"""Whether the whole matrix of faults is run, and not one draw of it."""
_PAUSE = threading.Event()


def eventually(condition: Callable[[], T], timeout: float = 30.0, what: str = "") -> T:
    """Wait until ``condition()`` is true and return what it gave.

    Raises
    ------
    AssertionError
        When the time is over.
    """
    end = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, what or f"not within {timeout:g} s: {condition}"
        _PAUSE.wait(0.05)


def write_notebook(
    path: Path, cells: Sequence[str], parameters: str | None = None, kernel: str | None = "python3"
) -> Path:
    """A notebook of code cells; the first is the ``parameters`` cell where one is given."""
    notebook = nbformat.v4.new_notebook()
    if kernel is not None:
        notebook.metadata.kernelspec = {"name": kernel, "display_name": kernel, "language": "python"}
    if parameters is not None:
        cell = nbformat.v4.new_code_cell(parameters)
        cell.metadata.tags = ["parameters"]
        notebook.cells.append(cell)
    notebook.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def outputs(path: Path) -> str:
    """All text a notebook's cells printed."""
    notebook = json.loads(path.read_text())
    texts: list[str] = []
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            text: Any = output.get("text", output.get("data", {}).get("text/plain", ""))
            texts.append("".join(text))
    return "\n".join(texts)


def kill(victim: psutil.Process | None) -> None:
    """SIGKILL, and wait until it is gone."""
    assert victim is not None
    victim.kill()
    psutil.wait_procs([victim], timeout=10)


def process(project: Project, kind: str, owner: str | None = None) -> psutil.Process | None:
    """The living process of a launch, once it has claimed."""
    with project.storage.read() as connection:
        for launch in launches.opened(connection, [kind]):
            if launch.state == "running" and owner in (None, launch.owner) and launches.alive(launch):
                assert launch.pid is not None
                return psutil.Process(launch.pid)
    return None


def processes_of(root: Path) -> list[psutil.Process]:
    """Every process whose command line or environment names a project's folder."""
    found = []
    for one in psutil.process_iter():
        try:
            named = str(root) in one.cmdline() or one.environ().get("MLINFRA_PROJECT") == str(root)
            if named and one.pid != psutil.Process().pid and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
        except psutil.Error:
            continue
    return found
