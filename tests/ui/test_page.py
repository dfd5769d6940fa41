"""The monitoring page in a real browser: drawn, live, clicked, dark, printed; nothing is asked elsewhere.

Its pictures are written to the folder that ``MLINFRA_PICTURES`` names, else to the test's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from page_support import Running, StandIn, alert, serving, view
from playwright.sync_api import Page, expect
from support import eventually, write_notebook

from mlinfra_lab.project import Project
from mlinfra_lab.schema.monitoring import Answering
from mlinfra_lab.server.handlers.page import _BUNDLE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not _BUNDLE.exists(), reason="the widgets are not built: make setup"),
]


@pytest.fixture
def served(project: Project) -> Iterator[tuple[Running, StandIn]]:
    with serving(project) as both:
        yield both


class Asked:
    """Every request of a tab, and where it went."""

    def __init__(self, tab: Page) -> None:
        self.urls: list[str] = []
        tab.on("request", lambda request: self.urls.append(request.url))
        tab.on("websocket", lambda socket: self.urls.append(socket.url.replace("ws://", "http://")))

    def check(self, url: str) -> None:
        """None of them to another host."""
        assert self.urls
        elsewhere = [one for one in self.urls if not one.startswith((f"{url}/", "data:", f"blob:{url}/"))]
        assert elsewhere == []


def drawn(tab: Page, link: str) -> None:
    """Open it, and wait until everything is drawn."""
    tab.goto(link)
    tab.wait_for_selector("html[data-drawn]", timeout=30_000)


def test_opened_by_its_link_it_is_drawn(
    served: tuple[Running, StandIn], open_tab: Callable[..., Page], pictures: Path
) -> None:
    running, _ = served
    tab = open_tab()
    asked = Asked(tab)
    drawn(tab, running.link())
    assert tab.url == f"{running.url}/mlinfra/endpoints/delay"
    expect(tab.get_by_role("heading", name="delay")).to_be_visible()
    assert tab.locator(".mlm-tile").count() == 4 or tab.get_by_text("Prediction drift").count()
    assert tab.locator('.mlm-cell[data-row="prediction"]').count() == 16
    for chart in ("traffic", "quality"):
        assert inked(tab, f".mlm-slot-{chart}"), chart
    tab.screenshot(path=pictures / "page-light.png", full_page=True)
    asked.check(running.url)


def inked(tab: Page, where: str) -> bool:
    """Whether something was painted in a chart, on a canvas or as paths."""
    script = """(where) => {
        const box = document.querySelector(where);
        for (const canvas of box.querySelectorAll("canvas")) {
            const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            if (data.some((value) => value > 0)) return true;
        }
        return box.querySelectorAll("svg path, svg rect").length > 0;
    }"""
    return bool(tab.evaluate(script, where))


def test_it_is_live_without_reload(served: tuple[Running, StandIn], open_tab: Callable[..., Page]) -> None:
    running, monitor = served
    tab = open_tab(height=500)
    drawn(tab, running.link())
    tab.evaluate("window.same = true; scrollTo(0, 200)")
    monitor.change(answers=(Answering(revision=2, label="flights-delay/2", share=1.0, tone="now"),))
    expect(tab.get_by_text("flights-delay/2").first).to_be_visible(timeout=5000)
    monitor.change(alerts=())
    expect(tab.get_by_role("button", name="Retrain")).to_have_count(0, timeout=5000)
    assert tab.evaluate("window.same") is True
    assert tab.evaluate("scrollY") == 200


def test_a_cell_is_clicked_and_its_histogram_is_shown(
    served: tuple[Running, StandIn], open_tab: Callable[..., Page]
) -> None:
    running, monitor = served
    tab = open_tab()
    drawn(tab, running.link())
    tab.locator('.mlm-cell[data-row="carrier"][data-index="9"]').click()
    histogram = tab.locator(".mlm-slot-histogram")
    expect(histogram).to_contain_text("carrier")
    expect(histogram).to_contain_text("7 to 13 May")
    expect(histogram).to_contain_text("UA")
    monitor.change(captured=15_000)
    tab.wait_for_timeout(800)
    expect(histogram).to_contain_text("carrier")  # what was chosen stays chosen


def test_the_range_is_changed(served: tuple[Running, StandIn], open_tab: Callable[..., Page]) -> None:
    running, _ = served
    tab = open_tab()
    drawn(tab, running.link())
    tab.get_by_role("button", name="Month", exact=True).click()
    expect(tab.locator('.mlm-cell[data-row="prediction"]')).to_have_count(5, timeout=5000)
    assert tab.url.endswith("range=month")
    tab.reload()
    tab.wait_for_selector("html[data-drawn]")
    assert tab.locator('.mlm-cell[data-row="prediction"]').count() == 5


def test_an_alert_is_acknowledged_and_answered(
    served: tuple[Running, StandIn], open_tab: Callable[..., Page]
) -> None:
    running, monitor = served
    tab = open_tab()
    drawn(tab, running.link())
    tab.get_by_role("button", name="Acknowledge").click()
    eventually(lambda: ("acknowledge", 1) in monitor.calls, 10)
    monitor.change(alerts=(alert(),))
    tab.get_by_role("button", name="Retrain").click()
    eventually(lambda: ("act", 1, {}) in monitor.calls, 10)
    expect(tab.get_by_role("button", name="Retrain")).to_have_count(0, timeout=5000)


@pytest.mark.parametrize("width", [1440, 900, 420])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_light_dark_wide_and_narrow(
    served: tuple[Running, StandIn], open_tab: Callable[..., Page], pictures: Path, width: int, dark: bool
) -> None:
    running, _ = served
    tab = open_tab(width=width, dark=dark)
    drawn(tab, running.link())
    ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(33, 33, 33)" if dark else "rgb(255, 255, 255)")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width, "it scrolls sideways"
    tab.screenshot(path=pictures / f"page-{width}-{'dark' if dark else 'light'}.png", full_page=True)


def test_the_theme_can_be_said_and_paper_is_light(
    served: tuple[Running, StandIn], open_tab: Callable[..., Page], pictures: Path
) -> None:
    running, _ = served
    tab = open_tab()
    drawn(tab, running.link())
    drawn(tab, f"{running.url}/mlinfra/endpoints/delay?theme=dark")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(33, 33, 33)"
    tab.pdf(path=pictures / "page.pdf", format="A4", print_background=True)
    tab.emulate_media(media="print")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_without_traffic_it_says_what_to_do(
    served: tuple[Running, StandIn], open_tab: Callable[..., Page], pictures: Path
) -> None:
    running, monitor = served
    whole = view()
    nothing = msgspec.structs.replace(whole.traffic, times=(), series=())
    monitor.change(
        alerts=(), recent=(), slices=(), marks=(), start=None, end=None, traffic=nothing, quality=nothing,
        drift=msgspec.structs.replace(whole.drift, windows=(), prediction=None, features=()),
        tiles=tuple(msgspec.structs.replace(one, value=None, spark=(), broken=False) for one in whole.tiles),
        empty={"traffic": "Nobody has asked yet: send it a request.", "drift": "No window is complete yet.",
               "quality": "No truth is known yet.", "predictions": "It has answered nothing yet."},
    )  # fmt: skip
    tab = open_tab()
    drawn(tab, running.link())
    expect(tab.get_by_text("Nobody has asked yet").first).to_be_visible()
    tab.screenshot(path=pictures / "page-empty.png", full_page=True)


def test_a_server_that_went_comes_back_under_the_open_page(
    project: Project, open_tab: Callable[..., Page]
) -> None:
    """The page says that it is cut off, and heals by itself."""
    with serving(project) as (running, monitor):
        url = running.url
        tab = open_tab()
        drawn(tab, running.link())
        tab.evaluate("window.same = true")
    expect(tab.get_by_text("Connection lost").first).to_be_visible(timeout=10_000)
    with serving(project) as (running, monitor):
        assert running.url == url
        expect(tab.get_by_text("Connection lost").first).to_be_hidden(timeout=20_000)
        monitor.change(answers=(Answering(revision=2, label="flights-delay/2", share=1.0, tone="now"),))
        expect(tab.get_by_text("flights-delay/2").first).to_be_visible(timeout=5000)
    assert tab.evaluate("window.same") is True


# -- Python ---------------------------------------------------------------------------------------

WIDGET = """
import anywidget, traitlets
class Widget(anywidget.AnyWidget):
    _esm = '''export default { render({ model, el }) {
        el.innerHTML = `<button class="probe">${model.get("word")}</button>`;
        el.firstChild.addEventListener("click", () => { model.set("asked", 1); model.save_changes(); });
        model.on("change:word", () => { el.firstChild.textContent = model.get("word"); });
    } }'''
    word = traitlets.Unicode().tag(sync=True)
    asked = traitlets.Int(0).tag(sync=True)
