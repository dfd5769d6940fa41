"""What front and model process say to each other over a Unix socket.

Each message is its length (little-endian ``u32``) and msgpack. The model process says `Ready` to whoever
connects; then `Call` and `Answer` take turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from mlinfra_lab.errors import Unavailable

T = TypeVar("T")
_LENGTH = struct.Struct("<I")
_LONGEST_PATH = 100
_LONGEST_MESSAGE = 2**30
CALL_SECONDS = 60.0
"""How long a model may take over one call; its process ends itself then."""


class Ready(msgspec.Struct, frozen=True):
    """First message of a model process.

    Attributes
    ----------
    owner
        Whom it predicts for, ``NAME.NUMBER``.
    output
        What a row's prediction is: ``value``, ``array`` or ``record``; ``None`` while nothing was
        predicted yet.
    """

    owner: str
    output: Literal["value", "array", "record"] | None = None


class Call(msgspec.Struct, frozen=True, array_like=True):
    """Rows to predict; ``columns`` names their values when the signature does not."""

    rows: Sequence[Any]
    columns: Sequence[str] | None = None


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """One prediction a row, or what was wrong: with the rows (``input``) or with the model."""

    predictions: list[Any] | None = None
    wrong: Literal["input", "model"] | None = None
    message: str = ""
    detail: dict[str, Any] | None = None


def pack(message: msgspec.Struct) -> bytes:
    """A message as it goes over the socket."""
    payload = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(payload)) + payload


async def receive(reader: asyncio.StreamReader) -> bytes:
    """The next message's payload; raises `asyncio.IncompleteReadError` when the other side is gone."""
    (length,) = _LENGTH.unpack(await reader.readexactly(4))
    if length > _LONGEST_MESSAGE:
        raise ConnectionError(f"a message of {length} bytes")
    return await reader.readexactly(length)


def runtime_folder(project: str) -> Path:
    """A folder that only this user can enter, with a path short enough for a socket.

    Parameters
    ----------
    project
        The project's id.

    Raises
    ------
    Unavailable
        When the folder is there already and is not ours alone.
    """
    name = f"mlinfra-{os.getuid()}-{project[:8]}"
    # 40 is the longest name of a socket, with some room. The last one is short wherever it exists.
    bases = [os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"]  # noqa: S108
    usable = [
        Path(base)
        for base in bases
        if base and len(base) + len(name) + 40 < _LONGEST_PATH and os.access(base, os.W_OK)
    ]
    if not usable:
        raise Unavailable(
            "There is no folder for sockets.", "Set TMPDIR to a short path that can be written."
        )
    folder = usable[0] / name
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise Unavailable(
            f"{folder} is not this user's alone.", "Remove it, or set TMPDIR to a private folder."
        )
    return folder


def sweep(folder: Path) -> None:
    """Remove the sockets of processes that were killed."""
    for path in folder.glob("*.sock"):
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(FileNotFoundError):
            try:
                probe.settimeout(1)
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            except TimeoutError:
                continue


def leave(path: Path) -> None:
    """Remove a socket, and the folder with the last one."""
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # others are in it, or were faster
        path.parent.rmdir()
