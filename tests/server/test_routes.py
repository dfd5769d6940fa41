"""The page server over HTTP: who is let in, what it answers, what it says when something changes."""

from __future__ import annotations

import http.client
import http.cookiejar
import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from page_support import Running, StandIn, serving, view
from support import eventually
from tornado.routing import PathMatches

from mlinfra_lab.project import Project
from mlinfra_lab.schema.monitoring import View
from mlinfra_lab.server import joining
from mlinfra_lab.server.app import ALLOWED
from mlinfra_lab.server.handlers.base import Handler
from mlinfra_lab.server.handlers.page import safe
from mlinfra_lab.server.routes import routes
from mlinfra_lab.storage import feed


class Visitor:
    """A browser without a screen: cookies, and the headers that its script sends."""

    def __init__(self, running: Running) -> None:
        self.url = running.url
        self.jar = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, Any]:
        """Status and body; JSON is parsed."""
        request = urllib.request.Request(self.url + path, data=body, method=method, headers=headers)
        try:
            with self._opener.open(request, timeout=30) as answer:
                status, raw, kind = answer.status, answer.read(), answer.headers["Content-Type"]
        except urllib.error.HTTPError as error:
            status, raw, kind = error.code, error.read(), error.headers["Content-Type"]
        return status, json.loads(raw) if "json" in (kind or "") else raw.decode()

    def post(self, path: str, body: Any = None) -> tuple[int, Any]:
        """A POST as the page's script makes it."""
        (token,) = [cookie.value for cookie in self.jar if cookie.name == "_xsrf"]
        return self.ask(path, "POST", json.dumps(body or {}).encode(), **{"X-XSRFToken": str(token)})

    def let_in(self, link: str) -> tuple[int, Any]:
        """Follow a link."""
        return self.ask(link.removeprefix(self.url))


