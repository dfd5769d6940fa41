"""Results as the services return them, for tests of how they look."""

from __future__ import annotations

import datetime as dt
from typing import Any

import click
import msgspec

from mlinfra_lab.cli.base import Command
from mlinfra_lab.cli.demo import Written
from mlinfra_lab.demo.traffic import Latency, Traffic
from mlinfra_lab.demo.truth import TruthSent
from mlinfra_lab.schema.clusters import Cluster
from mlinfra_lab.schema.control import Status, StatusLine
from mlinfra_lab.schema.data import Column, ColumnChange, Dataset, DatasetDiff, DatasetVersion
from mlinfra_lab.schema.endpoints import (
    Endpoint,
    GateResult,
    HistoryEntry,
    InputColumn,
    Prediction,
    Revision,
    Rollout,
)
from mlinfra_lab.schema.jobs import CellTime, Job, JobDetail, JobProgress, Parameter
from mlinfra_lab.schema.lineage import (
    CellChange,
    Change,
    Compared,
    Edge,
    Environment,
    Node,
    NodeKind,
    ReproduceReport,
    Reproduction,
    Trace,
)
from mlinfra_lab.schema.models import Model, ModelVersion
from mlinfra_lab.schema.monitoring import Alert, Link
from mlinfra_lab.schema.project import InitReport
from mlinfra_lab.schema.runs import Difference, Run, RunComparison
from mlinfra_lab.schema.tasks import Failure

NOW = dt.datetime(2026, 4, 9, 14, 5, 30, tzinfo=dt.UTC)
RUN = "4f2c91aa" * 4
COMMIT = "8d1e0c37" * 5
ENVIRONMENT = "4f2c91aa77e01234"
NASTY = '<script>alert("x")</script> & \x1b[31m"quotes"\n'


@click.command("broken", cls=Command)
def broken() -> None:
    """A fault of ours."""
    raise RuntimeError("of a kind that nobody expected\nsecond line")


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


