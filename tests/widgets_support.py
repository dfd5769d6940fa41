"""Widgets drawn in a tab, and what a person sees of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jupyterlab
import msgspec
from monitoring_samples import NOW
from playwright.sync_api import Page

from mlinfra_lab.schema.monitoring import View
from mlinfra_lab.widgets.base import BUNDLE

THEMES = Path(jupyterlab.__file__).parent / "themes" / "@jupyterlab"
TYPES = Path(__file__).parents[1] / "labextension" / "src" / "widgets" / "view.ts"
Tab = Callable[..., Page]

DRAW = """async ([code, kind, data, now, with_]) => {
  const lib = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  window.said = [];
  const say = (name) => (...what) => { window.said.push([name, ...what]); };
  const all = {
    onRange: say("range"), onSelect: say("select"), onAcknowledge: say("acknowledge"), onTrace: say("trace"),
    onAct: async (alert) => { say("act")(alert); if (window.refuse) throw new Error(window.refuse); },
    jobLink: (job) => `#job-${job}`,
  };
  const options = { now: () => now, ...(with_ ? all : {}) };
  const element = document.getElementById("here");
  const shared = new lib.Shared();
  window.shown = lib.draw(element, kind, data, options, shared);
}"""


def plain(view: Any) -> Any:
    return json.loads(msgspec.json.encode(view))


def draw(
    open_tab: Tab, view: Any, kind: str = "page", theme: str | None = "light", deeds: bool = True, **more: Any
) -> Page:
    """A tab with one part drawn, in JupyterLab's own theme."""
    page = open_tab(dark=theme == "dark", **more)
    css = (THEMES / f"theme-{theme}-extension" / "index.css").read_text() if theme else ""
    light = {"light": "true", "dark": "false"}.get(theme or "")
    page.set_content(
        f"<!doctype html><html lang=en><meta charset=utf-8><style>{css} body {{ margin: 0 }}</style>"
        f"<body {f'data-jp-theme-light={light}' if light else ''}><div id=here></div></body></html>"
    )
    page.evaluate(DRAW, [BUNDLE.read_text(), kind, plain(view), NOW.timestamp() * 1000, deeds])
    return page


def said(page: Page) -> list[list[Any]]:
    found: list[list[Any]] = page.evaluate("window.said")
    return found


def update(page: Page, view: View) -> None:
    page.evaluate("view => window.shown.update(view)", plain(view))


def cell(page: Page, row: str, index: int) -> Any:
    return page.locator(f'[role=gridcell][data-row="{row}"][data-index="{index}"]')


def colour(page: Page, locator: Any, what: str = "fill") -> tuple[float, ...]:
    computed = locator.evaluate(f"element => getComputedStyle(element).{what}")
    numbers = [float(one) for one in re.findall(r"[\d.]+", computed.replace("srgb", ""))][:3]
    return tuple(n * 255 for n in numbers) if "srgb" in computed else tuple(numbers)


def luminance(rgb: tuple[float, ...]) -> float:
    parts = [n / 255 for n in rgb]
    linear = [n / 12.92 if n <= 0.04045 else ((n + 0.055) / 1.055) ** 2.4 for n in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: tuple[float, ...], two: tuple[float, ...]) -> float:
    high, low = sorted((luminance(one), luminance(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)
