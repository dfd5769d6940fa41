"""``mlinfra``: one file a command group, imported when that group is named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    Parameters
    ----------
    argv
        Arguments without the program's name; those of the process by default.
    """
    from mlinfra_lab.cli.shell import run

    raise SystemExit(run(argv))
