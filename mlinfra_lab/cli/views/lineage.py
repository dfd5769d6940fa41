"""Traces and environments."""

from __future__ import annotations

from pathlib import Path

from mlinfra_lab.cli import view as v
from mlinfra_lab.schema.lineage import Environment, Trace


def trace(one: Trace, _root: Path | None = None) -> v.Graph:
    """What a thing was made from."""
    return v.Graph(one)


def environment(one: Environment, _root: Path | None = None) -> v.Card:
    """A Python environment as it was."""
    facts = (
        ("Python", v.text(one.python)),
        ("Platform", v.text(one.platform)),
        ("Packages", v.count(len(one.packages))),
        ("First seen", v.when(one.created)),
    )
    return v.Card(
        "Environment", one.hash[:12], id=one.hash, facts=facts, parts=(v.Code("\n".join(one.packages)),)
    )
