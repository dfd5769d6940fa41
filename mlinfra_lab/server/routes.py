"""Every address the page server answers at, beside Jupyter's own for the kernels of pages."""

from __future__ import annotations

from typing import Any

from tornado.web import RequestHandler

from mlinfra_lab.server.handlers import monitors, page

Route = tuple[str, type[RequestHandler]] | tuple[str, type[RequestHandler], dict[str, Any]]


def routes() -> list[Route]:
    """Ours; those of Voila come when the first kernel joins a page."""
    return [*monitors.ROUTES, *page.ROUTES]
