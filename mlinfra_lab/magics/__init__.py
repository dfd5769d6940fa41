"""``%data %cluster %job %runs %model %endpoint %lineage``: the shell's own commands, in a notebook.

A line goes to the very click command that the shell runs; what it returns is the cell's result, a plain
Python object that displays richly.
"""

from __future__ import annotations

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
