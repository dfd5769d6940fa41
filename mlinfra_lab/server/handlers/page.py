"""The page itself: drawn from stored sums in milliseconds, and letting people in."""

from __future__ import annotations

import functools
import hashlib
import html
import logging
import re
from pathlib import Path
from typing import NamedTuple

import msgspec
from jupyter_server.auth import User
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError

from mlinfra_lab.errors import Failed, Unavailable
from mlinfra_lab.schema.monitoring import Range
from mlinfra_lab.server.handlers.base import (
    NAME,
    Handler,
    authenticated,
    authorized,
    plain_page,
    unauthenticated,
)
from mlinfra_lab.server.handlers.monitors import range_of
from mlinfra_lab.server.notebooks import was_changed

log = logging.getLogger(__name__)
PLAIN_NAME = re.compile(NAME)
THEMES = ("", "light", "dark")
_HERE = Path(__file__).parent.parent / "static"
_BUNDLE = Path(__file__).parent.parent.parent / "widgets" / "static" / "monitor.js"
_FILES = {
    "page.js": (_HERE / "page.js", "text/javascript; charset=utf-8"),
    "page.css": (_HERE / "page.css", "text/css; charset=utf-8"),
    "no-formulas.js": (_HERE / "no-formulas.js", "text/javascript; charset=utf-8"),
    "monitor.js": (_BUNDLE, "text/javascript; charset=utf-8"),
}
_YEAR = 31_536_000
_USED = "This link was used already, or its minute is over."


class Drawn(NamedTuple):
    """What a page is drawn from.

    Attributes
    ----------
    view
        The `View` as JSON.
    theme
        ``light``, ``dark``, or as the system has it (empty).
    joins
        Whether a kernel is about to join.
    wants
        Whether one should: the project has a notebook of its own for the page.
    """

    name: str
    view: bytes
    theme: str
    joins: bool
    wants: bool


def version_of(name: str) -> str:
    """What changes when a file of ours does.

    Raises
    ------
    Unavailable
        When the widgets were not built.
    """
    path = _FILES[name][0]
    try:
        return _hash(path, path.stat().st_mtime_ns)
    except FileNotFoundError as error:
        raise Unavailable(f"{path} is missing: the widgets are not built.", "Run `make setup`.") from error


