"""mlinfra-lab: the whole life of a machine-learning model without leaving JupyterLab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlinfra_lab.version import __version__

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from mlinfra_lab.project import Project

__all__ = ["Project", "__version__", "load_ipython_extension"]


def __getattr__(name: str) -> Any:
    # Importing the package must cost nothing; the project (and SQLAlchemy behind it) comes when named.
    if name == "Project":
        from mlinfra_lab.project import Project

        return Project
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_ipython_extension(shell: InteractiveShell) -> None:
    """``%load_ext mlinfra_lab``: the magics."""
    from mlinfra_lab import magics

    magics.load(shell)
