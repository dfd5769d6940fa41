"""``%data %cluster %job %runs %model %endpoint %lineage``: the shell's own commands, in a notebook.

A line goes to the very click command that the shell runs; what it returns is the cell's result, a plain
Python object that displays richly.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["load"]


def load(shell: InteractiveShell) -> None:
    """Register the magics, their completion, and how results look.

    Parameters
    ----------
    shell
        The kernel's IPython; loading twice changes nothing.
    """
    from mlinfra_lab.magics.register import register

    register(shell)
    _use_the_project_s_store()


def _use_the_project_s_store() -> None:
    """Plain MLflow code of this notebook logs where the project looks, and its runs say whose they are.

    What the person has set already stays as it is.
    """
    from mlinfra_lab.errors import MLInfraError
    from mlinfra_lab.project import Project

    try:
        project = Project.find()
    except MLInfraError:
        return  # the first magic says what is wrong, and what to do
    for name, value in (project.runs.environment() | {"MLINFRA_PROJECT_ID": project.id}).items():
        os.environ.setdefault(name, value)
    project.close()
