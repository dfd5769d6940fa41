"""What all wire types share."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec

JSON = dict[str, Any]
"""A JSON object whose shape belongs to whoever wrote it (a plugin's config, a task's arguments)."""


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every wire type: immutable, built by keyword, compared by value."""


def now() -> dt.datetime:
    """The present moment, in UTC and to the microsecond (what the database keeps)."""
    return dt.datetime.now(dt.UTC)