@pytest.fixture(scope="module")
def module_project(initialised: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    import shutil

    folder = tmp_path_factory.mktemp("pages") / "project"
    shutil.copytree(initialised, folder)
    project = Project(folder)
    yield project
    project.close()


@pytest.fixture(scope="module")
def served(module_project: Project) -> Iterator[tuple[Running, StandIn]]:
    with serving(module_project) as both:
        yield both


@pytest.fixture
def running(served: tuple[Running, StandIn]) -> Running:
    return served[0]


@pytest.fixture
def stand_in(served: tuple[Running, StandIn]) -> Iterator[StandIn]:
    yield served[1]
    served[1].changes.clear()
    served[1].calls.clear()


@pytest.fixture
def stranger(running: Running) -> Visitor:
    return Visitor(running)


@pytest.fixture
def guest(running: Running) -> Visitor:
    visitor = Visitor(running)
    status, page = visitor.let_in(running.link())
    assert status == 200
    assert "mlinfra-view" in page
    return visitor


# -- who is let in --------------------------------------------------------------------------------

PATHS = {
    r"/login": "/login",
    r"/mlinfra/open": "/mlinfra/open?ticket=x",
    r"/mlinfra/api/monitors/([a-z0-9][a-z0-9-]*)": "/mlinfra/api/monitors/delay",
    r"/mlinfra/api/monitors/([a-z0-9][a-z0-9-]*)/events": "/mlinfra/api/monitors/delay/events",
    r"/mlinfra/api/alerts/([0-9]{1,18})/acknowledge": "/mlinfra/api/alerts/1/acknowledge",
    r"/mlinfra/api/alerts/([0-9]{1,18})/act": "/mlinfra/api/alerts/1/act",
    r"/mlinfra/api/lineage/([^/]+)": "/mlinfra/api/lineage/delay.1.1.0",
    r"/mlinfra/static/([a-z.-]+)": "/mlinfra/static/page.js",
    r"/mlinfra/endpoints/([a-z0-9][a-z0-9-]*)": "/mlinfra/endpoints/delay",
    r"/voila/templates/(.*)": "/voila/templates/mlinfra/static/index.css",
    r"/voila/static/(.*)": "/voila/static/voila.js",
    r"/voila/api/themes/(.*)": "/voila/api/themes/@jupyterlab/theme-light-extension/index.css",
    r"/voila/labextensions/(.*)": "/voila/labextensions/anywidget/package.json",
    r"/voila/api/shutdown/([\w-]+)": "/voila/api/shutdown/00000000-0000-0000-0000-000000000000",
}
"""An address for each route there is; a new route needs one here."""
DOORS = {"/mlinfra/open", "/login"}


def test_every_route_has_an_address_here() -> None:
    assert {route[0] for route in [*routes(), *joining.routes()]} == PATHS.keys()


@pytest.mark.parametrize("route", [*routes(), *joining.routes()], ids=lambda route: route[0])
def test_every_verb_is_authenticated_and_authorized(route: Any) -> None:
    """A verb is Tornado's `authenticated` around Jupyter's `authorized`, for a thing that is allowed."""
    handler = route[1]
    if route[0] in DOORS:
        assert getattr(handler.get, "__allow_unauthenticated", False)
        return
    verbs = [
        verb.lower()
        for verb in handler.SUPPORTED_METHODS
        if verb != "OPTIONS" and getattr(handler, verb.lower()) is not handler._unimplemented_method
    ]
    verbs = [verb for verb in verbs if not is_unimplemented(handler, verb)]
    assert verbs
    for verb in verbs:
        outer = getattr(handler, verb)
        assert outer.__code__.co_qualname.startswith("authenticated"), f"{verb} of {handler}"
        assert outer.__wrapped__.__code__.co_qualname.startswith("authorized"), f"{verb} of {handler}"
        if issubclass(handler, Handler):
            action = {"get": "read", "head": "read", "post": "write"}[verb]
            assert (action, handler.auth_resource) in ALLOWED


def is_unimplemented(handler: Any, verb: str) -> bool:
    from tornado.web import RequestHandler

    return getattr(handler, verb) is RequestHandler._unimplemented_method


def test_a_stranger_gets_nothing(running: Running, stranger: Visitor) -> None:
    asyncio_routes(running)
    for path in PATHS.values():
        method = "POST" if path.endswith(("/acknowledge", "/act")) or "shutdown" in path else "GET"
        status, body = stranger.ask(path, method, b"{}" if method == "POST" else None)
        assert status == 403, path
        if "/mlinfra/api/" in path:
            assert body["code"] == "unauthorized"
            assert "mlinfra endpoint open" in body["hint"]


def asyncio_routes(running: Running) -> None:
    """Have Voila's routes on the server, as after the first kernel has joined."""
    guest = Visitor(running)
    guest.let_in(running.link())
    status, _ = guest.ask("/mlinfra/endpoints/delay?python=1")
    assert status == 200


def test_jupyter_s_own_doors_are_shut(guest: Visitor, stranger: Visitor) -> None:
    for path in (
        "/api/contents", "/api/terminals", "/api/sessions", "/tree", "/lab", "/files/mlinfra.toml",
        "/voila/render/x.ipynb", "/voila/tree", "/voila/files/mlinfra.toml", "/nbconvert/html/x",
        "/api/kernelspecs", "/api/config/x", "/api/shutdown",
    ):  # fmt: skip
        assert guest.ask(path)[0] in (403, 404), path
    assert guest.ask("/api/kernels")[0] == 200
    assert stranger.ask("/api/kernels")[0] in (403, 404)
    status, _ = guest.post("/api/kernels", {"name": "python3"})
    assert status == 403  # only a page starts one


def test_a_link_is_good_once(running: Running) -> None:
    link = running.link()
    first, second = Visitor(running), Visitor(running)
    assert first.let_in(link)[0] == 200
    status, page = second.let_in(link)
    assert status == 403
    assert "mlinfra endpoint open delay" in page
    assert first.let_in(link)[0] == 200, "who was let in is sent to the page"
    for wrong in ("/mlinfra/open", "/mlinfra/open?ticket=", "/mlinfra/open?ticket=x&name=<b>"):
        status, page = second.ask(wrong)
        assert status == 403
        assert "mlinfra endpoint open NAME" in page


def test_another_host_is_refused(running: Running, guest: Visitor) -> None:
    """A name that leads here (DNS rebinding) is not ours."""
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in guest.jar)
    for path in ("/mlinfra/endpoints/delay", "/mlinfra/api/monitors/delay", "/mlinfra/open?ticket=x"):
        connection = http.client.HTTPConnection(running.url.removeprefix("http://"), timeout=10)
        connection.request("GET", path, headers={"Host": "evil.example", "Cookie": cookies})
        assert connection.getresponse().status == 403
        connection.close()


