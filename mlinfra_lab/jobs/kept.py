"""What the state folder keeps of a job: its notebook as it was, and until it starts its variables."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mlinfra_lab.errors import Conflict, NotFound
from mlinfra_lab.schema.jobs import Job

SOURCE = "source.ipynb"
_ENV = "env"


def digest(content: bytes) -> str:
    """What `Job.source_md5` is of a notebook."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def source(folder: Path, job: Job) -> Path:
    """The notebook as it was when the job was submitted.

    Raises
    ------
    NotFound
        When it is gone from the state folder.
    Conflict
        When it was changed there.
    """
    path = folder / SOURCE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise NotFound(
            f"The notebook that job {job.id} ran is not kept any more: {path} is gone.",
            "Restore it from a copy of the state folder; without it the job cannot be done again.",
        ) from None
    if digest(content) != job.source_md5:
        raise Conflict(
            f"The kept notebook of job {job.id} is not what it ran: {path} was changed.",
            "Restore it from a copy of the state folder.",
        )
    return path


def keep_env(folder: Path, env: Mapping[str, str]) -> None:
    """Keep variables for the runner, in a file that only this user can read."""
    descriptor = os.open(folder / _ENV, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(dict(env)))


def take_env(folder: Path) -> dict[str, str]:
    """The kept variables; the file is gone afterwards."""
    path = folder / _ENV
    try:
        env = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        return {}
    path.unlink()
    return env
