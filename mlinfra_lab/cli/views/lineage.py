"""Traces and environments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlinfra_lab.cli import view as v
from mlinfra_lab.schema.lineage import Compared, Environment, ReproduceReport, Reproduction, Trace

_MARKS: dict[str, v.Mark] = {
    "identical": "succeeded", "equal": "succeeded", "different": "failed", "nothing": "warning",
}  # fmt: skip
_MOST = 12


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


def reproducereport(one: ReproduceReport, _root: Path | None = None) -> v.Card:
    """The verdict, and for each training what was compared and what is not as it was."""
    asked = one.asked[0] if len(one.asked) == 1 else f"{len(one.asked)} things"
    predictions = sum(len(training.predictions) for training in one.trainings)
    facts = [("Verdict", v.text(one.text, strong=True)), ("Trainings", v.count(len(one.trainings)))]
    if predictions:
        facts.append(("Predictions", v.count(predictions)))
    parts: list[v.Table | v.Code | v.Problem] = []
    for training in one.trainings:
        parts += _training(training)
    state = v.Cell(one.verdict, one.verdict, mark=_MARKS.get(one.verdict))
    return v.Card("Reproduction", asked, state, facts=tuple(facts), parts=tuple(parts))


def _training(one: Reproduction) -> list[v.Table | v.Code | v.Problem]:
    what = ", ".join(one.models) or one.notebook
    notes = [f"{one.notebook}, {v.pairs(one.parameters)}" if one.parameters else one.notebook]
    if one.data:
        notes.append(f"read {', '.join(one.data)}")
    notes += one.notes
    rows = [(v.text("job"), v.text(one.job), v.text(one.reproduction), v.text(_how(one), dim=True))]
    rows += [_compared(compared) for compared in one.compared if not compared.same or compared.counts]
    columns = (v.Column("", optional=True), v.Column("Then"), v.Column("Now"), v.Column("", optional=True))
    parts: list[v.Table | v.Code | v.Problem] = [v.Problem(p.message, p.hint) for p in one.problems]
    if one.first is not None:
        parts.append(v.Problem(f"{what} differs first in {one.text}."))
    parts.append(v.Table(columns, rows, title=f"{what}: {one.text}", notes=tuple(map(v.one_line, notes))))
    if one.differs:
        parts.append(_around(one))
    for cell in one.cells:
        said = f"Cell {cell.cell} of {one.notebook} was {cell.change} since; the kept source is what runs."
        parts += [v.Problem(said, warning=True), v.Code(cell.diff)]
    return parts


def _how(one: Reproduction) -> str:
    if one.reused:
        return "there already"
    return "" if one.reproduction else "not run"


def _around(one: Reproduction) -> v.Table:
    """What is not as it was when the job ran."""
    columns = (v.Column("Not as it was"), v.Column("Then"), v.Column("Now"))
    rows = [
        (v.text(f"{change.kind} {change.name}" if change.name != change.kind else change.kind),
         v.text(change.then), v.text(change.now))
        for change in one.differs[:_MOST]
    ]  # fmt: skip
    more = len(one.differs) - _MOST
    return v.Table(columns, rows, notes=(f"and {more} more",) if more > 0 else ())


def _compared(one: Compared) -> tuple[v.Cell, v.Cell, v.Cell, v.Cell]:
    if one.same:
        said = v.text(one.note or "identical", dim=True)
    elif not one.counts:
        said = v.text("does not count", dim=True)
    elif one.apart is not None:
        said = v.text(f"{one.apart:.1e} apart" + (f"; {one.note}" if one.note else ""))
    else:
        said = v.text("differs", strong=True)
    return v.text(f"{one.kind} {one.name}".strip()), _value(one.then, one), _value(one.now, one), said


def _value(value: Any, one: Compared) -> v.Cell:
    cell = v.value(value)
    if value is None:
        return v.text(None)
    # Cut to six figures, two that differ would look alike.
    return cell if one.same or cell.exact is None else v.Cell(cell.exact, cell.exact)
