"""Endpoints, what they answered, and the demo's traffic."""

from __future__ import annotations

from pathlib import Path

from mlinfra_lab import humane
from mlinfra_lab.cli import view as v
from mlinfra_lab.cli.base import Listing
from mlinfra_lab.cli.paste import curl
from mlinfra_lab.demo.traffic import Latency, Traffic
from mlinfra_lab.schema.endpoints import Endpoint, Prediction, Revision


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
    facts += [("Created", v.when(one.created)), ("Changed", v.when(one.changed))]
    parts: list[v.Table | v.Code | v.Problem | v.Bar | v.Graph] = []
    if one.reason:
        parts.append(v.Problem(one.reason, warning=one.state != "failed"))
    if one.url and root is not None and one.state == "up":
        parts.append(v.Code(curl(one.url, one.name, root, revision), title="Try it", paste=True))
    note = f"answers with {_model(revision)}" if one.state == "up" and revision else ""
    return v.Card("Endpoint", one.name, v.state(one.state), note=note, facts=tuple(facts), parts=tuple(parts))


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
