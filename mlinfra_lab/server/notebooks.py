"""The notebook of the page: the one that came with us, or the project's own."""

from __future__ import annotations

import json
from pathlib import Path

from mlinfra_lab.errors import MLInfraError
from mlinfra_lab.initialise import notebooks_dir
from mlinfra_lab.project import Project

NOTEBOOK = "notebooks/monitoring/endpoint.ipynb"


def own_notebook(project: Project) -> Path | None:
    """The project's own notebook of the page, where it has one."""
    own = project.root / NOTEBOOK
    return own if own.is_file() else None


def shipped_notebook() -> Path:
    """The one that came with us."""
    return notebooks_dir() / "monitoring" / "endpoint.ipynb"


def was_changed(project: Project) -> bool:
    """Whether the project's own notebook says something else than the one that came with us."""
    own = own_notebook(project)
    if own is None:
        return False
    try:
        return _sources(own) != _sources(shipped_notebook())
    except (OSError, ValueError, KeyError, MLInfraError):
        return True  # running it will say what is wrong with it


def _sources(path: Path) -> list[tuple[str, str]]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