one = Widget(word=f"kernel of {endpoint}")
one.observe(lambda _: setattr(one, "word", "answered by Python"), "asked")
one
"""


def test_a_notebook_that_was_changed_takes_over(
    project: Project, served: tuple[Running, StandIn], open_tab: Callable[..., Page]
) -> None:
    running, _ = served
    write_notebook(project.root / "notebooks/monitoring/endpoint.ipynb", [WIDGET], parameters="endpoint = ''")
    tab = open_tab()
    asked = Asked(tab)
    tab.goto(running.link(), wait_until="commit")  # the notebook was changed: its cells are the page
    tab.wait_for_url("**python=1**", wait_until="commit")
    tab.wait_for_selector("html[data-drawn]")
    expect(tab.get_by_role("heading", name="delay")).to_be_visible()  # drawn until the cells are there
    tab.wait_for_selector("html[data-joined]", timeout=90_000)
    expect(tab.locator(".probe")).to_have_text("kernel of delay")
    tab.locator(".probe").click()
    expect(tab.locator(".probe")).to_have_text("answered by Python", timeout=15_000)
    asked.check(running.url)
    assert len(running.kernels()) == 1
    tab.close(run_before_unload=True)
    eventually(lambda: running.kernels() == [], 30, "the kernel of a page that was left")


@pytest.mark.parametrize(
    ("cell", "said"), [("raise ValueError('no such thing')", "no such thing"), ("import os; os._exit(1)", "")]
)
def test_it_stays_drawn_when_python_fails(
    project: Project, served: tuple[Running, StandIn], open_tab: Callable[..., Page], cell: str, said: str
) -> None:
    running, monitor = served
    write_notebook(project.root / "notebooks/monitoring/endpoint.ipynb", [cell])
    tab = open_tab()
    tab.goto(running.link(), wait_until="commit")
    tab.wait_for_selector("html[data-failed]", timeout=90_000)
    note = tab.locator("#mlinfra-note")
    expect(note).to_contain_text("Python did not join")
    expect(note).to_contain_text(said)
    monitor.change(answers=(Answering(revision=2, label="flights-delay/2", share=1.0, tone="now"),))
    expect(tab.get_by_text("flights-delay/2").first).to_be_visible(timeout=5000)
