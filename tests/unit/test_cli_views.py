"""Every result has a view; each view can be drawn on every face."""

from __future__ import annotations

import datetime as dt
import json
from html.parser import HTMLParser

import msgspec
import pytest
from cli_samples import COMMIT, NASTY, NOW, RUN, prediction_trace

from mlinfra_lab.cli import view as v
from mlinfra_lab.cli.base import Listing
from mlinfra_lab.cli.demo import Written
from mlinfra_lab.cli.render import as_json, show
from mlinfra_lab.cli.term import Terminal, plain
from mlinfra_lab.cli.views import KNOWN, view
from mlinfra_lab.demo.traffic import Latency, Traffic
from mlinfra_lab.humane import width
from mlinfra_lab.magics.html import page
from mlinfra_lab.schema.clusters import Cluster
from mlinfra_lab.schema.control import Status, StatusLine
from mlinfra_lab.schema.data import Column, ColumnChange, Dataset, DatasetDiff, DatasetVersion
from mlinfra_lab.schema.endpoints import Endpoint, InputColumn, Prediction, Revision
from mlinfra_lab.schema.jobs import CellTime, Job, JobDetail, JobProgress, Parameter
from mlinfra_lab.schema.lineage import Environment
from mlinfra_lab.schema.models import Model, ModelVersion
from mlinfra_lab.schema.project import InitReport
from mlinfra_lab.schema.runs import Difference, Run, RunComparison
from mlinfra_lab.schema.tasks import Failure

YEAR = Column(name="year", type="int64", distinct=1, minimum="2013", maximum="2013", mean=2013.0, std=0.0)
WHEN = Column(name="at", type="timestamp[us]", minimum="2013-01-01 10:00:00.000000Z", maximum=NASTY, nulls=3)
V1 = DatasetVersion(
    dataset="flights", version=1, path="data/flights", md5="ab.dir", commit=COMMIT, files=2, size=4823450,
    rows=51955, columns=(YEAR, WHEN), message=NASTY, created=NOW, created_by="ada",
)  # fmt: skip
V2 = msgspec.structs.replace(V1, version=2, rows=None, columns=(WHEN,))
JOB = Job(
    id="jabcdefgh", notebook="nb/train_flight_delay.ipynb", output="out.ipynb", parameters={"months": [1, 2], "x": NASTY},
    kernel="python3", state="failed", source_md5="ab", commit=COMMIT, dirty=True, exit_code=1, runs=(RUN,),
    error=Failure(code="failed", message=f"Cell 3 failed: {NASTY}", hint="See.", detail={"source": NASTY, "traceback": [NASTY]}),
    created=NOW, created_by="ada", started=NOW, ended=NOW + dt.timedelta(seconds=72),
)  # fmt: skip
TIMES = (CellTime(index=0, id="a", started=NOW, ended=NOW), CellTime(index=1, id="b", started=NOW))
ONE = Run(id=RUN, name="logreg", experiment="flights", status="FINISHED", started=NOW, ended=NOW,
          params={"C": "0.1", "seed": "1"}, metrics={"auc": 0.7012, "log_loss": 0.5153}, job="jabcdefgh")  # fmt: skip
TWO = msgspec.structs.replace(ONE, id="8d1e0c37" * 4, params={"C": "1.0", "seed": "1"}, metrics={"auc": 0.69})
REVISION = Revision(
    endpoint="delay", number=1, model="flights-delay", version=2, run=RUN, alias="champion", state="up",
    columns=(InputColumn(name="hour", type="long"),), created=NOW, created_by="ada",
)  # fmt: skip
ENDPOINT = Endpoint(
    name="delay", desired=True, state="up", wanted=1, serving=1, url="http://127.0.0.1:8770/delay/invocations",
    revision=REVISION, created=NOW, changed=NOW,
)  # fmt: skip
PREDICTION = Prediction(
    id="delay.1.1.0", endpoint="delay", revision=1, at=NOW, event_time=NOW, row={"hour": 16, "x": NASTY},
    prediction=[0.62, 0.38], latency=0.0019, request="r1",
)  # fmt: skip
VERSION = ModelVersion(
    name="flights-delay", version=2, source="models:/m-1", run=RUN, aliases=("champion",), created=NOW
)
CLUSTER = Cluster(
    name="local", backend="local", config={"memory": NASTY}, desired=True, state="degraded", workers=2,
    connected=1, address="tls://127.0.0.1:1", dashboard="http://127.0.0.1:2/x/status", reason=NASTY, changed=NOW,
)  # fmt: skip
LATENCY = Latency(requests=3, p50=0.002, p95=0.004, worst=0.1)

