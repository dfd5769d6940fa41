"""The widgets in a real browser: colours, places, widths, paper, motion."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from monitoring_samples import NOW, april, july
from playwright.sync_api import expect
from widgets_support import (
    DRAW,
    THEMES,
    Tab,
    cell,
    colour,
    contrast,
    draw,
    luminance,
    plain,
    update,
)

from mlinfra_lab.widgets.base import BUNDLE


def test_what_happened_is_a_line_through_all_charts(open_tab: Tab) -> None:
    page = draw(open_tab, july())
    words = page.locator(".mlm-mark text")
    expect(words).to_have_count(3)  # above the first chart only
    places: dict[str, list[float]] = {}
    for kind in ("alert", "rollback"):
        for line in page.locator(f".mlm-mark[data-kind={kind}] > line:not(.mlm-life)").all():
            box = line.bounding_box()
            assert box
            places.setdefault(kind, []).append(box["x"])
    assert {kind: len(xs) for kind, xs in places.items()} == {"alert": 3, "rollback": 3}
    assert all(max(xs) - min(xs) < 0.6 for xs in places.values())
    # No gap between the charts: where one's picture ends the next begins.
    boxes = [
        page.locator(f".mlm-{kind} .mlm-track-box").bounding_box() for kind in ("traffic", "drift", "quality")
    ]
    for above, below in pairwise(boxes):
        assert above and below and abs(above["y"] + above["height"] - below["y"]) < 1


@pytest.mark.parametrize("width", [1440, 1288, 1000, 600])
def test_words_of_marks_do_not_touch(open_tab: Tab, width: int) -> None:
    page = draw(open_tab, july(), width=width)
    boxes = [one.bounding_box() for one in page.locator(".mlm-mark text").all()]
    assert len(boxes) == 3
    for index, one in enumerate(boxes):
        for two in boxes[index + 1 :]:
            apart = one["x"] + one["width"] <= two["x"] or two["x"] + two["width"] <= one["x"]
            assert apart or abs(one["y"] - two["y"]) > 12


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_amber_alarms_blue_explains_and_figures_can_be_read(
    open_tab: Tab, theme: str, tmp_path: Path
) -> None:
    page = draw(open_tab, july(), theme=theme)
    calm, alarming = colour(page, cell(page, "prediction", 3)), colour(page, cell(page, "prediction", 18))
    assert max(calm) - min(calm) < 12
    assert alarming[0] > 200 and alarming[2] < 60
    blues = [colour(page, page.locator(f"[role=gridcell].mlm-step-{step}").first) for step in range(1, 5)]
    assert all(blue[2] >= blue[0] for blue in blues)
    distances = [abs(luminance(blue) - luminance(blues[-1])) for blue in blues]
    assert distances == sorted(distances, reverse=True)
    for figure in page.locator(".mlm-figure").all():
        under = figure.locator("xpath=preceding-sibling::*[1]")
        assert contrast(colour(page, figure), colour(page, under)) >= 4.5
    background = colour(page, page.locator(".mlm-page"), "backgroundColor")
    assert (luminance(background) < 0.1) == (theme == "dark")
    page.screenshot(path=tmp_path / f"{theme}.png", full_page=True)


def test_without_a_theme_the_system_chooses(open_tab: Tab) -> None:
    for dark in (False, True):
        page = open_tab(dark=dark)
        page.set_content("<!doctype html><meta charset=utf-8><body><div id=here></div></body>")
        page.evaluate(DRAW, [BUNDLE.read_text(), "page", plain(april()), NOW.timestamp() * 1000, True])
        background = colour(page, page.locator(".mlm-page"), "backgroundColor")
        text = colour(page, page.locator("h1"), "color")
        assert (luminance(background) < 0.1) == dark
        assert contrast(background, text) > 7


def test_a_changed_theme_is_followed(open_tab: Tab) -> None:
    page = draw(open_tab, july(), theme=None)
    strong = page.locator(".mlm-figure", has_text="2.1")
    before = colour(page, page.locator(".mlm-page"), "backgroundColor")
    page.evaluate(
        """css => { const style = document.createElement("style"); style.textContent = css;
        document.head.append(style);
        document.body.setAttribute("data-jp-theme-light", "false"); }""",
        (THEMES / "theme-dark-extension" / "index.css").read_text(),
    )
    expect(page.locator(".mlm-page")).to_have_css("background-color", "rgb(33, 33, 33)")
    assert before == (255, 255, 255)
    under = strong.locator("xpath=preceding-sibling::*[1]")
    assert contrast(colour(page, strong), colour(page, under)) >= 4.5


def test_a_newer_view_moves_nothing_and_forgets_nothing(open_tab: Tab) -> None:
    page = draw(open_tab, july())
    cell(page, "dewp", 12).click()
    page.get_by_role("searchbox").fill("carrier = UA")
    measured = (
        "() => [...document.querySelectorAll('.mlm-tile, .mlm-tile-figure, section, h3')]"
        ".map((one) => { const r = one.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; })"
    )
    before = page.evaluate(measured)
    tiles = tuple(
        msgspec.structs.replace(one, value=value)
        for one, value in zip(july().tiles, (57.0, 13.8, 0.41, 0.88), strict=True)
    )
    update(page, july(tiles=tiles, number=4712, captured=140_173))
    assert page.locator(".mlm-tile-figure").all_inner_texts() == ["57", "13.8 ms", "0.41 %", "0.88 PSI"]
    assert page.evaluate(measured) == before
    expect(page.get_by_role("searchbox")).to_have_value("carrier = UA")
    expect(page.get_by_role("searchbox")).to_be_focused()
    expect(cell(page, "dewp", 12)).to_have_attribute("aria-selected", "true")
    expect(page.locator(".mlm-predictions .mlm-right")).to_have_text("140,173 captured, 0 missed")


def test_a_lost_connection_dims_and_heals(open_tab: Tab) -> None:
    page = draw(open_tab, april())
    page.evaluate("window.shown.connection('lost')")
    expect(page.locator(".mlm-lost-line")).to_contain_text("Connection lost at")
    expect(page.locator(".mlm-columns")).to_have_css("opacity", "0.5")
    expect(page.get_by_role("button", name="Week", exact=True)).to_be_disabled()
    expect(page.locator(".mlm-live")).to_contain_text("Connection lost")
    page.evaluate("window.shown.connection('live')")
    expect(page.locator(".mlm-lost-line")).to_be_hidden()
    expect(page.locator(".mlm-columns")).to_have_css("opacity", "1")


@pytest.mark.parametrize(("width", "across", "beside"), [(1288, 4, True), (1000, 4, False), (600, 2, False)])
def test_narrow_pages_fold(open_tab: Tab, width: int, across: int, beside: bool, tmp_path: Path) -> None:
    page = draw(open_tab, april(), width=width)
    tiles = [one.bounding_box() for one in page.locator(".mlm-tile").all()]
    assert sum(one["y"] == tiles[0]["y"] for one in tiles) == across
    main, side = page.locator(".mlm-main").bounding_box(), page.locator(".mlm-side").bounding_box()
    assert main and side
    assert (side["x"] >= main["x"] + main["width"]) is beside
    assert beside or side["y"] >= main["y"] + main["height"]
    # Nothing stands out of the page; a wide table scrolls in itself.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for text in page.locator(".mlm-track text").all():
        box = text.bounding_box()
        assert box and box["x"] >= 0 and box["x"] + box["width"] <= width
    page.screenshot(path=tmp_path / f"{width}.png", full_page=True)


def test_paper_is_light_has_no_buttons_and_the_whole_table(open_tab: Tab) -> None:
    page = draw(open_tab, april(), theme="dark")
    page.emulate_media(media="print")
    expect(page.locator(".mlm-predictions tbody tr:visible")).to_have_count(30)
    assert [one for one in page.get_by_role("button").all_inner_texts() if one] == ["All"]
    assert contrast(colour(page, page.locator("h1"), "color"), (255, 255, 255)) > 10


def test_nothing_turns_when_motion_is_reduced(open_tab: Tab) -> None:
    acting = msgspec.structs.replace(april().alerts[0], state="acting", job="42")
    for motion, name in (("no-preference", "mlm-turn"), ("reduce", "none")):
        page = draw(open_tab, april(alerts=(acting,)), reduced_motion=motion)
        expect(page.locator(".mlm-turns")).to_have_css("animation-name", name)


@pytest.mark.parametrize(
    "kind",
    [
        "header",
        "tiles",
        "traffic",
        "drift",
        "quality",
        "alerts",
        "histogram",
        "explains",
        "slices",
        "predictions",
    ],
)
def test_each_part_stands_alone(open_tab: Tab, kind: str, tmp_path: Path) -> None:
    page = draw(open_tab, july(), kind=kind, deeds=False, width=900)
    section = page.locator(f"section.mlm-{kind}")
    box = section.bounding_box()
    assert box and box["height"] > 40 and box["width"] <= 900
    if kind in ("traffic", "drift", "quality"):
        expect(section.locator(".mlm-axis text").first).to_have_text("March")
        expect(section.locator(".mlm-mark text")).to_have_count(3)
    for image in page.locator("svg[role=img]").all():
        assert image.get_attribute("aria-label") or image.get_attribute("aria-labelledby")
    section.screenshot(path=tmp_path / f"{kind}.png")


def test_a_chart_of_anything(open_tab: Tab, tmp_path: Path) -> None:
    falling = [1 / (1 + n / 4) for n in range(30)]
    data = {
        "title": "Loss", "note": "by epoch", "x": list(range(30)), "limit": 0.45, "unit": None, "height": 160,
        "series": [
            {"label": "train", "values": falling, "tone": None},
            {"label": "held out", "values": [None, *(0.2 + one for one in falling[:-1])], "tone": "older"},
        ],
    }  # fmt: skip
    page = draw(open_tab, data, kind="chart", width=800)
    canvas = page.locator("canvas")
    expect(canvas).to_have_count(1)
    expect(
        page.get_by_role("img", name=re.compile("Loss: train from 1.00 to 0.12; held out"))
    ).to_be_visible()
    drawn = (
        "canvas => new Set(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data).size"
    )
    assert canvas.evaluate(drawn) > 10
    box = canvas.bounding_box()
    assert box
    page.mouse.move(box["x"] + 300, box["y"] + 60)
    expect(page.locator(".mlm-reading")).to_contain_text(re.compile(r"train 0\.\d\d"))
    height = page.locator(".mlm-anychart").bounding_box()
    update(
        page,
        {
            **data,
            "x": list(range(31)),
            "series": [  # type: ignore[arg-type]
                {**one, "values": [*one["values"], 0.3]} for one in data["series"]
            ],
        },
    )  # type: ignore[attr-defined]
    assert page.locator(".mlm-anychart").bounding_box() == height
    page.screenshot(path=tmp_path / "chart.png")
