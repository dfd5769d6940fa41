"""Which folder this is: the same as before, moved, or a copy.

A copy must forget every process it believes in, for they are the original's. The state folder's inode
tells: a copy has another one, a moved folder keeps it while the old path is gone.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from mlinfra_lab.errors import Unavailable

if TYPE_CHECKING:
    from filelock import FileLock

FILE = "identity.json"
Arrival = Literal["new", "same", "moved", "copied"]


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What the state folder remembers of itself.

    Attributes
    ----------
    id
        Random name of the project; a copy gets a new one.
    root
        Path of the project when it was last opened.
    inode
        Inode of the state folder.
    settled
        False while what a move or a copy asks for is not done yet.
    previous
        The path before the last move or copy.
    """

    id: str
    root: str
    inode: int
    settled: bool = True
    previous: str | None = None


def read(state: Path) -> Identity | None:
    """The identity the state folder remembers, if any.

    Raises
    ------
    Unavailable
        When its file is damaged.
    """
    try:
        return msgspec.json.decode((state / FILE).read_bytes(), type=Identity)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
        raise Unavailable(
            f"{state / FILE} cannot be read: {error}.",
            "Put a copy of it back, or remove it: the project then gets a new identity and keeps the rest.",
        ) from error


def _write(state: Path, identity: Identity) -> None:
    beside = state / (FILE + ".new")
    beside.write_bytes(msgspec.json.encode(identity))
    beside.replace(state / FILE)


def lock(state: Path) -> FileLock:
    """Held while a project is told apart and put right, so that one process does it."""
    # asyncio comes along with it, and a project that is where it was needs neither.
    from filelock import FileLock

    return FileLock(state / "identity.lock", timeout=60)


def recognise(root: Path, state: Path) -> tuple[Arrival, Identity]:
    """Tell what became of the folder since it was last opened.

    Returns
    -------
    arrival
        ``moved`` or ``copied`` until `settle` is called, also after a crash in between.
    identity
        As it is written now.
    """
    inode = state.stat().st_ino
    known = read(state)
    if known is None:
        identity = Identity(id=uuid.uuid4().hex, root=str(root), inode=inode)
        _write(state, identity)
        return "new", identity
    if known.inode != inode:
        identity = Identity(
            id=uuid.uuid4().hex, root=str(root), inode=inode, settled=False, previous=known.root
        )
        _write(state, identity)
        return "copied", identity
    if known.root != str(root) and not _same_folder(Path(known.root), root):
        identity = msgspec.structs.replace(known, root=str(root), settled=False, previous=known.root)
        _write(state, identity)
        return "moved", identity
    if not known.settled:
        # A copy got its new id before it was settled; a move kept its id. Both mend the same things,
        # and forgetting processes is right for either once it was interrupted.
        return "copied", known
    return "same", known


def _same_folder(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def settle(state: Path, identity: Identity) -> Identity:
    """Note that everything a move or copy asks for is done."""
    settled = msgspec.structs.replace(identity, settled=True)
    _write(state, settled)
    return settled
