"""Nodes of a trace in words: in a line of the tree, in a box of the picture, and at length."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlinfra_lab import humane
from mlinfra_lab.cli import view as v

if TYPE_CHECKING:
    from mlinfra_lab.schema.lineage import Node, Trace

_KINDS = {
    "prediction": "Prediction", "endpoint": "Endpoint", "revision": "Endpoint", "model": "Model version",
    "run": "Run", "job": "Job", "notebook": "Notebook", "cell": "Cell", "dataset": "Dataset version",
    "commit": "Commit", "environment": "Environment", "cluster": "Cluster", "alert": "Alert",
}  # fmt: skip

# Shown at length beneath the tree and the picture.
_LONG = {("cell", "source"), ("prediction", "request")}
# Said by the title already.
_SAID = {("revision", "endpoint"), ("cell", "cell"), ("notebook", "path"), ("dataset", "md5")}
_BYTES = ("size", "bytes")


def kind(node: Node) -> str:
    """What a person calls this kind of node."""
    return _KINDS.get(node.kind, node.kind)


def title(node: Node) -> str:
    """The node's title without the kind, which stands beside it."""
    text = v.one_line(node.title or node.id)
    for prefix in (kind(node), node.kind.capitalize()):
        rest = text.removeprefix(f"{prefix} ")
        if rest != text:
            return humane.short(rest)
    return text


def moment(value: Any) -> dt.datetime | None:
    """A datetime, also where JSON has made a text of it."""
    if isinstance(value, str) and value[4:5] == "-" and value[10:11] in ("T", " "):
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError:
            return None
    return value if isinstance(value, dt.datetime) else None


def words(name: str, value: Any) -> str:
    """One fact in words: ``rows 166,158``, ``clean``, ``log_loss 0.5153``; nothing for ``None``."""
    name = v.one_line(name)
    if value is None or value in ("", {}, []):
        return ""
    if isinstance(value, bool):
        return name if value else f"not {name}"
    if isinstance(value, Mapping):
        return ", ".join(f"{v.one_line(str(key))} {plain(part)}" for key, part in value.items())
    if isinstance(value, int) and name in _BYTES:
        return f"{name} {humane.size(value)}"
    if isinstance(value, int):
        return f"{name} {humane.count(value)}"
    return f"{name} {plain(value)}"


def plain(value: Any) -> str:
    """A value of a fact as a person writes it."""
    if isinstance(value, bool | int):
        return str(value)
    if isinstance(value, float):
        return humane.number(value)
    found = moment(value)
    if found is not None:
        return humane.stamp(found)
    if isinstance(value, list | tuple):
        return f"[{', '.join(plain(part) for part in value)}]"
    if isinstance(value, Mapping):
        return v.one_line(json.dumps(value, ensure_ascii=False, default=str))
    return v.one_line(str(value))


def inline(node: Node) -> list[str]:
    """A node's facts in words, in their order, without those that are too long for a line."""
    hidden = _LONG | _SAID
    found = (words(name, value) for name, value in node.facts.items() if (node.kind, name) not in hidden)
    return [text for text in found if text]


def at_length(trace: Trace) -> list[tuple[str, v.Code | v.Table]]:
    """What does not fit into a line: the source of the cells that made it, and the row that was asked."""
    parts: list[tuple[str, v.Code | v.Table]] = []
    for node in trace.nodes:
        if node.kind == "cell" and node.facts.get("source"):
            of = node.facts.get("of")
            where = f"cell {node.facts.get('cell', '')} of {of}" if of else title(node)
            parts.append((f"The cell that made it: {where}", v.Code(str(node.facts["source"]))))
    asked = trace.nodes[0].facts.get("request") if trace.nodes else None
    if isinstance(asked, Mapping):
        columns = tuple(
            v.Column(str(name), right=isinstance(value, int | float)) for name, value in asked.items()
        )
        parts.append(("What was asked", v.Table(columns, [[v.value(value) for value in asked.values()]])))
    elif asked is not None:
        parts.append(("What was asked", v.Code(plain(asked))))
    return parts
