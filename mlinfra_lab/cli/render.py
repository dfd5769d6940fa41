"""Prints what a command returned: for a person, for a pipe, or as JSON."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from mlinfra_lab.cli.base import Listing
from mlinfra_lab.cli.views import view, wire

__all__ = ["as_json", "show"]


def show(value: Any, json: bool = False, root: Path | None = None) -> None:
    """Print a command's value on stdout.

    Parameters
    ----------
    value
        A Struct, a `Listing` of them, a handle, or text.
    json
        As JSON: indented on a terminal, one line otherwise.
    root
        The project's folder, for lines that can be pasted.
    """
    stream = sys.stdout
    if json:
        stream.write(as_json(value, indent=stream.isatty()) + "\n")
        return
    seen = view(value, root)
    if seen is None:
        stream.write(f"{value}\n")
        return
    from mlinfra_lab.cli.term import Terminal, colours, plain

    if stream.isatty() or os.environ.get("FORCE_COLOR"):
        text = Terminal(colours(stream)).draw(seen)
    else:
        text = plain(seen)
    if text:
        stream.write(text + "\n")


def as_json(value: Any, indent: bool = False) -> str:
    """A command's value in the form that ``--json`` prints; the Structs of ``schema`` say what is in it."""
    import msgspec

    value = wire(value)
    raw = msgspec.json.encode(list(value) if isinstance(value, Listing) else value, enc_hook=str)
    return (msgspec.json.format(raw, indent=2) if indent else raw).decode()
