"""What `mlinfra demo` wrote and sent."""

from __future__ import annotations

from pathlib import Path

from mlinfra_lab import humane
from mlinfra_lab.cli import view as v
from mlinfra_lab.cli.base import Listing
from mlinfra_lab.cli.demo import Written
from mlinfra_lab.demo.truth import TruthSent


def writtens(found: Listing[Written], _root: Path | None = None) -> v.Table:
    """A row for each file."""
    return v.Table(
        (v.Column("File"), v.Column("Size", right=True)),
        [(v.text(one.path), v.size(one.size)) for one in found],
        empty=found.empty,
    )


def truthsent(sent: TruthSent, _root: Path | None = None) -> v.Card:
    """What `demo truth` sent."""
    facts = [
        ("Accepted", v.count(sent.accepted)),
        ("Unknown", v.count(sent.unknown)),
        ("Never arrived", v.count(sent.never_arrived)),
        ("Late", v.Cell(humane.share(sent.late), repr(sent.late))),
        ("Requests", v.count(sent.requests)),
        ("Took", v.Cell(humane.duration(sent.seconds), repr(sent.seconds))),
    ]
    return v.Card("Truth", f"of {humane.count(sent.answers)} answers", facts=tuple(facts))