def test_a_post_needs_the_page_s_own_word(guest: Visitor, stand_in: StandIn) -> None:
    status, body = guest.ask("/mlinfra/api/alerts/1/acknowledge", "POST", b"{}")
    assert status == 403
    assert body["code"] == "unauthorized"
    (token,) = [cookie.value for cookie in guest.jar if cookie.name == "_xsrf"]
    other = {"Origin": "http://evil.example", "X-XSRFToken": str(token)}
    assert guest.ask("/mlinfra/api/alerts/1/acknowledge", "POST", b"{}", **other)[0] in (403, 404)
    assert stand_in.calls == []


# -- what it answers ------------------------------------------------------------------------------


def test_the_view_is_the_service_s(guest: Visitor, stand_in: StandIn) -> None:
    for range in ("all", "week"):
        status, found = guest.ask(f"/mlinfra/api/monitors/delay?range={range}")
        assert status == 200
        assert msgspec.convert(found, View, strict=False) == stand_in.view("delay", range)


def test_the_page_holds_the_view_and_nothing_breaks_out_of_it(guest: Visitor, stand_in: StandIn) -> None:
    evil = "</script><script>alert(1)</script><!-- & \u2028"
    stand_in.change(title=evil)
    _, page = guest.ask("/mlinfra/endpoints/delay?range=week")
    held = re.search(r'id="mlinfra-view">(.*?)</script>', page, re.DOTALL)
    assert held is not None
    assert msgspec.json.decode(held[1], type=View).title == evil
    assert "alert(1)</script>" not in page
    assert safe(b'{"a":"<b>&"}') == '{"a":"\\u003cb\\u003e\\u0026"}'


def test_the_browser_itself_keeps_the_page_to_this_host(guest: Visitor, running: Running) -> None:
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in guest.jar)
    request = urllib.request.Request(running.url + "/mlinfra/endpoints/delay", headers={"Cookie": cookies})
    with urllib.request.urlopen(request, timeout=10) as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "http" not in policy


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/mlinfra/api/monitors/none", 404, "not_found"),
        ("/mlinfra/api/monitors/delay?range=year", 400, "invalid"),
        ("/mlinfra/api/lineage/nothing", 400, "invalid"),
    ],
)
def test_errors_say_what_to_do(guest: Visitor, path: str, status: int, code: str) -> None:
    found, body = guest.ask(path)
    assert (found, body["code"]) == (status, code)
    assert body["message"]
    assert body["hint"]
    assert body.keys() == {"code", "message", "hint", "detail"}


def test_a_page_of_nothing_says_so(guest: Visitor) -> None:
    status, page = guest.ask("/mlinfra/endpoints/none")
    assert status == 404
    assert "There is no endpoint" in page


def test_the_unexpected_is_internal_and_tells_nothing(guest: Visitor, stand_in: StandIn) -> None:
    stand_in.changes["nonsense"] = 1
    status, body = guest.ask("/mlinfra/api/monitors/delay?range=day")
    assert (status, body["code"]) == (500, "internal")
    assert "nonsense" not in json.dumps(body)