YEAR = Column(name="year", type="int64", distinct=1, minimum="2013", maximum="2013", mean=2013.0, std=0.0)
WHEN = Column(name="at", type="timestamp[us]", minimum="2013-01-01 10:00:00.000000Z", maximum=NASTY, nulls=3)
V1 = DatasetVersion(
    dataset="flights",
    version=1,
    path="data/flights",
    md5="ab.dir",
    commit=COMMIT,
    files=2,
    size=4823450,
    rows=51955,
    columns=(YEAR, WHEN),
    message=NASTY,
    created=NOW,
    created_by="ada",
)
V2 = msgspec.structs.replace(V1, version=2, rows=None, columns=(WHEN,))
JOB = Job(
    id="jabcdefgh",
    notebook="nb/train_flight_delay.ipynb",
    output="out.ipynb",
    parameters={"months": [1, 2], "x": NASTY},
    kernel="python3",
    state="failed",
    source_md5="ab",
    commit=COMMIT,
    dirty=True,
    exit_code=1,
    runs=(RUN,),
    error=Failure(
        code="failed",
        message=f"Cell 3 failed: {NASTY}",
        hint="See.",
        detail={"source": NASTY, "traceback": [NASTY]},
    ),
    created=NOW,
    created_by="ada",
    started=NOW,
    ended=NOW + dt.timedelta(seconds=72),
)
TIMES = (CellTime(index=0, id="a", started=NOW, ended=NOW), CellTime(index=1, id="b", started=NOW))
ONE = Run(
    id=RUN,
    name="logreg",
    experiment="flights",
    status="FINISHED",
    started=NOW,
    ended=NOW,
    params={"C": "0.1", "seed": "1"},
    metrics={"auc": 0.7012, "log_loss": 0.5153},
    job="jabcdefgh",
)
TWO = msgspec.structs.replace(ONE, id="8d1e0c37" * 4, params={"C": "1.0", "seed": "1"}, metrics={"auc": 0.69})
REVISION = Revision(
    endpoint="delay",
    number=1,
    model="flights-delay",
    version=2,
    run=RUN,
    alias="champion",
    state="up",
    columns=(InputColumn(name="hour", type="long"),),
    created=NOW,
    created_by="ada",
)
ROLLOUT = Rollout(
    id="rabcdefgh",
    endpoint="delay",
    stable=1,
    candidate=2,
    state="running",
    steps=(0.2, 0.5, 1.0),
    step=1,
    share=0.5,
    results=(
        GateResult(
            gate="errors", held=True, value=0.0, limit=0.01, seen=60, needed=50, text="0 of 60 failed"
        ),
        GateResult(gate="latency", held=False, value=0.2, limit=0.01, seen=60, needed=50, text="slow"),
        GateResult(gate="quality", held=None, value=None, limit=None, seen=0, needed=200, text="no truth"),
    ),
    alias="champion",
    cause="alert:1",
    reason=NASTY,
    created=NOW,
    created_by="ada",
)
HISTORY = HistoryEntry(
    number=1, endpoint="delay", at=NOW, event_time=NOW, kind="rolled_back", revision=2, message=NASTY,
    actor="ada",
)  # fmt: skip
ENDPOINT = Endpoint(
    name="delay",
    desired=True,
    state="up",
    wanted=1,
    serving=1,
    url="http://127.0.0.1:8770/delay/invocations",
    revision=REVISION,
    created=NOW,
    changed=NOW,
)
PREDICTION = Prediction(
    id="delay.1.1.0",
    endpoint="delay",
    revision=1,
    at=NOW,
    event_time=NOW,
    row={"hour": 16, "x": NASTY},
    prediction=[0.62, 0.38],
    latency=0.0019,
    request="r1",
)
VERSION = ModelVersion(
    name="flights-delay", version=2, source="models:/m-1", run=RUN, aliases=("champion",), created=NOW
)
CLUSTER = Cluster(
    name="local",
    backend="local",
    config={"memory": NASTY},
    desired=True,
    state="degraded",
    workers=2,
    connected=1,
    address="tls://127.0.0.1:1",
    dashboard="http://127.0.0.1:2/x/status",
    reason=NASTY,
    changed=NOW,
)
LATENCY = Latency(requests=3, p50=0.002, p95=0.004, worst=0.1)

AUC = Compared(kind="metric", name="auc", then=0.7012345678, now=0.7012345679, same=False, apart=1e-10)
REPRODUCED = ReproduceReport(
    asked=("delay.1.1.0", "delay.1.1.1"),
    verdict="different",
    text="metric auc: 0.7012345678 then, 0.7012345679 now",
    trainings=(
        Reproduction(
            job="jabcdefgh",
            notebook="nb/train_flight_delay.ipynb",
            parameters={"C": 0.1, "x": NASTY},
            models=("flights-delay/2",),
            predictions=("delay.1.1.0", "delay.1.1.1"),
            data=("flights@1", "weather@1"),
            differs=(
                Change(kind="python", name="python", then="3.11.7", now="3.11.9"),
                Change(kind="package", name="scikit-learn", then="1.6.1", now=None),
                *(Change(kind="package", name=f"p{n}", then=None, now="1") for n in range(20)),
            ),
            cells=(CellChange(cell=3, change="changed", diff=f"-C = 1\n+{NASTY}"),),
            notes=(NASTY,),
            reproduction="jbbbbbbbb",
            verdict="different",
            text="metric auc: 0.7012345678 then, 0.7012345679 now",
            first=AUC,
            compared=(
                Compared(kind="data", name="", then=["flights@1"], now=["flights@1"], same=True),
                Compared(kind="parameter", name="rows", then="5", now="6", same=False, counts=False),
                AUC,
                Compared(kind="metric", name="fit_seconds", then=1.0, now=2.0, same=False, counts=False),
                Compared(kind="prediction", name="delay.1.1.0", then=[0.62, 0.38], now=None, same=False),
                Compared(
                    kind="prediction",
                    name="delay.1.1.1",
                    then=[0.6, 0.4],
                    now=[0.61, 0.39],
                    same=False,
                    apart=0.01,
                    note=NASTY,
                ),
            ),
        ),
        Reproduction(
            job="jcccccccc",
            notebook="nb/other.ipynb",
            problems=(
                Failure(code="not_found", message=f"The kept notebook is gone: {NASTY}", hint="Bring it."),
            ),
            text="would be done again",
        ),
    ),
)