ONES = {
    "Dataset": Dataset(name="flights", path="data/flights", versions=2, latest=V1),
    "DatasetVersion": V1,
    "DatasetDiff": DatasetDiff(
        before=V1, after=V2, rows=None, size=0,
        columns=(ColumnChange(name="year", before=YEAR, after=None), ColumnChange(name="at", before=WHEN,
                 after=msgspec.structs.replace(WHEN, nulls=4, mean=1.5))),
    ),
    "InitReport": InitReport(root="/p", made=("DVC", "mlinfra.toml"), taken=("git",), notes=(NASTY,), commit=COMMIT),
    "Status": Status(
        project="p", root="/p", database="sqlite:///x", controller="up", pid=1, since=NOW, notes=(NASTY,),
        lines=(StatusLine(kind="endpoint", name="delay", desired="revision 1", actual="revision 1"),
               StatusLine(kind="cluster", name="local", desired="up", actual="starting", why=NASTY)),
    ),
    "Cluster": CLUSTER,
    "Job": JOB,
    "JobDetail": JobDetail(
        job=JOB, progress=JobProgress(cells=9, current=1, times=TIMES), metrics={"auc": 0.7}, log=NASTY
    ),
    "Parameter": Parameter(name="C", type="float", default="1.0", help=NASTY),
    "Run": ONE,
    "RunComparison": RunComparison(
        runs=(ONE, TWO), metric="auc", better=ONE.id,
        metrics=(Difference(name="auc", values=(0.7012, 0.69), differs=True),),
        params=(Difference(name="C", values=("0.1", None), differs=True),
                Difference(name="seed", values=("1", "1"), differs=False)),
        tags=(Difference(name="same", values=("x", "x"), differs=False),),
    ),
    "Model": Model(name="flights-delay", versions=(VERSION,), aliases={"champion": 2}),
    "ModelVersion": VERSION,
    "Endpoint": ENDPOINT,
    "Prediction": PREDICTION,
    "Traffic": Traffic(rows=100, requests=6, first="a.1.1.0", last="a.1.1.99", mean=0.2, seconds=1.2,
                       singles=LATENCY, batches=Latency(requests=0, p50=0, p95=0, worst=0)),
    "Trace": prediction_trace(),
    "Environment": Environment(hash="4f2c91aa77e01234", python="3.11", platform="Linux", packages=("a==1",), created=NOW),
    "Written": Written(path="data/x.parquet", size=2048),
}  # fmt: skip
LISTED = (
    "Dataset",
    "DatasetVersion",
    "Cluster",
    "Job",
    "Parameter",
    "Run",
    "Model",
    "Endpoint",
    "Prediction",
    "Written",
)
ALONE = tuple(name for name in ONES if name not in ("Dataset", "Parameter", "Written"))


def results():
    for name in ALONE:
        yield pytest.param(ONES[name], id=name)
    for name in LISTED:
        yield pytest.param(Listing([ONES[name]], name, "none"), id=f"[{name}]")
        yield pytest.param(Listing([], name, "none yet"), id=f"no {name}")


