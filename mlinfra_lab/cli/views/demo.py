"""What `mlinfra demo` wrote."""

from __future__ import annotations

from pathlib import Path

from mlinfra_lab.cli import view as v
from mlinfra_lab.cli.base import Listing
from mlinfra_lab.cli.demo import Written


def writtens(found: Listing[Written], _root: Path | None = None) -> v.Table:
    """A row for each file."""
    return v.Table(
        (v.Column("File"), v.Column("Size", right=True)),
        [(v.text(one.path), v.size(one.size)) for one in found],
        empty=found.empty,
    )
