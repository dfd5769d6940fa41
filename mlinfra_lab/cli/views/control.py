"""What `init` made, the controller, and clusters."""

from __future__ import annotations

from pathlib import Path

from mlinfra_lab import humane
from mlinfra_lab.cli import view as v
from mlinfra_lab.cli.base import Listing
from mlinfra_lab.schema.clusters import Cluster
from mlinfra_lab.schema.control import Status, StatusLine
from mlinfra_lab.schema.project import InitReport


def initreport(report: InitReport, _root: Path | None = None) -> v.Card:
    """What was made of a folder."""
    facts = [("Folder", v.text(report.root))]
    facts += [("Made" if place == 0 else "", v.text(one)) for place, one in enumerate(report.made)]
    facts += [("Taken as it is" if place == 0 else "", v.text(one)) for place, one in enumerate(report.taken)]
    if report.commit:
        facts.append(("Commit", v.Cell(report.commit[:7], report.commit)))
    notes = tuple(v.Problem(note, warning=True) for note in report.notes)
    state = v.Cell("made" if report.made else "nothing to add", mark="succeeded")
    return v.Card("Project", Path(report.root).name, state, facts=tuple(facts), parts=notes)


def status(now: Status, _root: Path | None = None) -> v.Card:
    """What is desired beside what is."""
    facts = [("Folder", v.text(now.root)), ("Database", v.text(now.database))]
    if now.pid is not None:
        facts.append(
            ("Controller", v.Cell(f"{now.controller}, pid {now.pid}", f"{now.controller} {now.pid}"))
        )
    if now.since is not None:
        facts.append(("Since", v.when(now.since)))
    lines = v.Table(
        (v.Column("Kind"), v.Column("Name"), v.Column("Wanted"), v.Column("Is"),
         v.Column("Why", optional=True)),
        [(v.text(line.kind, dim=True), v.text(line.name, strong=True), v.text(line.desired),
          _is(line), v.text(line.why)) for line in now.lines],
        empty="Nothing is wanted.",
    )  # fmt: skip
    notes = tuple(v.Problem(note, warning=True) for note in now.notes)
    return v.Card("Project", now.project, v.state(now.controller), facts=tuple(facts), parts=(lines, *notes))


def _is(line: StatusLine) -> v.Cell:
    """What is; "revision 3" is no state, but when it is what was wanted all is well."""
    cell = v.state(line.actual)
    return v.Cell(line.actual, mark="up") if cell.mark is None and line.actual == line.desired else cell


def clusters(found: Listing[Cluster], _root: Path | None = None) -> v.Table:
    """A row for each declared cluster."""
    return v.Table(
        (v.Column("Cluster"), v.Column("State"), v.Column("Backend"), v.Column("Workers", right=True),
         v.Column("Address", optional=True), v.Column("Why", optional=True), v.Column("Changed")),
        [(v.text(one.name, strong=True), v.state(one.state), v.text(one.backend),
          v.Cell(_workers(one), str(one.connected)), v.text(one.address, dim=True), v.text(one.reason),
          v.when(one.changed)) for one in found],
        empty=found.empty,
    )  # fmt: skip


def cluster(one: Cluster, _root: Path | None = None) -> v.Card:
    """One cluster."""
    facts = [("Backend", v.text(one.backend)), ("Workers", v.Cell(_workers(one), str(one.connected)))]
    if one.address:
        facts.append(("Address", v.text(one.address)))
    if one.dashboard:
        facts.append(("Dashboard", v.Cell(one.dashboard, link=one.dashboard)))
    facts += [(name, v.value(setting)) for name, setting in one.config.items() if name != "workers"]
    if one.changed:
        facts.append(("Changed", v.when(one.changed)))
    problem = (v.Problem(one.reason, warning=one.state != "failed"),) if one.reason else ()
    return v.Card("Cluster", one.name, v.state(one.state), facts=tuple(facts), parts=problem)


def _workers(one: Cluster) -> str:
    if one.connected == one.workers:
        return humane.count(one.workers)
    return f"{one.connected} of {one.workers}"