class Tags(HTMLParser):
    """Fails on HTML that is not balanced, and keeps the tags and the words."""

    def __init__(self, html):
        super().__init__()
        self.open, self.seen, self.words = [], set(), ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.add(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def test_every_known_type_is_tried_here():
    assert set(KNOWN) == set(ONES)


@pytest.mark.parametrize("value", [*results()])
def test_results_can_be_drawn_everywhere_and_never_write_over_the_screen(value, tmp_path):
    seen = view(value, tmp_path)
    assert seen is not None
    for columns in (40, 100, 400):
        text = Terminal(colour=False, columns=columns).draw(seen)
        assert text
        assert "\x1b" not in text
    coloured = Terminal(colour=True).draw(seen)
    assert '\x1b[31m"quotes' not in coloured
    assert "\x1b" not in plain(seen)


@pytest.mark.parametrize("value", [*results()])
def test_html_is_balanced_and_escaped(value, tmp_path):
    seen = view(value, tmp_path)
    html = page(seen)
    tags = Tags(html)
    assert "script" not in tags.seen
    assert "\x1b" not in tags.words
    # Styles stand on elements: a sheet would reach into the rest of the page.
    assert "style" not in tags.seen


@pytest.mark.parametrize("value", [*results()])
def test_json_is_the_structs_of_the_schema(value):
    decoded = json.loads(as_json(value))
    assert decoded == json.loads(msgspec.json.encode(list(value) if isinstance(value, list) else value))


@pytest.mark.parametrize("name", LISTED)
def test_piped_tables_have_a_header_and_one_line_a_row(name):
    columns = plain(view(Listing([ONES[name]] * 3, name, "none"))).split("\n")
    assert len(columns) == 4
    assert len({line.count("\t") for line in columns}) == 1
    assert plain(view(Listing([], name, "none"))) == ""


def test_piped_values_are_exact():
    head, row = (
        line.split("\t") for line in plain(view(Listing([ONES["Dataset"]], "Dataset", ""))).split("\n")
    )
    found = dict(zip(head, row, strict=True))
    assert found["rows"] == "51955"
    assert found["size"] == "4823450"
    assert found["changed"] == "2026-04-09T14:05:30+00:00"


def test_a_table_keeps_to_a_narrow_screen_and_spares_empty_columns():
    table = v.Table(
        (v.Column("Name"), v.Column("Figure", right=True), v.Column("Why", optional=True)),
        [(v.text("backtest_gradient_boosting_by_month", strong=True), v.number(0.5), v.text(None)),
         (v.text("航班延误预测模型航班延误预测模型", strong=True), v.number(12345.0), v.text(None))],
    )  # fmt: skip
    lines = Terminal(colour=False, columns=30).draw(table).split("\n")
    assert lines[0].split() == ["Name", "Figure"]
    assert all(width(line) <= 30 for line in lines)
    assert lines[1] == "backtest_gr…g_by_month     0.5"
    assert lines[2].endswith("12,345")
    assert plain(table).split("\n")[0] == "name\tfigure\twhy"


def test_a_failed_job_shows_its_cell_and_one_whose_kernel_died_its_log():
    failed = Terminal(colour=False).draw(view(ONES["JobDetail"]))
    assert "error: Cell 3 failed" in failed and "The cell that failed" in failed and "Its traceback" in failed
    lost = msgspec.structs.replace(
        JOB, state="lost", error=Failure(code="interrupted", message="It was lost.")
    )
    detail = msgspec.structs.replace(ONES["JobDetail"], job=lost, log="last words\n")
    assert "The end of its log\nlast words" in Terminal(colour=False).draw(view(detail))


def test_the_better_run_stands_out_and_what_is_equal_is_dim():
    rows = {row[0].text: row[1:] for row in view(ONES["RunComparison"]).rows}
    assert [cell.strong for cell in rows["auc"]] == [True, False]
    assert all(cell.dim for cell in rows["seed"])
    assert "same" not in rows


def test_in_a_kept_notebook_moments_stay_true():
    html = page(view(Listing([ONES["Dataset"]], "Dataset", "")))
    assert " ago" not in html
    assert "9 April 2026" in html


def test_addresses_are_links_only_when_a_browser_may_follow_them():
    for address, linked in (("http://127.0.0.1:2/status", True), ("javascript:alert(1)", False)):
        html = page(view(msgspec.structs.replace(CLUSTER, dashboard=address)))
        assert ("<a " in html) is linked


def test_text_and_unknown_values_are_printed_as_they_are(capsys):
    show("a-token")
    show(42)
    assert capsys.readouterr().out == "a-token\n42\n"


def test_json_of_a_listing_and_of_text(capsys):
    show(Listing([], "Job", "No jobs."), json=True)
    show("a-token", json=True)
    assert capsys.readouterr().out == '[]\n"a-token"\n'
