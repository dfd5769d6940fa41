"""`python tests/bench/page.py [PROJECT]`: the page, cold and warm, beside stock Voila on the same notebook.

The project has a published endpoint that was asked something (`make demo` leaves one in ``.demo/flights``).
Seconds on the browser's own clock, from the start of the navigation: first content painted, and everything
drawn. Stock Voila asks other hosts for style sheets; they are refused at once, as if the network said no.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from mlinfra_lab.monitoring.pages import listens
from mlinfra_lab.project import Project
from mlinfra_lab.server.notebooks import shipped_notebook
from mlinfra_lab.storage import launches, meta

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
DRAWN = "performance.getEntriesByName('mlinfra-drawn')[0]?.startTime ?? null"
# Header, tiles, three charts, a histogram and the table, whoever drew them.
PARTS = "['header', 'tiles', 'traffic', 'drift', 'quality', 'predictions']"
WHOLE = f"() => {PARTS}.every((part) => document.querySelector(`.mlm-${{part}}`)) && performance.now()"
SEEN = "() => document.documentElement.dataset.joined !== undefined && performance.now()"


def say(name: str, painted: float | None, drawn: float, target: str = "") -> None:
    """One line of the table."""
    first = "" if painted is None else f"{painted:.2f}"
    print(f"{name:<52} {first:>8} {drawn:>8.2f}  {target}", flush=True)


@contextlib.contextmanager
def fresh(browser: Browser, url: str) -> Iterator[BrowserContext]:
    """A browser that has seen nothing, cut off from every other host."""
    context = browser.new_context(viewport={"width": 1440, "height": 1044})
    context.route("**/*", lambda route: route.continue_() if local(route.request.url, url) else route.abort())
    yield context
    context.close()


def local(asked: str, url: str) -> bool:
    """Whether it goes to the server."""
    return asked.startswith((url, url.replace("http", "ws", 1), "data:", "blob:"))


def looked(tab: Page, url: str, drawn: str) -> tuple[float, float]:
    """Painted and drawn, in seconds."""
    tab.goto(url, wait_until="commit")
    whole = tab.wait_for_function(drawn, timeout=120_000).json_value()
    painted = tab.wait_for_function(f"() => {PAINTED}", timeout=10_000).json_value()
    return float(painted) / 1000, float(whole) / 1000


def ours(browser: Browser, project: Project, name: str, times: int) -> None:
    """The page as `endpoint open` opens it."""
    gone(project)
    begun = time.monotonic()
    link = project.pages.open(name)
    started = time.monotonic() - begun
    url = link.url.partition("/mlinfra")[0]
    with fresh(browser, url) as context:
        tab = context.new_page()
        painted, drawn = looked(tab, link.url, f"() => {DRAWN}")
        say("endpoint open, no server yet: from the command", started + painted, started + drawn)
        say("  of it in the browser, nothing cached", painted, drawn)
        warm = [looked(tab, link.page, f"() => {DRAWN}") for _ in range(times)]
        say("again (median)", *middle(warm), "targets 1, 3")
        joined = [looked(tab, f"{link.page}?python=1&theme=light", SEEN) for _ in range(3)]
        say("its notebook in a kernel, Voila not imported yet", *joined[0])
        say("again (median)", *middle(joined[1:]))


def stock(browser: Browser, project: Project, name: str, times: int) -> None:
    """Voila as it comes, on the same notebook."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "voila", str(shipped_notebook()), "--no-browser", f"--port={port}",
        "--Voila.ip=127.0.0.1",
    ]  # fmt: skip
    environment = os.environ | {"MLINFRA_PROJECT": str(project.root), "MLINFRA_ENDPOINT": name}
    with subprocess.Popen(command, env=environment, stdout=-3, stderr=-3) as server:
        try:
            while not listens(port):
                time.sleep(0.1)
            url = f"http://127.0.0.1:{port}/"
            with fresh(browser, url) as context:
                tab = context.new_page()
                say("stock Voila, nothing cached", *looked(tab, url, WHOLE))
                say("again (median)", *middle([looked(tab, url, WHOLE) for _ in range(times)]))
        finally:
            server.terminate()


def request(browser: Browser, project: Project, name: str, times: int) -> None:
    """From a request to its place on the page that is open."""
    endpoint = project.endpoints.get(name)
    row = project.endpoints.predictions(name, 1)[0].row
    assert endpoint.url is not None
    body = json.dumps({"dataframe_records": [row]}).encode()
    headers = {
        "Authorization": f"Bearer {project.endpoints.token(name)}", "Content-Type": "application/json",
    }  # fmt: skip
    link = project.pages.open(name)
    with fresh(browser, link.url.partition("/mlinfra")[0]) as context:
        tab = context.new_page()
        tab.goto(link.url)
        tab.wait_for_function(f"() => {DRAWN}")
        taken = []
        for _ in range(times):
            tab.wait_for_timeout(700)
            known = project.endpoints.predictions(name, 1)[0].id
            begun = time.monotonic()
            urllib.request.urlopen(urllib.request.Request(endpoint.url, data=body, headers=headers)).read()
            new = "(known) => !document.querySelector('.mlm-predictions td code').textContent.includes(known)"
            tab.wait_for_function(new, arg=known, timeout=20_000, polling=20)
            taken.append(time.monotonic() - begun)
    say(
        f"a request, to its place on the page (worst {max(taken):.2f})",
        None,
        statistics.median(taken),
        "target 2",
    )


def middle(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """Medians."""
    return statistics.median(one for one, _ in pairs), statistics.median(two for _, two in pairs)


def gone(project: Project) -> None:
    """End the page server, as when nobody looked for long."""
    with project.storage.unit() as unit:
        meta.put(unit, "pages", None)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with project.storage.read() as connection:
            if not launches.opened(connection, ["pages"]):
                return
        time.sleep(0.1)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", nargs="?", type=Path, default=Path(".demo/flights"))
    parser.add_argument("--endpoint", default="delay")
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    project = Project(options.project)
    project.controller.ensure()
    print(f"{'seconds':<52} {'painted':>8} {'drawn':>8}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        ours(browser, project, options.endpoint, options.times)
        stock(browser, project, options.endpoint, options.times)
        request(browser, project, options.endpoint, 10)
        browser.close()
    project.close()


if __name__ == "__main__":
    main()
