"""What is long is cut where it stands, and dates say their year where it is needed."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from monitoring_pieces import at
from monitoring_samples import april, july
from playwright.sync_api import Page, expect
from widgets_support import Tab, draw

from mlinfra_lab.schema.monitoring import Slice, View
from mlinfra_lab.widgets import still

LONG = "x" * 4_990 + " the end."
NAME = "a_column_whose_name_" + "goes_on_" * 12


def long_texts() -> View:
    """July, where a stranger wrote long texts into rows."""
    view = july()
    columns = ("carrier", NAME, "dest", "sched", "temp")
    rows: list[Any] = []
    for index, one in enumerate(view.recent):
        row = {**one.row, NAME: one.row["origin"]}
        row |= {"carrier": LONG} if index == 3 else {}
        number = f"delay-{'of-flights-' * 6}.1.000003.{index}"
        rows.append(msgspec.structs.replace(one, row=row, id=number))
    slices = tuple(
        Slice(column=NAME, value=value, truths=10_126, values={"v1": 0.71, "v2": 0.55})
        for value in ("a value of thirty-three characters", LONG, "JFK")
    )
    return july(recent=tuple(rows), columns=columns, slices=slices, endpoint="delay-" + "of-flights-" * 6)


def years() -> View:
    """From November 2012 to July 2013."""
    view, back = july(), dt.timedelta(days=7 * 17)
    spans = tuple(
        msgspec.structs.replace(one, start=one.start - back, end=one.end - back) for one in view.drift.windows
    )
    quality = msgspec.structs.replace(view.quality, times=tuple(time - back for time in view.quality.times))
    drift = msgspec.structs.replace(view.drift, windows=spans)
    return july(start=spans[0].start, drift=drift, quality=quality, alerts=(), marks=())


def wide(page: Page) -> int:
    found: int = page.evaluate("document.documentElement.scrollWidth")
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1288, 1300, 1440])
def test_a_long_value_pushes_nothing_out_of_sight(
    open_tab: Tab, width: int, theme: str, tmp_path: Path
) -> None:
    page = draw(open_tab, long_texts(), width=width, theme=theme)
    page.screenshot(path=tmp_path / f"long-{theme}-{width}.png", full_page=True)
    assert wide(page) <= width
    scroll = page.locator(".mlm-predictions .mlm-scroll")
    assert scroll.evaluate("one => one.scrollWidth <= one.clientWidth")
    for button in page.get_by_role("button", name="Trace").all():
        box = button.bounding_box()
        assert box is None or box["x"] + box["width"] <= width  # folded rows have no box
    long = page.locator(".mlm-predictions tbody td code").get_by_text(LONG)
    expect(long).to_have_attribute("title", LONG)
    expect(long).to_have_css("text-overflow", "ellipsis")
    rows = page.locator(".mlm-predictions tbody tr:visible")
    heights = {round(one.bounding_box()["height"]) for one in rows.all()}
    assert max(heights) - min(heights) <= 1
    expect(page.get_by_title(NAME).first).to_be_visible()
    code = page.locator("[data-id$='.000003.3'] td code").first
    expect(code).to_have_text("delay-of-fli…-.1.000003.3")
    expect(code).to_have_attribute("title", long_texts().recent[3].id)


@pytest.mark.parametrize("width", [360, 700, 1288])
def test_a_long_slice_makes_no_page_scroll(open_tab: Tab, width: int, tmp_path: Path) -> None:
    page = draw(open_tab, long_texts(), width=width)
    page.screenshot(path=tmp_path / f"slices-{width}.png", full_page=True)
    assert wide(page) <= width
    table = page.locator(".mlm-slices .mlm-scroll")
    assert table.evaluate("one => one.scrollWidth <= one.clientWidth")
    names = page.locator(".mlm-slices tbody th code")
    expect(names.nth(0)).to_have_attribute("title", "a value of thirty-three characters")
    expect(names.nth(1)).to_have_css("text-overflow", "ellipsis")
    expect(names.nth(2)).to_have_text("JFK")


@pytest.mark.parametrize("label", ["v1", "v12345", "the-candidate-of-last-week"])
@pytest.mark.parametrize("width", [1280, 1440, 700])
def test_words_beside_the_quality_chart_stay_in_their_column(
    open_tab: Tab, width: int, label: str, tmp_path: Path
) -> None:
    view = april()
    series = tuple(msgspec.structs.replace(one, label=label) for one in view.quality.series)
    view = april(quality=msgspec.structs.replace(view.quality, series=series))
    page = draw(open_tab, view, width=width)
    page.screenshot(path=tmp_path / f"{label}-{width}.png", full_page=True)
    expect(page.locator(".mlm-quality text", has_text="estimated")).to_have_count(1)
    column = page.locator(".mlm-quality").bounding_box()
    assert column
    boxes = [one.bounding_box() for one in page.locator(".mlm-quality svg text").all()]
    assert all(box["x"] + box["width"] <= column["x"] + column["width"] + 0.5 for box in boxes)
    beside = sorted(box["y"] for box in boxes if box["x"] > column["x"] + column["width"] - 112)
    assert all(b - a > 10 for a, b in pairwise(beside))


@pytest.mark.parametrize("width", [1288, 360])
def test_several_years_are_named(open_tab: Tab, width: int, tmp_path: Path) -> None:
    page = draw(open_tab, years(), width=width)
    page.screenshot(path=tmp_path / f"years-{width}.png", full_page=True)
    expect(page.locator(".mlm-period")).to_have_text("30 October 2012 to 28 July 2013, by week")
    ticks = page.locator(".mlm-axis text").all_text_contents()
    said = {text.split()[-1] for text in ticks}
    assert said == ({"2012", "2013"} if width > 600 else {"2013"})  # one January, one July fit there
    boxes = [one.bounding_box() for one in page.locator(".mlm-axis text").all()]
    assert all(a["x"] + a["width"] < b["x"] for a, b in pairwise(boxes))
    heading = page.locator(".mlm-histogram h3").first
    assert heading.inner_text().endswith(("2012", "2013"))
    assert wide(page) <= width


@pytest.mark.parametrize(
    ("start", "end", "said", "axis"),
    [
        ((2012, 12, 28), (2013, 1, 3), "28 December 2012 to 2 January 2013", {"2012", "2013"}),
        ((2012, 11, 20), (2013, 1, 10), "20 November 2012 to 9 January 2013", {"2012", "2013"}),
        ((2012, 12, 1), (2013, 1, 1), "1 to 31 December", {"December"}),
        ((2009, 3, 1), (2013, 7, 1), "1 March 2009 to 30 June 2013", {"2010", "2011", "2012", "2013"}),
    ],
)
def test_only_what_is_in_two_years_says_them(
    open_tab: Tab, start: tuple[int, int, int], end: tuple[int, int, int], said: str, axis: set[str]
) -> None:
    first, last = dt.datetime(*start, tzinfo=dt.UTC), dt.datetime(*end, tzinfo=dt.UTC)
    days = range((last - first).days)
    times = tuple(first + dt.timedelta(days=index) for index in days)
    series = (msgspec.structs.replace(july().traffic.series[0], values=tuple(900 for _ in days)),)
    traffic = msgspec.structs.replace(july().traffic, times=times, series=series)
    nothing = msgspec.structs.replace(july().drift, windows=(), prediction=None, features=())
    view = july(start=first, end=last, traffic=traffic, drift=nothing, alerts=(), marks=())
    page = draw(open_tab, view, kind="header", width=1000)
    expect(page.locator(".mlm-period")).to_have_text(f"{said}, by week")
    page = draw(open_tab, view, kind="traffic", width=1000)
    found = {text.split()[-1] for text in page.locator(".mlm-axis text").all_text_contents()}
    assert axis <= found <= axis | {str(start[0])}


def test_the_still_form_cuts_and_names_years() -> None:
    html, text = still.page(long_texts())
    assert text.count(LONG) == 0
    assert f'title="{LONG}"' in html and f">{LONG}" not in html
    html, text = still.page(years())
    assert "30 October 2012 to " in text
    assert "2013" not in still.part("header", july(start=at(3, 1), end=at(7, 1)), None)[1]
