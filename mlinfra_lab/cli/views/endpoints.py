"""Endpoints, what they answered, and the demo's traffic."""

from __future__ import annotations

from pathlib import Path

from mlinfra_lab import humane
from mlinfra_lab.cli import view as v
from mlinfra_lab.cli.base import Listing
from mlinfra_lab.cli.paste import curl
from mlinfra_lab.demo.traffic import Latency, Traffic
from mlinfra_lab.schema.endpoints import Endpoint, GateResult, HistoryEntry, Prediction, Revision, Rollout


def endpoints(found: Listing[Endpoint], _root: Path | None = None) -> v.Table:
    """A row for each endpoint."""
    return v.Table(
        (v.Column("Endpoint"), v.Column("State"), v.Column("Answers with"), v.Column("Revision", right=True),
         v.Column("URL"), v.Column("Why", optional=True), v.Column("Changed")),
        [(v.text(one.name, strong=True), v.state(one.state), v.text(_model(one.revision)),
          v.text(one.serving), v.Cell(one.url, link=one.url) if one.url else v.text(None),
          v.text(one.reason), v.when(one.changed)) for one in found],
        empty=found.empty,
    )  # fmt: skip


def endpoint(one: Endpoint, root: Path | None = None) -> v.Card:
    """An endpoint with its address and a line that asks it something."""
    facts: list[tuple[str, v.Cell]] = []
    if one.url:
        facts.append(("URL", v.Cell(one.url, strong=True)))
    revision = one.revision
    if revision is not None:
        facts.append(("Model", v.text(_model(revision))))
        if revision.run:
            facts.append(("Run", v.Cell(humane.short(revision.run), revision.run)))
    facts.append(("Revision", v.Cell(_revisions(one), str(one.serving or ""))))
    if one.previous is not None:
        facts.append(("Kept warm" if one.rollout is None else "Before", v.text(f"revision {one.previous}")))
    facts += [("Created", v.when(one.created)), ("Changed", v.when(one.changed))]
    parts: list[v.Table | v.Code | v.Problem | v.Bar | v.Graph] = []
    if one.reason:
        parts.append(v.Problem(one.reason, warning=one.state != "failed"))
    if one.url and root is not None and one.state == "up":
        parts.append(v.Code(curl(one.url, one.name, root, revision), title="Try it", paste=True))
    if one.rollout is not None:
        parts += [_split(one.rollout), _gates(one.rollout)]
    note = f"answers with {_model(revision)}" if one.state == "up" and revision else ""
    return v.Card("Endpoint", one.name, v.state(one.state), note=note, facts=tuple(facts), parts=tuple(parts))


def rollout(one: Rollout, _root: Path | None = None) -> v.Card:
    """A rollout: where it is, and how its gates are."""
    facts: list[tuple[str, v.Cell]] = [
        ("Candidate", v.text(f"revision {one.candidate}")),
        ("Beside", v.text(f"revision {one.stable}")),
        ("Gets", v.Cell(humane.share(one.share), repr(one.share), strong=True)),
        ("Steps", v.text(_steps(one))),
    ]
    if one.alias:
        facts.append(("Alias", v.text(one.alias)))
    if one.cause:
        facts.append(("Because of", v.text(one.cause)))
    facts.append(("Begun", v.when(one.created)))
    if one.ended is not None:
        facts.append(("Ended", v.when(one.ended)))
    parts: list[v.Table | v.Problem] = []
    if one.reason:
        if one.state == "rolled_back":
            parts.append(v.Problem(one.reason))
        else:
            facts.append(("Why", v.text(one.reason)))
    parts.append(_gates(one))
    state = v.state(one.state)
    return v.Card("Rollout", one.endpoint, state, id=one.id, facts=tuple(facts), parts=tuple(parts))


def rollouts(found: Listing[Rollout], _root: Path | None = None) -> v.Table:
    """A row for each rollout."""
    return v.Table(
        (v.Column("Rollout"), v.Column("State"), v.Column("Candidate", right=True),
         v.Column("Gets", right=True), v.Column("Why", optional=True), v.Column("Begun")),
        [(v.text(one.id, strong=True), v.state(one.state), v.text(one.candidate),
          v.Cell(humane.share(one.share), repr(one.share)), v.text(one.reason), v.when(one.created))
         for one in found],
        empty=found.empty,
    )  # fmt: skip


def historyentry(one: HistoryEntry, _root: Path | None = None) -> v.Card:
    """One thing that happened."""
    facts = [("Why", v.text(one.message)), ("By", v.text(one.actor)), ("When", v.when(one.at))]
    if one.event_time is not None:
        facts.append(("Data of", v.when(one.event_time)))
    if one.revision is not None:
        facts.insert(0, ("Revision", v.text(one.revision)))
    return v.Card("Event", f"{one.endpoint}: {one.kind.replace('_', ' ')}", facts=tuple(facts))