ONES: dict[str, Any] = {
    "Dataset": Dataset(name="flights", path="data/flights", versions=2, latest=V1),
    "DatasetVersion": V1,
    "DatasetDiff": DatasetDiff(
        before=V1,
        after=V2,
        rows=None,
        size=0,
        columns=(
            ColumnChange(name="year", before=YEAR, after=None),
            ColumnChange(name="at", before=WHEN, after=msgspec.structs.replace(WHEN, nulls=4, mean=1.5)),
        ),
    ),
    "InitReport": InitReport(
        root="/p", made=("DVC", "mlinfra.toml"), taken=("git",), notes=(NASTY,), commit=COMMIT
    ),
    "Status": Status(
        project="p",
        root="/p",
        database="sqlite:///x",
        controller="up",
        pid=1,
        since=NOW,
        notes=(NASTY,),
        lines=(
            StatusLine(kind="endpoint", name="delay", desired="revision 1", actual="revision 1"),
            StatusLine(kind="cluster", name="local", desired="up", actual="starting", why=NASTY),
        ),
    ),
    "Cluster": CLUSTER,
    "Job": JOB,
    "JobDetail": JobDetail(
        job=JOB, progress=JobProgress(cells=9, current=1, times=TIMES), metrics={"auc": 0.7}, log=NASTY
    ),
    "Parameter": Parameter(name="C", type="float", default="1.0", help=NASTY),
    "Run": ONE,
    "RunComparison": RunComparison(
        runs=(ONE, TWO),
        metric="auc",
        better=ONE.id,
        metrics=(Difference(name="auc", values=(0.7012, 0.69), differs=True),),
        params=(
            Difference(name="C", values=("0.1", None), differs=True),
            Difference(name="seed", values=("1", "1"), differs=False),
        ),
        tags=(Difference(name="same", values=("x", "x"), differs=False),),
    ),
    "Model": Model(name="flights-delay", versions=(VERSION,), aliases={"champion": 2}),
    "ModelVersion": VERSION,
    "Endpoint": msgspec.structs.replace(ENDPOINT, previous=3, rollout=ROLLOUT),
    "Rollout": ROLLOUT,
    "HistoryEntry": HISTORY,
    "Prediction": PREDICTION,
    "Traffic": Traffic(
        rows=100,
        requests=6,
        first="a.1.1.0",
        last="a.1.1.99",
        mean=0.2,
        seconds=1.2,
        singles=LATENCY,
        batches=Latency(requests=0, p50=0, p95=0, worst=0),
    ),
    "TruthSent": TruthSent(
        answers=100, accepted=97, unknown=1, never_arrived=2, late=0.25, requests=1, seconds=0.1
    ),
    "Link": Link(
        endpoint="delay",
        url="http://127.0.0.1:8123/mlinfra/open?name=delay&ticket=abc",
        page="http://127.0.0.1:8123/mlinfra/endpoints/delay",
        expires=NOW,
    ),
    "Alert": Alert(
        number=1,
        endpoint="delay",
        revision=1,
        rule="prediction_drift",
        state="open",
        since=NOW,
        until=NOW,
        raised=NOW,
        value=0.31,
        limit=0.25,
        message=NASTY,
        explains=(("temp", 0.4), (NASTY, 0.2)),
        acknowledged_by="ada",
        job="jabcdefgh",
        model="flights-delay/2",
        error=NASTY,
        closed=NOW,
    ),
    "Trace": prediction_trace(),
    "Environment": Environment(
        hash="4f2c91aa77e01234", python="3.11", platform="Linux", packages=("a==1",), created=NOW
    ),
    "ReproduceReport": REPRODUCED,
    "Written": Written(path="data/x.parquet", size=2048),
}
