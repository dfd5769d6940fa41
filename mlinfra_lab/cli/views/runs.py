"""MLflow's runs, alone and side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mlinfra_lab import humane
from mlinfra_lab.cli import view as v
from mlinfra_lab.cli.base import Listing
from mlinfra_lab.schema.runs import Difference, Run, RunComparison

_METRICS = 4


def runs(found: Listing[Run], _root: Path | None = None) -> v.Table:
    """A row for each run, with those metrics and parameters first that tell the runs apart."""
    metrics = sorted(_telling([run.metrics for run in found])[:_METRICS])
    params = _telling([run.params for run in found])
    figures = [v.Column(name, right=True) for name in metrics]
    return v.Table(
        (v.Column("Run"), v.Column("Name"), v.Column("State"), *figures,
         v.Column("Parameters"), v.Column("Job", optional=True),
         v.Column("Took", right=True), v.Column("Started")),
        [(v.Cell(humane.short(run.id), run.id), _name(run), v.state(run.status),
          *(v.number(run.metrics.get(name)) for name in metrics),
          v.Cell(v.pairs(_ordered(run.params, params), 40), v.value(run.params).exact, dim=True),
          v.text(run.job, dim=True), v.took(run.started, run.ended, run.status == "RUNNING"),
          v.when(run.started)) for run in found],
        empty=found.empty,
    )  # fmt: skip


def _name(run: Run) -> v.Cell:
    # A run that only does another one again is no news, and no candidate.
    again = "mlinfra.reproduces" in run.tags
    return v.Cell(v.one_line(f"{run.name}, again"), dim=True) if again else v.text(run.name, strong=True)


def _telling(things: Sequence[Mapping[str, object]]) -> list[str]:
    """Names, first those whose values differ, then those that most runs have."""
    values: dict[str, list[object]] = {}
    for thing in things:
        for name, value in thing.items():
            values.setdefault(name, []).append(value)
    return sorted(values, key=lambda name: (len(set(values[name])) == 1, -len(values[name]), name))


def _ordered(params: dict[str, str], names: list[str]) -> dict[str, str]:
    return {name: params[name] for name in names if name in params}


def run(one: Run, _root: Path | None = None) -> v.Card:
    """One run."""
    facts = [("Experiment", v.text(one.experiment))]
    if one.job:
        facts.append(("Job", v.text(one.job)))
    if of := one.tags.get("mlinfra.reproduces"):
        facts.append(("Reproduces", v.text(f"what job {of} made")))
    facts += [
        ("Took", v.took(one.started, one.ended, one.status == "RUNNING")),
        ("Started", v.when(one.started)),
    ]
    parts = []
    if one.metrics:
        rows = [(v.text(name), v.number(value)) for name, value in sorted(one.metrics.items())]
        parts.append(v.Table((v.Column("Metric"), v.Column("Value", right=True)), rows))
    if one.params:
        rows = [(v.text(name), v.text(value)) for name, value in sorted(one.params.items())]
        parts.append(v.Table((v.Column("Parameter"), v.Column("Value")), rows))
    return v.Card("Run", one.name, v.state(one.status), id=one.id, facts=tuple(facts), parts=tuple(parts))


def runcomparison(comparison: RunComparison, _root: Path | None = None) -> v.Table:
    """Runs as columns; what differs comes first in each section, tags only where they differ."""
    heads = [
        v.Column(""),
        *(v.Column(run.name or humane.short(run.id), right=True) for run in comparison.runs),
    ]
    rows: list[tuple[v.Cell, ...]] = [
        (v.text("run", dim=True), *(v.Cell(humane.short(run.id), run.id) for run in comparison.runs))
    ]
    places = [place for place, run in enumerate(comparison.runs) if run.id == comparison.better]
    for differences in (comparison.metrics, comparison.params):
        for difference in sorted(differences, key=lambda one: not one.differs):
            best = places if difference.name == comparison.metric else []
            rows.append(_row(difference, best))
    rows += [_row(one, []) for one in comparison.tags if one.differs]
    notes = []
    if comparison.better is not None:
        name = next(run.name for run in comparison.runs if run.id == comparison.better)
        notes.append(f"{name} ({humane.short(comparison.better)}) is better by {comparison.metric}.")
    return v.Table(tuple(heads), rows, notes=tuple(notes))


def _row(difference: Difference, best: list[int]) -> tuple[v.Cell, ...]:
    cells = []
    for place, value in enumerate(difference.values):
        cell = v.number(value) if isinstance(value, float) else v.text(value)
        strong = place in best
        cells.append(v.Cell(cell.text, cell.exact, dim=not difference.differs and not strong, strong=strong))
    return (v.text(difference.name, dim=not difference.differs), *cells)
