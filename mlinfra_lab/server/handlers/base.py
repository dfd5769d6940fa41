"""What all of our handlers share: who is let in, errors as a page or as JSON, work beside the loop."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Callable
from typing import Any, NoReturn, ParamSpec, TypeVar, cast

import msgspec
from jupyter_server.auth import decorator
from jupyter_server.base.handlers import JupyterHandler
from tornado.web import HTTPError
from tornado.web import authenticated as let_in

from mlinfra_lab.errors import MLInfraError, to_failure
from mlinfra_lab.project import Project
from mlinfra_lab.server.hub import Hub

P = ParamSpec("P")
T = TypeVar("T")
Verb = TypeVar("Verb", bound=Callable[..., Any])

NAME = r"([a-z0-9][a-z0-9-]*)"
_STRICT = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


def authenticated(method: Verb) -> Verb:
    """Tornado's decorator: only who was let in."""
    return cast("Verb", let_in(method))


def authorized(method: Verb) -> Verb:
    """Jupyter's decorator: only for what `server.app.ALLOWED` names; it stands below `authenticated`."""
    return decorator.authorized(method)


def unauthenticated(method: Verb) -> Verb:
    """Jupyter's decorator: for everybody who can reach the port."""
    return decorator.allow_unauthenticated(method)


class Handler(JupyterHandler):
    """Base of our handlers; ``auth_resource`` says what a verb is authorized for."""

    auth_resource = "pages"

    @property
    def hub(self) -> Hub:
        """What handlers share: the project, the watcher, who is here."""
        return self.settings["mlinfra_hub"]  # type: ignore[no-any-return]

    @property
    def project(self) -> Project:
        """The project whose pages these are."""
        return self.hub.project

    @property
    def content_security_policy(self) -> str:
        """Nothing is loaded from, or sent to, another host; the browser itself sees to that."""
        return _STRICT

    def set_default_headers(self) -> None:
        """Answers are about now, and where one came from is nobody's business."""
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")
        self.set_header("Referrer-Policy", "same-origin")

    async def prepare(self) -> None:  # type: ignore[override]
        """Note that somebody is here."""
        await super().prepare()
        self.hub.touch()

    def get_login_url(self) -> NoReturn:
        """There is no form to log in: who is not let in is told how to get in."""
        raise HTTPError(403, "not let in")

    async def aside(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a service in a thread, so that the event loop goes on."""
        return await asyncio.to_thread(work, *args, **kwargs)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with what was wrong and what to do, as a page."""
        failure = self._failure(status_code, kwargs.get("exc_info"))
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(plain_page(failure["message"], failure["hint"] or ""))

    def _failure(self, status_code: int, exc_info: Any) -> dict[str, Any]:
        problem = exc_info[1] if exc_info else None
        if isinstance(problem, MLInfraError):
            self.set_status(problem.status)
            found: dict[str, Any] = msgspec.to_builtins(to_failure(problem))
            return found
        if status_code in (401, 403):
            message, hint = (
                "This browser was not let in.",
                "Run `mlinfra endpoint open NAME` and follow its link.",
            )
            return _said("unauthorized", message, hint)
        if status_code == 404:
            return _said("not_found", "There is no such page.", "Run `mlinfra endpoint list`.")
        if isinstance(problem, HTTPError) and status_code < 500:
            return _said("invalid", problem.log_message or problem.reason or "The request is wrong.", None)
        return _said("internal", "Something went wrong here.", "The page server's log says what.")

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """What a person is told is no news for the log; the unexpected is, with its traceback."""
        if not isinstance(value, MLInfraError):
            super().log_exception(typ, value, tb)


class Api(Handler):
    """Base of handlers that answer with JSON."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with ``{"code", "message", "hint", "detail"}``."""
        failure = self._failure(status_code, kwargs.get("exc_info"))
        self.set_header("Content-Type", "application/json")
        self.finish(msgspec.json.encode(failure))

    def answer(self, value: Any) -> None:
        """Finish with a value of the schema."""
        self.set_header("Content-Type", "application/json")
        self.finish(value if isinstance(value, bytes) else msgspec.json.encode(value, enc_hook=str))


def _said(code: str, message: str, hint: str | None) -> dict[str, Any]:
    return {"code": code, "message": message, "hint": hint, "detail": None}


def plain_page(message: str, hint: str) -> str:
    """A page that says one thing."""
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>mlinfra</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        "<style>body{font:15px/1.5 system-ui,sans-serif;max-width:36em;margin:20vh auto;padding:0 16px}"
        "p+p{opacity:.75}code{font-size:.95em}</style></head>"
        f"<body><p>{_marked(message)}</p><p>{_marked(hint)}</p></body></html>"
    )


def _marked(text: str) -> str:
    parts = html.escape(text).split("`")
    return "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))
