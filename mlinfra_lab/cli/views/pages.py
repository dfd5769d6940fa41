"""The link to a page."""

from __future__ import annotations

from pathlib import Path

from mlinfra_lab.cli import view as v
from mlinfra_lab.schema.monitoring import Link


def link(one: Link, _root: Path | None = None) -> v.Card:
    """A link that lets one browser in, and until when."""
    facts = (
        ("Link", v.Cell(one.url, still="Open the page", strong=True, link=one.url)),
        ("Good for", v.Cell("one browser, for a minute", exact=one.expires.isoformat())),
        ("Later", v.Cell(one.page, dim=True, tip="for the browser that was let in")),
    )
    return v.Card("Page", one.endpoint, facts=facts)
