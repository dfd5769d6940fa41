"""The graph of what was made from what."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

from mlinfra_lab.schema.common import JSON, Wire
from mlinfra_lab.schema.tasks import Failure

NodeKind = Literal[
    "prediction",
    "endpoint",
    "revision",
    "model",
    "run",
    "job",
    "notebook",
    "cell",
    "dataset",
    "commit",
    "environment",
    "cluster",
    "alert",
]


class Node(Wire, frozen=True, kw_only=True):
    """A thing in the graph.

    Attributes
    ----------
    id
        Unique within its kind (``flights@1``, ``flights-delay/2``, a run id).
    title
        What a person calls it.
    facts
        What one wants to know of it, in the order it is shown.
    missing
        Set when the thing is gone: what was expected and where.
    """

    kind: NodeKind
    id: str
    title: str
    facts: JSON = {}
    missing: str | None = None


class Edge(Wire, frozen=True, kw_only=True):
    """``target`` was made from, by or with ``source``."""

    source_kind: NodeKind
    source: str
    target_kind: NodeKind
    target: str
    relation: str
    detail: JSON = {}
    at: dt.datetime | None = None


class Trace(Wire, frozen=True, kw_only=True):
    """Everything that led to one thing; ``nodes[0]`` is that thing."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


class Environment(Wire, frozen=True, kw_only=True):
    """A Python environment as it was: its record's hash is its name."""

    hash: str
    python: str
    platform: str
    packages: tuple[str, ...]
    created: dt.datetime


# -- doing it again -------------------------------------------------------------------------------

Verdict = Literal["identical", "equal", "different", "nothing", "planned"]


class Change(Wire, frozen=True, kw_only=True):
    """Something around a job that is not as it was.

    Attributes
    ----------
    kind
        ``python``, ``platform``, ``package``, ``cpu``, ``cpus``, ``code`` (a file beside the notebook),
        ``cluster``.
    then, now
        ``None`` where it was not there.
    """

    kind: str
    name: str
    then: str | None
    now: str | None


class CellChange(Wire, frozen=True, kw_only=True):
    """A cell of the notebook as it is now that is not the kept one.

    Attributes
    ----------
    cell
        Its number in the kept notebook, counted from 1; of an added cell, in the notebook as it is now.
    diff
        From the kept source to the present one, cut short.
    """

    cell: int
    change: Literal["changed", "added", "removed"]
    diff: str


class Compared(Wire, frozen=True, kw_only=True):
    """One value then and now.

    Attributes
    ----------
    kind
        ``job`` (how it ended), ``data`` (versions that were read), ``runs``, ``parameter``, ``metric``,
        ``model`` (its answer to its own input example) or ``prediction``.
    same
        To the bit.
    apart
        How far two numbers lie from one another: ``|a - b| / max(1, |a|, |b|)``; the largest of several.
        ``None`` for what is no number.
    counts
        Whether the verdict hangs on it. A measured time never does; a parameter that a run noted only
        says why something else differs.
    note
        What else explains the difference.
    """

    kind: str
    name: str
    then: Any = None
    now: Any = None
    same: bool
    apart: float | None = None
    counts: bool = True
    note: str = ""


class Reproduction(Wire, frozen=True, kw_only=True):
    """One job done again, for everything that was asked and came of it.

    Attributes
    ----------
    job
        The original.
    models, predictions
        Those that came of it and were asked for.
    data
        Dataset versions that it read.
    environment, present
        Hashes of the environment records, then and now.
    differs, cells, notes
        What is not as it was; the notebook's cells; what else a person should know.
    problems
        Why it cannot be done, each with what to do.
    reproduction
        The job that did it again; ``reused`` when that was there already.
    verdict
        ``identical`` to the bit; ``equal``: nothing is further apart than ``within``; ``different``, and
        ``first`` is what differs first; ``nothing`` could be compared; ``planned``: not done.
    text
        The verdict in words.
    """

    job: str
    notebook: str
    parameters: JSON = {}
    models: tuple[str, ...] = ()
    predictions: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    environment: str | None = None
    present: str | None = None
    differs: tuple[Change, ...] = ()
    cells: tuple[CellChange, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[Failure, ...] = ()
    reproduction: str | None = None
    reused: bool = False
    verdict: Verdict = "planned"
    within: float | None = None
    first: Compared | None = None
    compared: tuple[Compared, ...] = ()
    text: str = ""


class ReproduceReport(Wire, frozen=True, kw_only=True):
    """What came of doing things again: one training for each job, whatever was asked.

    Attributes
    ----------
    asked
        The ids that were given.
    verdict
        The worst of the trainings'; ``text`` says it in words.
    """

    asked: tuple[str, ...]
    trainings: tuple[Reproduction, ...]
    verdict: Verdict
    within: float | None = None
    text: str
