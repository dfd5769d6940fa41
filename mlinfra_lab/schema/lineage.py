"""The graph of what was made from what."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from mlinfra_lab.schema.common import JSON, Wire

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
