"""Datasets, their versions, and what differs between two."""

from __future__ import annotations

from pathlib import Path

from mlinfra_lab import humane
from mlinfra_lab.cli import view as v
from mlinfra_lab.cli.base import Listing
from mlinfra_lab.cli.facts import moment
from mlinfra_lab.schema.data import Column, ColumnChange, Dataset, DatasetDiff, DatasetVersion


def datasets(found: Listing[Dataset], _root: Path | None = None) -> v.Table:
    """A row for each dataset, with its newest version."""
    return v.Table(
        (v.Column("Dataset"), v.Column("Version", right=True), v.Column("Rows", right=True),
         v.Column("Size", right=True), v.Column("Path"), v.Column("Changed")),
        [(v.text(one.name, strong=True), v.Cell(f"v{one.latest.version}", str(one.latest.version)),
          v.count(one.latest.rows), v.size(one.latest.size), v.text(one.path, dim=True),
          v.when(one.latest.created)) for one in found],
        empty=found.empty,
    )  # fmt: skip


def dataset(one: Dataset, _root: Path | None = None) -> v.Card:
    """A dataset, which is its newest version and how many there were before."""
    facts = (
        ("Newest", v.text(one.latest.ref)),
        ("Versions", v.count(one.versions)),
        ("Rows", v.count(one.latest.rows)),
        ("Size", v.size(one.latest.size)),
        ("Path", v.text(one.path)),
        ("Changed", v.when(one.latest.created)),
    )
    return v.Card("Dataset", one.name, facts=facts)


def datasetversions(found: Listing[DatasetVersion], _root: Path | None = None) -> v.Table:
    """A dataset's history, newest first."""
    return v.Table(
        (v.Column("Version"), v.Column("Rows", right=True), v.Column("Size", right=True),
         v.Column("Files", right=True), v.Column("Commit"), v.Column("By"),
         v.Column("Message", optional=True),
         v.Column("Made")),
        [(v.text(one.ref, strong=True), v.count(one.rows), v.size(one.size), v.count(one.files),
          v.Cell(one.commit[:7], one.commit, dim=True), v.text(one.created_by), v.text(one.message),
          v.when(one.created)) for one in found],
        empty=found.empty,
    )  # fmt: skip


def datasetversion(one: DatasetVersion, _root: Path | None = None) -> v.Card:
    """A version with its schema and column statistics."""
    facts = [
        ("Rows", v.count(one.rows)),
        ("Size", v.size(one.size)),
        ("Files", v.count(one.files)),
        ("Path", v.text(one.path)),
        ("Commit", v.Cell(one.commit[:7], one.commit)),
        ("Hash", v.text(one.md5, dim=True)),
        ("Made", v.when(one.created)),
        ("By", v.text(one.created_by)),
    ]
    columns = (_columns(one.columns),) if one.columns else ()
    return v.Card("Dataset version", one.ref, note=one.message or "", facts=tuple(facts), parts=columns)


def _columns(columns: tuple[Column, ...]) -> v.Table:
    return v.Table(
        (v.Column("Column"), v.Column("Type"), v.Column("Nulls", right=True),
         v.Column("Distinct", right=True), v.Column("Smallest", right=True), v.Column("Largest", right=True),
         v.Column("Mean", right=True), v.Column("Std", right=True)),
        [(v.text(one.name), v.text(one.type, dim=True), v.count(one.nulls),
          v.count(one.distinct) if one.distinct is not None else v.Cell("many", "", dim=True),
          _extreme(one.minimum), _extreme(one.maximum), v.number(one.mean), v.number(one.std))
         for one in columns],
    )  # fmt: skip


def _extreme(text: str | None) -> v.Cell:
    """A number in full precision is too long to read, and so is a moment to the microsecond."""
    found = moment(text)
    if found is not None and text is not None:
        return v.Cell(f"{found:%Y-%m-%d %H:%M}", text)
    if text is None or text.lstrip("-").isdigit():
        return v.text(text)
    try:
        # Not grouped: 2,013 would be a strange year.
        return v.Cell(f"{float(text):.6g}", text)
    except ValueError:
        return v.Cell(humane.middle(v.one_line(text), 24), text)


def datasetdiff(diff: DatasetDiff, _root: Path | None = None) -> v.Card:
    """Rows, size and columns of two versions side by side."""
    before, after = diff.before, diff.after
    facts = (
        ("Rows", _change(before.rows, after.rows, diff.rows)),
        ("Size", v.Cell(f"{humane.size(before.size)} → {humane.size(after.size)}", str(diff.size))),
        ("Files", _change(before.files, after.files, after.files - before.files)),
    )
    table = v.Table(
        (v.Column("Column"), v.Column("Change"), v.Column("Before"), v.Column("After")),
        [row for change in diff.columns for row in _column_change(change)],
        title="Columns",
        empty="No column changed.",
    )
    return v.Card("Difference", f"{before.ref} → {after.ref}", facts=facts, parts=(table,))


def _change(before: int | None, after: int | None, by: int | None) -> v.Cell:
    if before is None or after is None:
        return v.text(None)
    sign = "" if not by else f" ({by:+,})"
    return v.Cell(f"{before:,} → {after:,}{sign}", str(after - before))


def _column_change(change: ColumnChange) -> list[tuple[v.Cell, ...]]:
    name, before, after = v.text(change.name, strong=True), change.before, change.after
    if before is None or after is None:
        there = before or after
        kind = v.text(there.type if there else None)
        none = v.text(None)
        word = v.text("added" if before is None else "removed")
        return [(name, word, none, kind) if before is None else (name, word, kind, none)]
    rows: list[tuple[v.Cell, ...]] = []
    for attribute, words in (
        ("type", "type"), ("nulls", "nulls"), ("distinct", "distinct"), ("minimum", "smallest"),
        ("maximum", "largest"), ("mean", "mean"), ("std", "std"),
    ):  # fmt: skip
        old, new = getattr(before, attribute), getattr(after, attribute)
        if old != new:
            rows.append((name, v.text(words), _statistic(old), _statistic(new)))
    return rows


def _statistic(thing: object) -> v.Cell:
    if isinstance(thing, str):
        return _extreme(thing)
    if isinstance(thing, float):
        return v.number(thing)
    return v.count(thing) if isinstance(thing, int) else v.text(None)
