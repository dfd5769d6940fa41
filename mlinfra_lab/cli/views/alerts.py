"""Alerts."""

from __future__ import annotations

from pathlib import Path

from mlinfra_lab import humane
from mlinfra_lab.cli import view as v
from mlinfra_lab.cli.base import Listing
from mlinfra_lab.schema.monitoring import Alert

_STATES: dict[str, v.Mark] = {
    "open": "warning", "acknowledged": "warning", "acting": "running", "answered": "succeeded",
    "closed": "succeeded",
}  # fmt: skip


def alerts(found: Listing[Alert], _root: Path | None = None) -> v.Table:
    """A row for each alert, newest first."""
    return v.Table(
        (v.Column("Alert", right=True), v.Column("Endpoint"), v.Column("State"), v.Column("What"),
         v.Column("Since"), v.Column("Value", right=True), v.Column("Limit", right=True),
         v.Column("Answer", optional=True)),
        [(v.text(one.number, strong=True), v.text(f"{one.endpoint}, revision {one.revision}"), _state(one),
          v.text(one.message), v.text(_day(one)), v.value(one.value), v.value(one.limit),
          v.text(one.model or one.job)) for one in found],
        empty=found.empty,
    )  # fmt: skip


def alert(one: Alert, _root: Path | None = None) -> v.Card:
    """One alert with its figures, what explains it, and what was done about it."""
    facts = [
        ("Endpoint", v.text(f"{one.endpoint}, revision {one.revision}")),
        ("Rule", v.text("prediction drift" if one.rule == "prediction_drift" else one.rule)),
        ("Since", v.text(_day(one))),
        ("Raised", v.when(one.raised)),
    ]
    if one.until is not None:
        facts.append(("Until", v.text(f"{one.until:%-d %B %Y}")))
    facts += [("Value", v.value(one.value)), ("Limit", v.value(one.limit))]
    if one.acknowledged_by:
        facts.append(("Seen by", v.text(one.acknowledged_by)))
    if one.job:
        facts.append(("Job", v.text(one.job)))
    if one.model:
        facts.append(("Model", v.text(one.model)))
    if one.closed is not None:
        facts.append(("Closed", v.when(one.closed)))
    parts: list[v.Table | v.Code | v.Problem | v.Bar | v.Graph] = [
        v.Problem(one.message, warning=one.state != "closed")
    ]
    if one.error:
        parts.append(v.Problem(one.error))
    if one.explains:
        rows = [(v.text(name), v.Cell(humane.share(share), repr(share))) for name, share in one.explains]
        table = v.Table((v.Column("Feature"), v.Column("Share", right=True)), rows, title="What explains it")
        parts.append(table)
    return v.Card("Alert", str(one.number), _state(one), facts=tuple(facts), parts=tuple(parts))


def _state(one: Alert) -> v.Cell:
    return v.Cell(one.state, mark=_STATES[one.state])


def _day(one: Alert) -> str:
    return f"{one.since.day} {one.since:%B %Y}"
