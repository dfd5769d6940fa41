"""Where the boxes of a lineage picture stand.

Data stands left, the answer right, a column for each step between them. What only repeats another box is
drawn into it: the notebook and the cell into their job, the commit that holds a dataset into the dataset.
The *spine*, from a dataset to the answer, keeps one height.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from mlinfra_lab.schema.lineage import Node, Trace

Key = tuple[str, str]

_ORDER = (
    "environment", "alert", "dataset", "notebook", "commit", "cluster", "cell", "job", "run", "model",
    "endpoint", "revision", "prediction",
)  # fmt: skip
_SPINE = ("revision", "endpoint", "model", "run", "job", "dataset")


@dataclass(frozen=True)
class Box:
    """A node at its place, counted in columns and rows from the upper left."""

    node: Node
    column: int
    row: int
    spine: bool
    within: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Arrow:
    """From a box to the one that was made from it."""

    source: Key
    target: Key
    relation: str
    spine: bool


@dataclass(frozen=True)
class Layout:
    """Boxes by their node's kind and id, and the arrows between them."""

    boxes: dict[Key, Box]
    arrows: tuple[Arrow, ...]

    @property
    def columns(self) -> int:
        """How many columns there are."""
        return 1 + max(box.column for box in self.boxes.values())

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return 1 + max(box.row for box in self.boxes.values())


@dataclass
class _Graph:
    """The trace as far as it is drawn."""

    root: Key
    nodes: dict[Key, Node]
    sources: dict[Key, dict[Key, str]] = field(default_factory=dict)
    within: dict[Key, list[Node]] = field(default_factory=dict)

    def hide(self, key: Key, inside: Key) -> None:
        """Draw a node into another one, which takes over its arrows."""
        self.within.setdefault(inside, []).append(self.nodes.pop(key))
        for source, relation in self.sources.pop(key, {}).items():
            if source != inside:
                self.sources.setdefault(inside, {}).setdefault(source, relation)
        for target, made_from in self.sources.items():
            relation_of = made_from.pop(key, None)
            if relation_of is not None and target != inside:
                made_from.setdefault(inside, relation_of)

    def targets(self, key: Key) -> list[Key]:
        """What was made from a node."""
        return [target for target, made_from in self.sources.items() if key in made_from]


def layout(trace: Trace) -> Layout:
    """Place the nodes of a trace; ``trace.nodes[0]`` is the answer."""
    graph = _graph(trace)
    columns = _columns(graph)
    spine = _spine(graph)
    rows = _rows(graph, columns, spine)
    highest = min(rows.values())
    leftmost = min(columns.values())
    boxes = {
        key: Box(
            node, columns[key] - leftmost, rows[key] - highest, key in spine, tuple(graph.within.get(key, ()))
        )
        for key, node in graph.nodes.items()
    }
    links = set(pairwise(spine))
    arrows = tuple(
        Arrow(source, target, relation, (target, source) in links)
        for target, made_from in graph.sources.items()
        for source, relation in made_from.items()
    )
    return Layout(boxes, arrows)


def _graph(trace: Trace) -> _Graph:
    nodes: dict[Key, Node] = {(node.kind, node.id): node for node in trace.nodes}
    graph = _Graph(next(iter(nodes)), dict(nodes))
    for edge in trace.edges:
        source, target = (edge.source_kind, edge.source), (edge.target_kind, edge.target)
        if source in nodes and target in nodes and source != target:
            graph.sources.setdefault(target, {}).setdefault(source, edge.relation)
    for key, node in nodes.items():
        if key == graph.root:
            continue
        jobs = [near for near in (*graph.sources.get(key, {}), *graph.targets(key)) if near[0] == "job"]
        if node.kind in ("cell", "notebook") and len(set(jobs)) == 1:
            graph.hide(key, jobs[0])
        elif node.kind == "commit":
            made = graph.targets(key)
            held = [one for one in made if one[0] == "dataset"]
            for one in held:
                # Also where the commit has a box of its own, the arrow to the data would only cross others.
                graph.sources[one].pop(key)
                graph.within.setdefault(one, []).append(node)
            if held and len(held) == len(made):
                graph.nodes.pop(key)
    return graph


def _columns(graph: _Graph) -> dict[Key, int]:
    """Steps from the answer along the longest way, counted to the left as negative numbers."""
    columns: dict[Key, int] = {graph.root: 0}
    ahead = [(graph.root, frozenset({graph.root}))]
    while ahead:
        key, behind = ahead.pop()
        for source in graph.sources.get(key, {}):
            # Rows that other software wrote could close a circle.
            if source in behind or columns.get(source, 1) < columns[key]:
                continue
            columns[source] = columns[key] - 1
            ahead.append((source, behind | {source}))
    # A prediction stands under what answered it: a column less, and the picture stays readable.
    if graph.root[0] == "prediction" and len(graph.sources.get(graph.root, {})) == 1:
        columns[graph.root] = -1
    for key in graph.nodes:
        columns.setdefault(key, min(columns.values()))
    return columns


def _spine(graph: _Graph) -> list[Key]:
    """From the answer back to data, by the most telling kind at each step."""
    spine = [graph.root]
    while True:
        made_from = [key for key in graph.sources.get(spine[-1], {}) if key[0] in _SPINE and key not in spine]
        if not made_from:
            return spine
        spine.append(min(made_from, key=lambda key: (_SPINE.index(key[0]), key)))


def _rows(graph: _Graph, columns: Mapping[Key, int], spine: list[Key]) -> dict[Key, int]:
    """The spine on row 0; in each column the others around it, in the order of their kinds."""
    rows: dict[Key, int] = {}
    for column in sorted(set(columns.values())):
        keys = sorted(
            (key for key in graph.nodes if columns[key] == column),
            key=lambda key: (_ORDER.index(key[0]) if key[0] in _ORDER else len(_ORDER), key),
        )
        fixed = [key for key in keys if key in spine and key != graph.root] or [
            key for key in keys if key in spine
        ]
        anchor = keys.index(fixed[0]) if fixed else 0
        for place, key in enumerate(keys):
            rows[key] = place - anchor
    return rows
