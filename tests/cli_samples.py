"""Results as the services return them, for tests of how they look."""

from __future__ import annotations

import datetime as dt

from mlinfra_lab.schema.lineage import Edge, Node, NodeKind, Trace

NOW = dt.datetime(2026, 4, 9, 14, 5, 30, tzinfo=dt.UTC)
RUN = "4f2c91aa" * 4
COMMIT = "8d1e0c37" * 5
ENVIRONMENT = "4f2c91aa77e01234"
NASTY = '<script>alert("x")</script> & \x1b[31m"quotes"\n'


def edge(source: tuple[NodeKind, str], target: tuple[NodeKind, str], relation: str = "made") -> Edge:
    return Edge(
        source_kind=source[0], source=source[1], target_kind=target[0], target=target[1], relation=relation
    )


def node(kind: NodeKind, id: str, title: str | None = None, **facts: object) -> Node:
    return Node(kind=kind, id=id, title=title or f"{kind.capitalize()} {id}", facts=dict(facts))


def prediction_trace() -> Trace:
    """A prediction with everything that a job of ours leaves behind; two commits, two datasets."""
    row = {"carrier": "UA", "hour": 16, "temp": 84.02, "note": NASTY}
    nodes = (
        node("prediction", "delay.7.2.11", prediction=[0.62, 0.38], at=NOW, request=row),
        node("revision", "delay.7", "delay, revision 7", endpoint="delay", published=NOW),
        node("model", "flights-delay/2", "flights-delay/2", aliases="champion"),
        node("run", RUN, "Run logreg-jan-feb", experiment="flights", auc=0.7012, log_loss=0.51534),
        node("cell", "jabcdefgh#8", "Cell 8", cell=8, of="nb/train.ipynb", source="log_model(m)\n# <b>"),
        node("job", "jabcdefgh", state="succeeded", parameters={"months": [1, 2], "C": 0.1}),
        node("cluster", "local", backend="local", workers=2),
        node("commit", COMMIT, f"Commit {COMMIT[:10]}", subject="Train"),
        node("dataset", "flights@1", "flights@1", rows=51955, size=1182322),
        node("dataset", "weather@1", "weather@1", rows=26115, size=832322),
        node("environment", ENVIRONMENT, python="3.11.7", packages=214),
        node("notebook", "nb/train.ipynb", "nb/train.ipynb"),
        Node(kind="commit", id="0" * 40, title="Commit 0000000000", missing="There is no commit 0000."),
    )
    job, run = ("job", "jabcdefgh"), ("run", RUN)
    edges = (
        edge(("revision", "delay.7"), ("prediction", "delay.7.2.11"), "answered by"),
        edge(("model", "flights-delay/2"), ("revision", "delay.7")),
        edge(run, ("model", "flights-delay/2")),
        edge(job, run),
        edge(("cell", "jabcdefgh#8"), run, "logged the model"),
        edge(job, ("cell", "jabcdefgh#8")),
        edge(("cluster", "local"), job),
        edge(("commit", COMMIT), job),
        edge(("dataset", "flights@1"), job),
        edge(("dataset", "weather@1"), job),
        edge(("environment", ENVIRONMENT), job),
        edge(("notebook", "nb/train.ipynb"), job),
        edge(("commit", "0" * 40), ("dataset", "flights@1")),
        edge(("commit", COMMIT), ("dataset", "weather@1")),
    )
    return Trace(nodes=nodes, edges=edges)
