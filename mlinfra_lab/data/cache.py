"""DVC's cache, read directly: which objects a version has, and a folder of links to them.

Nothing is written into the cache here. Opening a version must not cost DVC's import, and must not trust
what DVC trusts: an object that was cut short, which it hands out without a word.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import msgspec
import platformdirs
from filelock import FileLock

from mlinfra_lab.errors import Conflict, Failed

_FOLDER = ".dir"


class Entry(NamedTuple):
    """One file of a version: its path in the dataset, its hash, and the object with its bytes."""

    name: str
    md5: str
    path: Path

    @property
    def legacy(self) -> bool:
        """Whether DVC 2 wrote it; its hash is then of the text with other line ends."""
        return self.path.parent.parent.name != "md5"


class Missing(Exception):
    """Objects that are not in the cache, by the names of the files they hold."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(names)
        self.names = names


class _Listed(msgspec.Struct):
    relpath: str
    md5: str


def dvc_root(folder: Path) -> Path | None:
    """The nearest folder at or above ``folder`` that DVC was set up in."""
    return next((above for above in (folder, *folder.parents) if (above / ".dvc").is_dir()), None)


def cache_folder(dvc: Path) -> Path:
    """Where the DVC repository with the top folder ``dvc`` keeps its objects.

    Raises
    ------
    Failed
        When one of DVC's configuration files cannot be read.
    """
    found = dvc / ".dvc" / "cache"
    for file in _config_files(dvc):
        # Later files win. DVC writes them with ConfigObj, whose plain values configparser reads alike.
        parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
        try:
            parser.read(file, encoding="utf-8")
            value = parser.get("cache", "dir", fallback=None)
        except (configparser.Error, UnicodeDecodeError) as error:
            raise Failed(f"DVC's configuration {file} cannot be read: {error}") from error
        if value:
            found = file.parent / Path(value.strip("\"'")).expanduser()
    return Path(os.path.normpath(found))


def _config_files(dvc: Path) -> Iterator[Path]:
    environ = os.environ.get
    yield (
        Path(environ("DVC_SYSTEM_CONFIG_DIR") or platformdirs.site_config_dir("dvc", "iterative")) / "config"
    )
    yield (
        Path(environ("DVC_GLOBAL_CONFIG_DIR") or platformdirs.user_config_dir("dvc", "iterative")) / "config"
    )
    yield dvc / ".dvc" / "config"
    yield dvc / ".dvc" / "config.local"


def entries(cache: Path, md5: str, name: str) -> list[Entry]:
    """The files of a DVC output, sorted by name.

    Parameters
    ----------
    md5
        The output's hash; that of a folder ends in ``.dir``.
    name
        What the file is called when it is one.

    Raises
    ------
    Missing
        When the cache lacks objects.
    Failed
        When the list of a folder's files is damaged.
    """
    if not md5.endswith(_FOLDER):
        listed = [_Listed(name, md5)]
    else:
        path = _object(cache, md5)
        if path is None:
            raise Missing([f"the list of the files in {name}"])
        content = path.read_bytes()
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5.removesuffix(_FOLDER):
            raise _damaged(f"the list of the files in {name}", path)
        listed = msgspec.json.decode(content, type=list[_Listed])
    found, missing = [], []
    for file in sorted(listed, key=lambda file: file.relpath):
        inside = PurePosixPath(file.relpath)
        if inside.is_absolute() or ".." in inside.parts:
            raise Failed(f"{name} lists a file outside of itself: {file.relpath}")
        path = _object(cache, file.md5)
        if path is None:
            missing.append(file.relpath)
        else:
            found.append(Entry(file.relpath, file.md5, path))
    if missing:
        raise Missing(missing)
    return found


def _object(cache: Path, md5: str) -> Path | None:
    parts = (md5[:2], md5[2:])
    for path in (cache.joinpath("files", "md5", *parts), cache.joinpath(*parts)):
        if path.is_file():
            return path
    return None


def total(files: Sequence[Entry]) -> int:
    """Bytes of all files together."""
    return sum(entry.path.stat().st_size for entry in files)


def intact(entry: Entry) -> bool:
    """Whether an object's bytes are those that its name says."""
    if entry.legacy:
        return True
    with entry.path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest() == entry.md5


def check(files: Sequence[Entry], count: int, size: int, what: str) -> None:
    """Hold the objects against what is known of them.

    Raises
    ------
    Failed
        Naming the object that is damaged.
    """
    there = total(files)
    if len(files) == count and there == size:
        return
    for entry in files:
        if not intact(entry):
            raise _damaged(f"{entry.name} of {what}", entry.path)
    raise Failed(
        f"{what} has {count} files of {size} bytes; DVC's cache holds {len(files)} of {there} bytes.",
        "Restore DVC's cache from a copy.",
    )


def _damaged(what: str, path: Path) -> Failed:
    return Failed(
        f"{what} is damaged in DVC's cache: {path}",
        "Remove that file, then fetch it anew from DVC's remote (`dvc fetch`) "
        "or add the original file again (`dvc add`).",
    )


def link(folder: Path, files: Sequence[Entry], home: Path) -> None:
    """Make ``folder`` hold a link to each file's object; all of them, or it is not there.

    Parameters
    ----------
    home
        Links between places inside of this folder are relative, so that they survive its move.
    """
    targets = {entry.name: _target(entry, folder, home) for entry in files}
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}.new")
    old = folder.with_name(f".{folder.name}.old")
    with FileLock(folder.with_name(f".{folder.name}.lock"), timeout=600):
        if _linked(folder, targets):
            return
        for rest in (beside, old):
            shutil.rmtree(rest, ignore_errors=True)
        beside.mkdir()
        try:
            for name, target in targets.items():
                place = beside / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(target)
        except OSError as error:
            raise Conflict(f"{folder} cannot be made: {error.strerror}.") from error
        if folder.exists():
            folder.rename(old)
        beside.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def _target(entry: Entry, folder: Path, home: Path) -> str:
    place = folder / entry.name
    if place.is_relative_to(home) and entry.path.is_relative_to(home):
        return os.path.relpath(entry.path, place.parent)
    return str(entry.path)


def _linked(folder: Path, targets: dict[str, str]) -> bool:
    there: dict[str, str] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            place = Path(parent, name)
            there[place.relative_to(folder).as_posix()] = str(place.readlink()) if place.is_symlink() else ""
    return folder.is_dir() and there == targets
