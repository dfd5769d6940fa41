"""The picture of a trace: where boxes stand, and what the SVG is made of."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

from cli_samples import NASTY, edge, node, prediction_trace

from mlinfra_lab.cli.view import Graph
from mlinfra_lab.magics.html import page
from mlinfra_lab.magics.layout import layout
from mlinfra_lab.magics.picture import svg, words
from mlinfra_lab.schema.lineage import Node, Trace

SVG = "{http://www.w3.org/2000/svg}"


def texts(picture):
    return [element.text for element in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def test_data_stands_left_and_the_answer_right_on_one_line():
    boxes = layout(prediction_trace()).boxes
    places = {kind: (box.column, box.row) for (kind, _), box in boxes.items()}
    spine = ["job", "run", "model", "revision"]
    row = boxes["dataset", "flights@1"].row
    assert [places[kind] for kind in spine] == [(1, row), (2, row), (3, row), (4, row)]
    assert boxes["dataset", "flights@1"].column == boxes["dataset", "weather@1"].column == 0
    # The prediction stands under what answered it.
    assert places["prediction"] == (4, row + 1)


def test_what_only_repeats_a_box_is_drawn_into_it():
    placed = layout(prediction_trace())
    assert ("notebook", "nb/train.ipynb") not in placed.boxes
    assert ("cell", "jabcdefgh#8") not in placed.boxes
    assert ("commit", "0" * 40) not in placed.boxes
    assert {one.kind for one in placed.boxes["job", "jabcdefgh"].within} == {"cell", "notebook"}
    assert words(placed.boxes["job", "jabcdefgh"]) == ("Job · cell 8", "train", "months [1, 2] · C 0.1")


def test_no_two_boxes_stand_in_one_place():
    boxes = layout(prediction_trace()).boxes.values()
    assert len({(box.column, box.row) for box in boxes}) == len(boxes)
    assert all(box.column >= 0 and box.row >= 0 for box in boxes)


def test_arrows_lead_from_left_to_right_and_the_spine_is_one_line():
    placed = layout(prediction_trace())
    for arrow in placed.arrows:
        source, target = placed.boxes[arrow.source], placed.boxes[arrow.target]
        assert source.column < target.column or target.node.kind == "prediction"
    spine = [(arrow.source[0], arrow.target[0]) for arrow in placed.arrows if arrow.spine]
    steps = ["dataset", "job", "run", "model", "revision", "prediction"]
    assert set(spine) == set(pairwise(steps))


def test_a_thing_without_ancestors_a_circle_and_a_missing_one_are_drawn():
    alone = Trace(nodes=(node("dataset", "flights@1"),), edges=())
    assert len(layout(alone).boxes) == 1
    circle = Trace(
        nodes=(
            node("job", "ja"),
            node("dataset", "d@1"),
            Node(kind="run", id="r", title="r", missing="gone"),
        ),
        edges=(
            edge(("dataset", "d@1"), ("job", "ja")),
            edge(("job", "ja"), ("dataset", "d@1")),
            edge(("run", "r"), ("job", "ja")),
        ),
    )
    assert len(layout(circle).boxes) == 3
    assert "gone" in texts(svg(circle))
    assert "stroke-dasharray" in svg(circle)


def test_the_commit_itself_and_the_cell_itself_can_be_asked_about():
    commit = node("commit", "1" * 40)
    trace = Trace(nodes=(commit,), edges=())
    assert ("commit", "1" * 40) in layout(trace).boxes
    cell = Trace(
        nodes=(node("cell", "ja#1", cell=1), node("job", "ja")),
        edges=(edge(("job", "ja"), ("cell", "ja#1")),),
    )
    assert set(layout(cell).boxes) == {("cell", "ja#1"), ("job", "ja")}


def test_the_picture_is_well_formed_and_says_what_it_is():
    picture = ElementTree.fromstring(svg(prediction_trace()))
    assert picture.get("role") == "img"
    title, description = picture.find(f"{SVG}title"), picture.find(f"{SVG}desc")
    assert title is not None and description is not None
    assert picture.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert title.text == "Lineage of prediction delay.7.2.11"
    assert "Run logreg-jan-feb was made from Job jabcdefgh, Cell 8." in (description.text or "")


def test_the_boxes_say_what_one_wants_to_know_next():
    said = texts(svg(prediction_trace()))
    for text in (
        "flights@1",
        "51,955 rows · 1.1 MiB",
        "logreg-jan-feb",
        "champion",
        "[0.62, 0.38]",
        "Python 3.11.7",
    ):
        assert text in said


def test_colours_are_the_themes_with_a_fallback_that_fits_any_page():
    picture = svg(prediction_trace())
    assert "<style" not in picture
    colours = re.findall(r"(?:fill|stroke):([^;\"]+)", picture)
    assert colours
    for colour in colours:
        assert colour == "none" or re.match(r"var\(--jp-[a-z0-9-]+, .+\)$", colour), colour


def test_whatever_stands_in_a_fact_is_text():
    trace = Trace(
        nodes=(
            node("model", "m/1", NASTY, aliases=NASTY),
            Node(kind="run", id="r", title=NASTY, missing=NASTY),
        ),
        edges=(edge(("run", "r"), ("model", "m/1")),),
    )
    html = page(Graph(trace))
    assert "<script>" not in html
    assert "\x1b" not in html
    ElementTree.fromstring(svg(trace))


def test_the_same_trace_twice_on_a_page_and_another_one_do_not_share_names_by_chance():
    one = re.findall(r'id="([^"]+)"', svg(prediction_trace()))
    other = re.findall(r'id="([^"]+)"', svg(Trace(nodes=(node("dataset", "d@1"),), edges=())))
    assert len(set(one)) == len(one)
    assert not set(one) & set(other)


def test_where_only_text_survives_the_words_stay_apart_and_the_tree_is_there():
    html = page(Graph(prediction_trace()))
    stripped = re.sub(r"<[^>]+>", "", html)
    assert "flights@1\n" in stripped
    assert "└─ Endpoint  delay, revision 7" in stripped
    assert "The cell that made it: cell 8 of nb/train.ipynb" in stripped