@functools.lru_cache
def _hash(path: Path, _changed: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def safe(json: bytes) -> str:
    """JSON that can stand in a script element, whatever texts are in it."""
    text = json.decode()
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def head(drawn: Drawn) -> str:
    """The page up to where a kernel's cells would come; a browser draws it as it is."""
    versions = {name: version_of(name) for name in _FILES}
    address = {name: f"/mlinfra/static/{name}?v={version}" for name, version in versions.items()}
    config = {"endpoint": drawn.name, "theme": drawn.theme, "joins": drawn.joins, "wants": drawn.wants}
    # The bundle is found by the address that carries its version, also from `page.js`.
    config["bundle"] = address["monitor.js"]
    theme = f' data-theme="{drawn.theme}"' if drawn.theme else ""
    title = html.escape(drawn.name)
    return (
        f'<!DOCTYPE html>\n<html lang="en"{theme}>\n<head>\n<meta charset="utf-8">\n'
        f"<title>{title} · monitoring</title>\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f'<link rel="stylesheet" href="{address["page.css"]}">\n'
        f'<link rel="modulepreload" href="{address["monitor.js"]}">\n'
        f'<script type="application/json" id="mlinfra-config">{safe(msgspec.json.encode(config))}</script>\n'
        f'<script type="application/json" id="mlinfra-view">{safe(drawn.view)}</script>\n'
        f"</head>\n<body{_body_theme(drawn.theme)}>\n"
        "<noscript><p>This page is drawn by JavaScript, which is turned off.</p></noscript>\n"
        '<p id="mlinfra-note" role="status"></p>\n<main id="mlinfra-drawn"></main>\n'
        # At once, and not when the whole page has come: a kernel's cells take seconds.
        f'<script type="module" async src="{address["page.js"]}"></script>\n'
    )


def _body_theme(theme: str) -> str:
    if not theme:
        return ""
    name = "JupyterLab Dark" if theme == "dark" else "JupyterLab Light"
    light = "false" if theme == "dark" else "true"
    return f' data-jp-theme-light="{light}" data-jp-theme-name="{name}"'


class PageHandler(Handler):
    """``GET /mlinfra/endpoints/NAME?range=&theme=&python=1``.

    Drawn at once, and left at that unless the project changed the page's notebook, or a person asks for it.
    With ``python=1`` the answer goes on: a kernel runs the notebook, and when its cells are there they take
    the drawn page's place; when they do not come, the drawn page stays.
    """

    @authenticated
    @authorized
    async def get(self, name: str) -> None:
        """Answer with the page."""
        theme = self.get_argument("theme", "")
        if theme not in THEMES:
            theme = ""
        range: Range = range_of(self.get_argument("range", "all"))
        python = self.get_argument("python", "")
        joins = python == "1"
        view = await self.aside(self.hub.view, name, range)
        wants = not python and await self.aside(was_changed, self.project)
        # Read by script and sent back with each POST.
        self.xsrf_token  # noqa: B018
        self.write(head(Drawn(name, view, theme, joins, wants)))
        if joins:
            await self.flush()
            await self.join(name, theme or "light")
        self.finish("</body></html>")

    async def join(self, name: str, theme: str) -> None:
        """Write the notebook's cells, as a kernel makes them; or that none does."""
        joining = None
        try:
            module = await self.hub.joining(self.application)
            joining = module.Joining(self.project, name, theme, self.settings)
            async for part in joining.parts():
                self.write(part)
                await self.flush()
        except Exception as problem:
            if joining is not None:
                await joining.end()
            if isinstance(problem, StreamClosedError):
                return  # the page was left
            log.warning("no kernel joins the page of %s", name, exc_info=not isinstance(problem, Failed))
            reason = safe(msgspec.json.encode(f"{problem}" or type(problem).__name__))
            self.write(
                f"<script>window.mlinfraJoin ??= {{failed: {reason}}};"
                'dispatchEvent(new Event("mlinfra-join"))</script>'
            )

    @property
    def content_security_policy(self) -> str:
        """A page that a kernel joins runs JupyterLab's front end, which is made of inline scripts."""
        if self.get_argument("python", "") != "1":
            return super().content_security_policy
        loose = "'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
        return f"default-src {loose}; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"


class OpenHandler(Handler):
    """``GET /mlinfra/open?ticket=&name=``: lets a browser in, once, and sends it to the page."""

    @unauthenticated
    async def get(self) -> None:
        """Exchange the ticket for Jupyter's own cookie."""
        said = self.get_argument("name", "")
        name = await self.aside(self.project.pages.tickets.take, self.get_argument("ticket", ""))
        if name is not None:
            self.identity_provider.set_login_cookie(self, User(username=self.project.actor))
        elif self.current_user and PLAIN_NAME.fullmatch(said):
            name = said  # a link from a while ago, in a browser that was let in since
        else:
            again = f"mlinfra endpoint open {said if PLAIN_NAME.fullmatch(said) else 'NAME'}"
            self.set_status(403)
            self.set_header("Content-Type", "text/html; charset=utf-8")
            self.finish(plain_page(_USED, f"Run `{again}` for a new one."))
            return
        self.redirect(f"/mlinfra/endpoints/{name}")


class DoorHandler(Handler):
    """``GET /login``: where Jupyter's own handlers send who was not let in."""

    @unauthenticated
    async def get(self) -> None:
        """Say how to get in."""
        self.get_login_url()


class StaticHandler(Handler):
    """``GET /mlinfra/static/FILE?v=``: our script, style and the widgets' bundle; kept by the browser."""

    @authenticated
    @authorized
    async def get(self, name: str) -> None:
        """Answer with the file."""
        if name not in _FILES:
            raise HTTPError(404)
        path, kind = _FILES[name]
        body = await self.aside(path.read_bytes)
        self.set_header("Content-Type", kind)
        self.set_header("Cache-Control", f"private, max-age={_YEAR}, immutable")
        self.finish(body)


ROUTES = [
    (r"/mlinfra/open", OpenHandler),
    (r"/login", DoorHandler),
    (r"/mlinfra/static/([a-z.-]+)", StaticHandler),
    (rf"/mlinfra/endpoints/{NAME}", PageHandler),
]
