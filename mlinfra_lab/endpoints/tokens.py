"""Endpoints' tokens: files in ``secrets/``, never rows."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def token_file(state: Path, name: str) -> Path:
    """Where an endpoint's token stands; only its owner can read it."""
    return state / "secrets" / f"endpoint-{name}.token"


def make_token(state: Path, name: str) -> None:
    """Make the endpoint's token, once."""
    path = token_file(state, name)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if path.exists():
        return
    # Written beside and linked, so that nobody ever reads half of it and two at once agree.
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32))
        os.link(beside, path)
    except FileExistsError:
        return
    finally:
        beside.unlink()
