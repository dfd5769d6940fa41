"""The widgets in a real browser: what a person reads, clicks and types."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
from monitoring_samples import PREDICTION, april, empty, july
from playwright.sync_api import expect
from widgets_support import (
    TYPES,
    Tab,
    cell,
    draw,
    said,
    update,
)

from mlinfra_lab.schema import monitoring as schema


def test_the_page_has_all_its_parts(open_tab: Tab, tmp_path: Path) -> None:
    page = draw(open_tab, july())
    expect(page.locator("h1")).to_have_text("delay")
    expect(page.locator(".mlm-line2")).to_contain_text("v2 100 %champion · trained on January to June")
    expect(page.locator(".mlm-line2")).to_contain_text("v1 kept warm, rollback in under 1 s")
    expect(page.locator(".mlm-period")).to_have_text("1 March to 28 July, by week")
    expect(page.locator(".mlm-tile")).to_have_count(4)
    assert page.locator(".mlm-tile-figure").all_inner_texts() == ["42", "2.1 ms", "0.00 %", "0.13 PSI"]
    assert page.locator("h3").all_inner_texts() == [
        "Traffic predictions a day, by version",
        "Drift PSI against the training data of the version that answers, by week",
        "Quality log loss, lower is better; dashed while truth is on its way",
        "Alerts", "temp, 9 to 15 April", "What explains the prediction’s move", "Quality by slice",
        "Recent predictions",
    ]  # fmt: skip
    assert page.locator(".mlm-traffic .mlm-name").all_text_contents() == ["v1", "v2", "v3"]
    # 22 windows of the prediction and of the six features that are not calm.
    expect(page.locator("[role=gridcell]")).to_have_count(22 * 7)
    figures = page.locator(".mlm-drift .mlm-figure").all_text_contents()
    assert figures[:4] == [".02", ".01", ".01", "0.18"]  # the first window is too narrow for one
    assert len(figures) == len(PREDICTION) - 1
    expect(page.locator(".mlm-fold")).to_contain_text("8 more")
    expect(page.locator(".mlm-fold")).to_contain_text("calm all along: precip, sched")
    quality = page.locator(".mlm-quality")
    expect(quality.locator(".mlm-hollow")).to_have_count(1)
    expect(quality.locator(".mlm-dashed")).to_have_count(1)
    for words in ("v1 1.06", "v2 0.60", "v3 1.00", "a quarter worse", "held out 0.51"):
        expect(quality.locator("svg")).to_contain_text(words)
    assert page.locator(".mlm-axis text").all_text_contents() == ["March", "April", "May", "June", "July"]
    page.screenshot(path=tmp_path / "july.png", full_page=True)


def test_a_click_chooses_a_cell(open_tab: Tab) -> None:
    page = draw(open_tab, july())
    expect(cell(page, "temp", 6)).to_have_attribute("aria-selected", "true")  # what explains the alert
    cell(page, "humid", 10).click()
    expect(cell(page, "humid", 10)).to_have_attribute("aria-selected", "true")
    expect(page.locator(".mlm-histogram h3").first).to_have_text("humid, 7 to 13 May")
    expect(page.locator(".mlm-explains .mlm-right")).to_have_text("7 to 13 May")
    assert said(page)[-1][1]["feature"] == "humid"


def test_arrows_walk_the_cells(open_tab: Tab) -> None:
    page = draw(open_tab, july())
    cell(page, "temp", 6).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    expect(cell(page, "dewp", 7)).to_be_focused()
    expect(page.locator(".mlm-histogram h3").first).to_have_text("dewp, 16 to 22 April")
    page.keyboard.press("Home")
    expect(cell(page, "dewp", 0)).to_be_focused()
    page.keyboard.press("ArrowLeft")  # there is none: stays
    expect(cell(page, "dewp", 0)).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("End")
    expect(cell(page, "prediction", 21)).to_be_focused()
    expect(page.locator(".mlm-histogram h3").first).to_have_text("Prediction, 23 to 29 July")
    # One stop for the Tab key in the whole map.
    expect(page.locator('[role=gridcell][tabindex="0"]')).to_have_count(1)
    label = cell(page, "temp", 6).get_attribute("aria-label")
    assert label and re.fullmatch(r"temp, 9 to 15 April: PSI [\d.]+, drifted, explains 52 %", label)


def test_calm_features_unfold(open_tab: Tab) -> None:
    page = draw(open_tab, july())
    button = page.locator(".mlm-fold-button")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("[role=gridcell]")).to_have_count(22 * 15)
    expect(button).to_be_focused()
    expect(button).to_have_text("fewer")
    cell(page, "carrier", 4).click()
    expect(page.locator(".mlm-category")).to_have_count(8)
    button.click()
    expect(page.locator("[role=gridcell]")).to_have_count(22 * 7)


def test_the_crosshair_goes_through_all_charts_and_dragging_selects(open_tab: Tab) -> None:
    page = draw(open_tab, july())
    bars = page.locator(".mlm-traffic .mlm-bars").bounding_box()
    assert bars
    x, y = bars["x"] + bars["width"] / 2, bars["y"] + bars["height"] / 2
    page.mouse.move(x, y)
    lines = page.locator(".mlm-crosshair")
    seen = lines.evaluate_all("all => all.map((one) => [one.style.visibility, one.getAttribute('x1')])")
    assert len(seen) == 3 and seen == [["visible", seen[0][1]]] * 3
    expect(page.locator(".mlm-traffic .mlm-tip")).to_contain_text(re.compile(r"May.*v1: \d+", re.S))
    page.mouse.down()
    page.mouse.move(x + 120, y, steps=4)
    page.mouse.up()
    ticks = page.locator(".mlm-axis text").all_text_contents()
    assert ticks != ["March", "April", "May", "June", "July"] and any(
        "May" in one or "June" in one for one in ticks
    )
    assert page.locator("[role=gridcell]").count() < 22 * 7
    page.locator(".mlm-whole").click()
    expect(page.locator("[role=gridcell]")).to_have_count(22 * 7)
    page.mouse.move(5, 5)
    expect(page.locator(".mlm-traffic .mlm-tip")).to_be_hidden()


def test_predictions_are_filtered(open_tab: Tab) -> None:
    page = draw(open_tab, july())
    rows = page.locator(".mlm-predictions tbody tr:visible")
    expect(rows).to_have_count(12)
    box = page.get_by_role("searchbox", name="Filter predictions")
    box.fill("carrier = UA")
    expect(rows).to_have_count(5)
    assert set(page.locator(".mlm-predictions tbody td:nth-child(3)").all_inner_texts()) == {"UA"}
    box.fill("carrier = UA, temp > 80")
    expect(rows).to_have_count(0)
    expect(page.locator(".mlm-predictions [role=status]")).to_have_text("0 of the last 30")
    box.fill("wings = 2")
    expect(page.locator(".mlm-predictions [role=status]")).to_have_text("There is no column “wings”.")
    box.fill("truth = late")
    expect(rows).to_have_count(12)
    box.fill("")
    page.get_by_role("button", name="18 more").click()
    expect(rows).to_have_count(30)
    first = page.locator(".mlm-predictions tbody tr").first
    expect(first).to_contain_text("3 s ago")
    expect(first).to_contain_text("on its way")
    first.get_by_role("button", name="Trace").click()
    assert said(page)[-1] == ["trace", "delay.2.5b.02a41"]


def test_an_alert_offers_what_can_be_done(open_tab: Tab) -> None:
    page = draw(open_tab, april())
    card = page.locator("article")
    expect(card).to_contain_text("Predictions moved since 9 April")
    expect(card.locator("code").first).to_have_text("temp")
    expect(page.locator(".mlm-tile.mlm-broken")).to_have_count(1)
    page.evaluate("window.refuse = 'Alert 1 is being acted on.'")
    card.get_by_role("button", name="Retrain").click()
    expect(card.get_by_role("alert")).to_contain_text("Alert 1 is being acted on.")
    card.get_by_role("button", name="Acknowledge").click()
    assert said(page) == [["act", 1], ["acknowledge", 1]]
    acting = msgspec.structs.replace(april().alerts[0], state="acting", job="42")
    update(page, april(alerts=(acting,)))
    expect(card.get_by_role("button")).to_have_count(0)
    expect(card).to_contain_text("Retraining: job 42")


def test_without_a_callback_nothing_is_offered(open_tab: Tab) -> None:
    page = draw(open_tab, april(), deeds=False)
    expect(page.locator("article")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("Retrain|Acknowledge|Week|Trace"))).to_have_count(0)


def test_a_range_is_asked_for(open_tab: Tab) -> None:
    page = draw(open_tab, july())
    expect(page.get_by_role("button", name="All", exact=True)).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Week", exact=True).click()
    assert said(page) == [["range", "week"]]
    update(page, july(range="week"))
    week = page.get_by_role("button", name="Week", exact=True)
    expect(week).to_have_attribute("aria-pressed", "true")
    expect(week).to_be_focused()


def test_before_anybody_asked_it_says_what_to_do(open_tab: Tab) -> None:
    page = draw(open_tab, empty())
    expect(page.locator(".mlm-traffic code")).to_have_text("mlinfra endpoint show delay")
    expect(page.locator(".mlm-quality")).to_contain_text("No truth yet")
    expect(page.locator(".mlm-alerts")).to_contain_text("No rule was broken.")
    assert set(page.locator(".mlm-tile-figure").all_inner_texts()) == {"–"}
    update(page, july())
    expect(page.locator("[role=gridcell]")).to_have_count(22 * 7)
    update(page, empty())
    expect(page.locator("[role=gridcell]")).to_have_count(0)


def test_a_feature_that_vanished_and_a_window_without_rows(open_tab: Tab) -> None:
    view = july()
    temp = view.drift.features[0]
    gone = msgspec.structs.replace(
        temp, values=(*temp.values[:10], *([None] * 12)), counts=(*temp.counts[:10], *([()] * 12))
    )
    prediction = view.drift.prediction
    assert prediction
    hole = msgspec.structs.replace(prediction, values=(*prediction.values[:8], None, *prediction.values[9:]))
    drift = msgspec.structs.replace(view.drift, features=(gone, *view.drift.features[1:]), prediction=hole)
    page = draw(open_tab, july(drift=drift))
    expect(cell(page, "temp", 15)).to_have_attribute("aria-label", re.compile("too few rows to say"))
    expect(cell(page, "prediction", 8)).to_have_class(re.compile("mlm-none"))
    cell(page, "temp", 15).click()
    expect(page.locator(".mlm-histogram").first).to_contain_text("No counts are kept")


def test_the_types_are_those_of_the_schema() -> None:
    text = TYPES.read_text()
    for name in (
        "Alert",
        "Answering",
        "Tile",
        "Mark",
        "Series",
        "Chart",
        "Span",
        "DriftRow",
        "DriftMap",
        "Slice",
        "Recent",
        "View",
    ):
        body = re.search(rf"export interface {name} {{\n(.*?)\n}}", text, re.S)
        assert body, name
        fields = re.findall(r"^  (\w+):", body[1], re.M)
        assert fields == list(getattr(schema, name).__struct_fields__), name
