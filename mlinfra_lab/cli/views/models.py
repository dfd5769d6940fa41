"""Registered models."""

from __future__ import annotations

from pathlib import Path

from mlinfra_lab import humane
from mlinfra_lab.cli import view as v
from mlinfra_lab.cli.base import Listing
from mlinfra_lab.schema.models import Model, ModelVersion


def models(found: Listing[Model], _root: Path | None = None) -> v.Table:
    """A row for each model."""
    return v.Table(
        (v.Column("Model"), v.Column("Versions", right=True), v.Column("Aliases"), v.Column("Newest")),
        [(v.text(one.name, strong=True), v.count(len(one.versions)),
          v.text(", ".join(f"{alias} v{version}" for alias, version in sorted(one.aliases.items()))),
          v.when(one.versions[0].created if one.versions else None)) for one in found],
        empty=found.empty,
    )  # fmt: skip


def model(one: Model, _root: Path | None = None) -> v.Card:
    """A model with its versions."""
    table = v.Table(
        (v.Column("Version"), v.Column("Aliases"), v.Column("Run"), v.Column("Registered")),
        [(v.text(version.ref, strong=True), v.text(", ".join(version.aliases)), _run(version),
          v.when(version.created)) for version in one.versions],
        empty="No versions.",
    )  # fmt: skip
    return v.Card("Model", one.name, parts=(table,))


def modelversion(one: ModelVersion, _root: Path | None = None) -> v.Card:
    """One version of a model."""
    facts = [
        ("Run", _run(one)),
        ("Source", v.text(one.source, dim=True)),
        ("Registered", v.when(one.created)),
    ]
    if one.aliases:
        facts.insert(0, ("Aliases", v.text(", ".join(one.aliases))))
    return v.Card("Model version", one.ref, facts=tuple(facts))


def _run(one: ModelVersion) -> v.Cell:
    return v.text(None) if one.run is None else v.Cell(humane.short(one.run), one.run)