def historyentrys(found: Listing[HistoryEntry], _root: Path | None = None) -> v.Table:
    """A row for each thing that happened, newest first."""
    columns = (
        v.Column("What"), v.Column("Revision", right=True), v.Column("Why"),
        v.Column("Data of", optional=True), v.Column("By"), v.Column("When"),
    )  # fmt: skip
    rows = [
        (
            v.Cell(one.kind.replace("_", " "), one.kind, strong=True),
            v.text(one.revision),
            v.text(one.message),
            v.text(None if one.event_time is None else f"{one.event_time:%Y-%m-%d}"),
            v.text(one.actor),
            v.when(one.at),
        )
        for one in found
    ]
    return v.Table(columns, rows, empty=found.empty)


def _split(one: Rollout) -> v.Bar:
    rest = f"revision {one.stable} {humane.share(1 - one.share)}"
    return v.Bar(one.share, f"revision {one.candidate} gets {humane.share(one.share)}, {rest}")


def _steps(one: Rollout) -> str:
    return ", ".join(
        f"[{humane.share(share)}]" if place == one.step and one.state == "running" else humane.share(share)
        for place, share in enumerate(one.steps)
    )


def _gates(one: Rollout) -> v.Table:
    title = f"Rollout {one.id} of revision {one.candidate}: {one.state.replace('_', ' ')}"
    empty = (
        "Its process is being started." if one.state == "starting" else "Its gates were not looked at yet."
    )
    return v.Table(
        (v.Column("Gate"), v.Column("Holds"), v.Column("What was seen")),
        [(v.text(result.gate, strong=True), _held(result), v.text(result.text)) for result in one.results],
        title=title,
        empty=empty,
    )


def _held(one: GateResult) -> v.Cell:
    if one.held is None:
        return v.Cell("waits", "waits", mark="running")
    return v.Cell("yes", "true", mark="succeeded") if one.held else v.Cell("no", "false", mark="failed")


def predictions(found: Listing[Prediction], _root: Path | None = None) -> v.Table:
    """A row for each answer, newest first."""
    return v.Table(
        (v.Column("Prediction"), v.Column("Answer", right=True), v.Column("Asked"),
         v.Column("Latency", right=True), v.Column("At")),
        [(v.text(one.id, strong=True), v.value(one.prediction),
          v.Cell(humane.cut(_row(one), 60), v.value(one.row).exact, dim=True),
          v.Cell(humane.duration(one.latency), repr(one.latency)), v.when(one.at)) for one in found],
        empty=found.empty,
    )  # fmt: skip


def prediction(one: Prediction, _root: Path | None = None) -> v.Card:
    """One answer with what was asked."""
    facts = [("Answer", v.value(one.prediction)), ("At", v.when(one.at))]
    if one.event_time is not None:
        facts.append(("Event time", v.when(one.event_time)))
    facts += [
        ("Endpoint", v.text(f"{one.endpoint}, revision {one.revision}")),
        ("Latency", v.Cell(humane.duration(one.latency), repr(one.latency))),
        ("Request", v.text(one.request)),
    ]
    parts = ()
    if isinstance(one.row, dict):
        rows = [(v.text(name), v.value(value)) for name, value in one.row.items()]
        table = v.Table((v.Column("Column"), v.Column("Value", right=True)), rows, title="What was asked")
        return v.Card("Prediction", one.id, facts=tuple(facts), parts=(table,))
    return v.Card("Prediction", one.id, facts=(*facts, ("Row", v.value(one.row))), parts=parts)


def traffic(sent: Traffic, _root: Path | None = None) -> v.Card:
    """What `demo traffic` sent and how it was answered."""
    facts = (
        ("Rows", v.count(sent.rows)),
        ("Requests", v.count(sent.requests)),
        ("Took", v.Cell(humane.duration(sent.seconds), repr(sent.seconds))),
        ("Predicted late", v.Cell(humane.share(sent.mean), repr(sent.mean))),
        ("First", v.text(sent.first)),
        ("Last", v.text(sent.last)),
    )
    table = v.Table(
        (v.Column("Latency"), v.Column("Requests", right=True), v.Column("Median", right=True),
         v.Column("p95", right=True), v.Column("Worst", right=True)),
        [_latency("one row", sent.singles), _latency("many rows", sent.batches)],
    )  # fmt: skip
    return v.Card("Traffic", f"{humane.count(sent.rows)} flights", facts=facts, parts=(table,))


def _latency(name: str, one: Latency) -> tuple[v.Cell, ...]:
    seconds = (one.p50, one.p95, one.worst) if one.requests else (None, None, None)
    cells = (v.text(None) if s is None else v.Cell(humane.duration(s), repr(s)) for s in seconds)
    return (v.text(name), v.count(one.requests), *cells)


def _model(revision: Revision | None) -> str | None:
    if revision is None:
        return None
    alias = f", {revision.alias}" if revision.alias else ""
    return f"{revision.model}/{revision.version}{alias}"


def _revisions(one: Endpoint) -> str:
    if one.serving is None:
        return f"{one.wanted} is being prepared"
    return str(one.serving) if one.serving == one.wanted else f"{one.serving}, {one.wanted} is being prepared"


def _row(one: Prediction) -> str:
    return v.pairs(one.row) if isinstance(one.row, dict) else v.value(one.row).text
