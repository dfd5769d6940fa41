"""The page server as a process of the controller: opened, killed, idle, moved and copied."""

from __future__ import annotations

import http.cookiejar
import json
import shutil
import socket
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest
from support import eventually, kill, process

from mlinfra_lab.endpoints import store
from mlinfra_lab.errors import NotFound, Unavailable
from mlinfra_lab.monitoring.pages import PORT
from mlinfra_lab.project import Project
from mlinfra_lab.schema.common import now
from mlinfra_lab.schema.endpoints import Revision
from mlinfra_lab.schema.monitoring import Link
from mlinfra_lab.storage import launches, meta

pytestmark = pytest.mark.slow


def published(project: Project) -> None:
    """An endpoint that answered once and was stopped: a page to look at without a model."""
    with project.storage.unit() as unit:
        revision = Revision(
            endpoint="delay", number=1, model="m", version=1, run=None, alias=None, state="retired",
            created=now(), created_by="me",
        )  # fmt: skip
        store.add_revision(unit, revision)
        known = store.endpoint(unit.connection, "delay")
        assert known is not None
        store.stop(unit, known)


class Browser:
    """Keeps cookies."""

    def __init__(self) -> None:
        jar = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))

    def get(self, url: str) -> int | None:
        """The status; ``None`` when nobody answers."""
        try:
            with self._opener.open(url, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None


def opened(project: Project) -> tuple[Browser, Link]:
    """A browser that was let in by a link."""
    link, browser = project.pages.open("delay"), Browser()
    assert browser.get(link.url) == 200
    return browser, link


@pytest.mark.faults
def test_killed_it_comes_back_where_it_was(project: Project) -> None:
    published(project)
    browser, link = opened(project)
    kill(process(project, "pages"))
    eventually(lambda: browser.get(link.page) == 200, 30)
    again = project.pages.open("delay")
    assert again.page == link.page
    assert Browser().get(again.url) == 200
    assert Browser().get(link.page) == 403


def test_it_leaves_when_nobody_looks_and_comes_back(make_project: Callable[..., Project]) -> None:
    project = make_project(toml="[pages]\nidle = 0.5\n")
    published(project)
    _, link = opened(project)
    eventually(lambda: process(project, "pages") is None, 30)
    with project.storage.read() as connection:
        last = launches.latest(connection, "pages", "pages")
    assert last is not None
    assert (last.state, last.outcome) == ("exited", {})
    assert project.pages.wanted() == []
    assert project.pages.open("delay").page == link.page


def test_a_port_that_is_taken_is_waited_for(project: Project) -> None:
    published(project)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with project.storage.unit() as unit:
            meta.put(unit, PORT, str(other.getsockname()[1]))
        # Something listens there, but it is not ours.
        with pytest.raises(Unavailable, match="cannot listen on port"):
            project.pages.open("delay", timeout=8)
    assert opened(project)[1].page.startswith(f"http://127.0.0.1:{meta.get(project.storage, PORT)}/")


def test_a_copy_has_a_server_of_its_own(project: Project, make_project: Callable[..., Project]) -> None:
    published(project)
    browser, link = opened(project)
    copy = project.root.parent / "copy"
    shutil.copytree(project.root, copy, ignore=shutil.ignore_patterns("*.lock"))
    other = Project(copy)
    try:
        mine = other.pages.open("delay")
        assert mine.page != link.page
        assert Browser().get(mine.url) == 200
        assert browser.get(link.page) == 200
    finally:
        other.controller.down(30)
        other.close()


def test_no_such_endpoint(project: Project) -> None:
    with pytest.raises(NotFound, match="There is no endpoint"):
        project.pages.open("none")
    assert project.pages.wanted() == []


def test_the_shell_prints_a_link(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    from mlinfra_lab.cli.shell import run

    published(project)
    assert run(["endpoint", "open", "delay", "--json", "--project", str(project.root)]) == 0
    link = json.loads(capsys.readouterr().out)
    assert link.keys() == {"endpoint", "url", "page", "expires"}
    assert Browser().get(link["url"]) == 200
    assert run(["endpoint", "open", "delay", "--no-browser", "--project", str(project.root)]) == 0
    said = capsys.readouterr().out
    assert "/mlinfra/open?name=delay&ticket=" in said
    assert run(["endpoint", "open", "none", "--project", str(project.root)]) == 3
    assert "There is no endpoint" in capsys.readouterr().err
