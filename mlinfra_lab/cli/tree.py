"""A trace as a tree of text: the thing first, what it was made from beneath, shared ancestors once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlinfra_lab.cli.facts import inline, kind, title
from mlinfra_lab.cli.view import one_line

if TYPE_CHECKING:
    from mlinfra_lab.schema.lineage import Node, Trace

_Key = tuple[str, str]


@dataclass(frozen=True)
class Line:
    """One line of the tree; a node that stood above is named again without its ancestors."""

    prefix: str
    kind: str
    title: str
    facts: str = ""
    missing: str = ""


def sources(trace: Trace) -> dict[_Key, list[_Key]]:
    """For each node those it was made from, in the trace's order, each once."""
    order: dict[_Key, int] = {(node.kind, node.id): place for place, node in enumerate(trace.nodes)}
    found: dict[_Key, list[_Key]] = {key: [] for key in order}
    for edge in trace.edges:
        source, target = (edge.source_kind, edge.source), (edge.target_kind, edge.target)
        if source in order and target in order and source not in found[target]:
            found[target].append(source)
    for made_from in found.values():
        made_from.sort(key=order.__getitem__)
    return found


def draw(trace: Trace) -> Iterator[Line]:
    """The lines of the tree; nodes that no edge reaches from the first come last, as roots of their own."""
    nodes: dict[_Key, Node] = {(node.kind, node.id): node for node in trace.nodes}
    below = sources(trace)
    drawn: set[_Key] = set()
    for key in nodes:
        if key not in drawn:
            yield from _branch(key, nodes, below, drawn, "", "")


def _branch(
    key: _Key, nodes: dict[_Key, Node], below: dict[_Key, list[_Key]], drawn: set[_Key], first: str, rest: str
) -> Iterator[Line]:
    node = nodes[key]
    if key in drawn:
        yield Line(first, kind(node), title(node), "(see above)" if below[key] else "")
        return
    drawn.add(key)
    yield Line(first, kind(node), title(node), " · ".join(inline(node)), one_line(node.missing or ""))
    for place, source in enumerate(below[key]):
        last = place == len(below[key]) - 1
        yield from _branch(
            source, nodes, below, drawn,
            rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "),
        )  # fmt: skip


def as_text(trace: Trace) -> str:
    """The tree without colours, for a notebook's text and for a pipe."""
    lines = []
    for line in draw(trace):
        words = [line.prefix + line.kind, line.title, line.facts, line.missing]
        lines.append("  ".join(word for word in words if word))
    return "\n".join(lines)
