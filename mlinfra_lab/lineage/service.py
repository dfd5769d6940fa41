"""Walking the graph from a thing to everything it was made from."""

from __future__ import annotations

import re
from collections.abc import Callable

from mlinfra_lab.errors import Invalid, NotFound
from mlinfra_lab.lineage import environment, store
from mlinfra_lab.schema.lineage import Edge, Environment, Node, NodeKind, Trace
from mlinfra_lab.storage import Storage

Describe = Callable[[NodeKind, str], tuple[Node, list[Edge]]]
_NAME = r"[a-z0-9][a-z0-9._-]*"
_SHAPES: tuple[tuple[str, NodeKind], ...] = (
    (r"[a-z0-9][a-z0-9-]*\.\d+\.\d+\.\d+", "prediction"),
    (r"[a-z0-9][a-z0-9-]*\.\d+", "revision"),
    (_NAME + r"@\d+", "dataset"),
    (r"[^/]+/\d+", "model"),
    (r"j[a-z2-7]{8}", "job"),
    (r"alert:\d+", "alert"),
    (r"[0-9a-f]{32}", "run"),
    (r"[0-9a-f]{40}", "commit"),
    (r"[0-9a-f]{16}", "environment"),
)


SHAPES = (
    "Give a prediction (delay.1.1.17), a dataset version (flights@1), a model version (flights-delay/1 or "
    "flights-delay@champion), a job (jabcdefgh) or a run."
)


def _known(id: str) -> tuple[NodeKind, str] | None:
    return next(((kind, id) for shape, kind in _SHAPES if re.fullmatch(shape, id)), None)


def kind_of(id: str) -> NodeKind:
    """What an id names, by its shape.

    Raises
    ------
    Invalid
        With the shapes there are.
    """
    known = _known(id)
    if known is None:
        raise Invalid(f"“{id}” is no id that lineage knows.", SHAPES)
    return known[0]


class LineageService:
    """The graph of one project.

    Parameters
    ----------
    describe
        Gives a node with its facts, and the edges into it that are derived rather than written:
        a prediction's id names its revision, a revision's row its model.
    resolve
        Turns another way of naming a thing into its id; gives back what it does not know.
    """

    def __init__(self, storage: Storage, describe: Describe, resolve: Callable[[str], str] = str) -> None:
        self._storage = storage
        self._describe = describe
        self._resolve = resolve

    def show(self, id: str) -> Trace:
        """Everything that led to one thing.

        Parameters
        ----------
        id
            A prediction, dataset version, model version, job, run, commit or environment.

        Raises
        ------
        NotFound
            When the thing itself is unknown; something missing further up is a node that says so.
        """
        first = self.named(id)
        nodes: dict[tuple[NodeKind, str], Node] = {}
        edges: dict[tuple[str, str, str, str], Edge] = {}
        ahead: set[tuple[NodeKind, str]] = {first}
        while ahead:
            found: list[Edge] = store.sources(self._storage, ahead)
            for kind, name in sorted(ahead, key=lambda node: (node != first, node)):
                node, derived = self._describe(kind, name)
                if node.missing is not None and (kind, name) == first:
                    raise NotFound(node.missing, "It is spelt wrong, or it was never here.")
                nodes[kind, name] = node
                found += derived
            for edge in found:
                edges.setdefault((edge.source_kind, edge.source, edge.target_kind, edge.target), edge)
            ahead = {(edge.source_kind, edge.source) for edge in found} - nodes.keys()
        return Trace(nodes=tuple(nodes.values()), edges=tuple(edges.values()))

    def named(self, id: str) -> tuple[NodeKind, str]:
        """Kind and id of what a person named, in whatever way.

        Raises
        ------
        Invalid
            With the shapes there are.
        """
        if _known(id) is None:
            id = self._resolve(id)
        kind = kind_of(id)
        return kind, id.removeprefix(f"{kind}:")

    def into(self, kind: NodeKind, id: str) -> list[Edge]:
        """The recorded edges that end in a thing: what it was made from."""
        return store.sources(self._storage, {(kind, id)})

    def out_of(self, kind: NodeKind, id: str) -> list[Edge]:
        """The recorded edges that begin in a thing: what was made from it."""
        return store.targets(self._storage, kind, id)

    def environment(self, hash: str) -> Environment:
        """One environment record.

        Raises
        ------
        NotFound
            When none has this hash.
        """
        found = store.environment_of(self._storage, hash)
        if found is None:
            raise NotFound(f"There is no environment record {hash}.")
        return found

    def look(self, kernel: str) -> Environment | None:
        """The environment of a kernel as it is now; nothing is written down."""
        return environment.look(kernel)

    def record_environment(self, kernel: str) -> str | None:
        """Write down the environment of a kernel, once; see `environment.record`."""
        return environment.record(self._storage, kernel)