def test_alerts_are_acknowledged_and_acted_upon(guest: Visitor, stand_in: StandIn) -> None:
    status, body = guest.post("/mlinfra/api/alerts/1/acknowledge")
    assert (status, body["state"], body["number"]) == (200, "acknowledged", 1)
    status, body = guest.post("/mlinfra/api/alerts/1/act", {"parameters": {"C": 0.5}})
    assert (status, body["state"], body["job"]) == (200, "acting", "j1")
    assert stand_in.calls == [("acknowledge", 1), ("act", 1, {"C": 0.5})]
    assert guest.post("/mlinfra/api/alerts/7/acknowledge")[0] == 404
    for wrong in ({"parameter": {}}, {"parameters": 3}, [1]):
        status, body = guest.post("/mlinfra/api/alerts/1/act", wrong)
        assert (status, body["code"]) == (400, "invalid_parameter")


# -- what it says when something changes ----------------------------------------------------------


class Stream:
    """Server-sent events, read in a thread."""

    def __init__(self, running: Running, guest: Visitor, name: str = "delay") -> None:
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in guest.jar)
        self._connection = http.client.HTTPConnection(
            "127.0.0.1", int(running.url.rpartition(":")[2]), timeout=30
        )
        self._connection.request("GET", f"/mlinfra/api/monitors/{name}/events", headers={"Cookie": cookies})
        self._answer = self._connection.getresponse()
        assert self._answer.headers["Content-Type"] == "text/event-stream"
        self.events: list[dict[str, str]] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        event: dict[str, str] = {}
        while line := self._answer.readline():
            key, _, value = line.decode().rstrip("\n").partition(": ")
            if key:
                event[key] = value
            elif event:
                self.events.append(event)
                event = {}

    def close(self) -> None:
        """Leave."""
        if self._connection.sock is None:
            return
        self._connection.sock.shutdown(2)
        self._thread.join(10)
        self._connection.close()


@pytest.fixture
def stream(running: Running, guest: Visitor) -> Iterator[Callable[..., Stream]]:
    opened: list[Stream] = []

    def open_one(name: str = "delay") -> Stream:
        opened.append(Stream(running, guest, name))
        eventually(lambda: opened[-1].events)
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def test_a_change_that_concerns_it_is_told(
    module_project: Project, stream: Callable[..., Stream], stand_in: StandIn
) -> None:
    one = stream()
    assert one.events[0]["event"] == "hello"
    with module_project.storage.unit() as unit:
        unit.changed("monitor", "other", "updated")
        unit.changed("task", "delay", "updated")
        unit.changed("alert", "3", "created")
        unit.changed("monitor", "delay", "updated")
    wanted = feed.latest(module_project.storage)
    eventually(lambda: one.events[-1].get("id") == str(wanted), 5)
    told = [json.loads(event["data"]) for event in one.events if event.get("event") == "change"]
    told = [change for change in told if change["resource"] != "feed"]
    assert [(change["resource"], change["id"]) for change in told] == [("alert", "3"), ("monitor", "delay")]
    assert told[-1]["revision"] == wanted
    stand_in.change(captured=15_000)
    eventually(lambda: one.events[-1]["id"] == str(wanted + 1), 5)


def test_one_thread_watches_for_all_and_sleeps_when_nobody_looks(
    running: Running, stream: Callable[..., Stream]
) -> None:
    many = [stream() for _ in range(5)]
    assert [thread.name for thread in threading.enumerate()].count("feed") == 1
    hub = running.hub
    assert hub.watching.subscribers == 5
    for one in many:
        one.close()
    eventually(lambda: hub.watching.subscribers == 0, 20)
    assert not hub.watching.looking


def test_matchers_are_anchored() -> None:
    for route in routes():
        assert PathMatches(route[0]).match(type("R", (), {"path": f"/x{PATHS[route[0]]}"})()) is None


def test_the_sample_is_a_view() -> None:
    assert msgspec.json.decode(msgspec.json.encode(view()), type=View) == view()
