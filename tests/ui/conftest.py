"""A real browser: Debian's Chromium, which asks no other host for anything."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

PICTURES = os.environ.get("MLINFRA_PICTURES")  # read now: tests run without variables of ours
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking")
LOCAL = (
    "http://127.0.0.1",
    "http://localhost",
    "ws://127.0.0.1",
    "ws://localhost",
    "data:",
    "blob:",
    "about:",
)


# Not for the session: while Playwright is on, its event loop runs in this thread, and no test of another
# file can run one of its own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for the tests of a file; each gets contexts of its own."""
    if not Path(CHROMIUM).exists():
        pytest.fail("Chromium is not there. Install it: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS), headless=True)
        yield started
        started.close()


@pytest.fixture
def open_tab(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens tabs: ``open_tab(width=1440, dark=False)``.

    What the page asks of another host is refused, and fails the test, as an error in a script does.
    """
    contexts: list[Any] = []
    problems: list[str] = []

    def open_one(width: int = 1440, height: int = 1044, dark: bool = False, **more: Any) -> Page:
        scheme: Any = "dark" if dark else "light"
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, locale="en-GB",
            timezone_id="UTC", **more,
        )  # fmt: skip
        contexts.append(context)

        def elsewhere(route: Any) -> None:
            if route.request.url.startswith(LOCAL):
                route.continue_()
            else:
                problems.append(f"asked another host: {route.request.url}")
                route.abort()

        context.route("**/*", elsewhere)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(f"script: {error}"))
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not problems, "\n".join(problems)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where a test's pictures go: the folder ``MLINFRA_PICTURES`` names, else the test's own."""
    folder = Path(PICTURES or tmp_path / "pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
