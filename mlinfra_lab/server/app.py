"""A Jupyter Server with our pages and Voila's rendering on it, and nothing else.

No terminals, no files, no contents, no way to start a kernel but by opening a page. It listens on the
loopback address, reads nobody's configuration, writes nothing outside of the project's state, and lets in
who holds a ticket (`monitoring.pages`).
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from jupyter_server.auth import Authorizer, IdentityProvider, User
from jupyter_server.serverapp import ServerApp
from tornado.web import RequestHandler
from traitlets.config import Config

from mlinfra_lab.project import Project

HERE = Path(__file__).parent
SHARE = HERE / "share"
CULL_SECONDS = 60
COOKIE_DAYS = 7

# What a person who was let in may do. Kernels are talked to, but only a page's handler starts one.
ALLOWED = {
    ("read", "pages"), ("execute", "pages"), ("read", "monitors"), ("write", "alerts"), ("read", "lineage"),
    ("read", "kernels"), ("execute", "kernels"), ("end", "kernels"), ("read", "api"),
}  # fmt: skip


class OnlyPages(Authorizer):
    """Allows what the pages need."""

    def is_authorized(self, handler: RequestHandler, user: User, action: str, resource: str) -> bool:
        """See `jupyter_server.auth.Authorizer`."""
        return (action, resource) in ALLOWED


class Owner(IdentityProvider):
    """The one user there is; nobody logs in by a form."""

    @property
    def login_available(self) -> bool:
        """Jupyter's own form asks for a token that nobody has."""
        return False

    def generate_anonymous_user(self, handler: RequestHandler) -> User:
        """Who holds the token or a ticket is the project's owner."""
        return User(username=handler.settings["mlinfra_hub"].project.actor)


class PagesApp(ServerApp):
    """See the module."""

    name = "mlinfra-pages"
    default_services = ("kernels",)  # type: ignore[assignment]

    def load_config_file(self, *args: Any, **kwargs: Any) -> None:
        """Nobody's ``jupyter_server_config.py`` is for this server."""

    def init_signal(self) -> None:
        """Signals are the process's own; see `server.pages`."""

    def init_httpserver(self) -> None:
        """The socket is given, and bound before anything heavy was imported."""


async def close(app: PagesApp) -> None:
    """End the kernels; what Jupyter does besides may wait for ever for a socket that is still open."""
    await app.kernel_manager.shutdown_all(now=True)
    app.kernel_manager._created_context = False
    await app.kernel_websocket_connection_class.close_all()  # type: ignore[attr-defined]
    app.session_manager.close()


def make(project: Project, runtime: Path) -> PagesApp:
    """The application, initialised; call it in a running event loop.

    Parameters
    ----------
    runtime
        Where kernels' connection files are put.
    """
    os.environ["JUPYTER_RUNTIME_DIR"] = str(runtime)
    # Voila looks for templates, and for their static files, in Jupyter's data folders.
    paths = [str(SHARE), *filter(None, os.environ.get("JUPYTER_PATH", "").split(os.pathsep))]
    os.environ["JUPYTER_PATH"] = os.pathsep.join(dict.fromkeys(paths))
    secret = project.state / "secrets" / "pages.cookie"
    if not secret.exists():
        descriptor = os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
    app = PagesApp(
        config=Config(
            {
                "ServerApp": {
                    "ip": "127.0.0.1",
                    "allow_root": True,
                    "allow_remote_access": False,
                    "allow_unauthenticated_access": False,
                    "root_dir": str(project.root),
                    # Kept, so that pages that are open go on over a restart.
                    "cookie_secret": secret.read_bytes(),
                    "identity_provider_class": Owner,
                    "authorizer_class": OnlyPages,
                    "jpserver_extensions": {},
                    "extra_log_scrub_param_keys": ["ticket"],
                    "terminals_enabled": False,
                    "quit_button": False,
                    "log_level": "WARN",
                },
                "IdentityProvider": {
                    "token": secrets.token_hex(32),
                    # A link that is clicked in a notebook comes from another site; Strict would lose it.
                    "cookie_options": {"samesite": "Lax", "expires_days": COOKIE_DAYS},
                },
                # One that died has lost what its page shows; another would not know of it.
                "KernelManager": {"autorestart": False},
                "MappingKernelManager": {
                    "cull_idle_timeout": CULL_SECONDS,
                    "cull_interval": CULL_SECONDS // 4,
                    # A page that is looked at keeps its kernel by its stream of events, not by its socket.
                    "cull_connected": True,
                    "default_kernel_name": "python3",
                },
            }
        )
    )
    app.initialize(argv=[], find_extensions=False, new_httpserver=False)
    # The lab's front end wants MathJax from somewhere; its own address is another host's.
    app.web_app.settings["mathjax_url"] = "/mlinfra/static/no-formulas.js"
    return app
