"""Every result has a view; each view can be drawn on every face."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import msgspec
import pytest
from cli_samples import CLUSTER, JOB, ONES, RUN

from mlinfra_lab.cli import view as v
from mlinfra_lab.cli.base import Listing
from mlinfra_lab.cli.render import as_json, show
from mlinfra_lab.cli.term import Terminal, plain
from mlinfra_lab.cli.views import KNOWN, view
from mlinfra_lab.humane import width
from mlinfra_lab.magics.html import page
from mlinfra_lab.schema.tasks import Failure

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
ALONE = tuple(name for name in ONES if name not in ("Parameter", "Written"))


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


@pytest.mark.parametrize(("value", "id"), [(JOB, JOB.id), (ONES["JobDetail"], JOB.id), (ONES["Run"], RUN)])
def test_a_piped_card_has_the_id_that_commands_take(value, id):
    assert f"id\t{id}" in plain(view(value)).split("\n")
    assert id in Terminal(colour=False).draw(view(value)).split("\n")[0]
    assert id in Tags(page(view(value))).words


def test_a_piped_card_keeps_its_note():
    version = msgspec.structs.replace(ONES["DatasetVersion"], message="as it\ncame")
    assert "note\tas it came" in plain(view(version))


@pytest.mark.parametrize(
    ("state", "code"), [("lost", "1"), ("timed_out", "1"), ("cancelled", "1"), ("running", None)]
)
def test_a_job_that_ended_without_a_code_shows_what_waiting_for_it_ends_with(state, code):
    one = msgspec.structs.replace(JOB, state=state, exit_code=None)
    facts = dict(line.split("\t", 1) for line in plain(view(one)).split("\n"))
    assert facts.get("exit code") == code
