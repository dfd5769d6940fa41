"""``mlinfra.toml`` and the environment become `Settings`.

The file says only what differs from the defaults. A mistake in it is answered with the key, its line
and the nearest valid key. Passwords never stand in it: a database or MLflow that needs one takes it
from its own client's places (``PGPASSFILE``, ``MLFLOW_TRACKING_PASSWORD``).
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from mlinfra_lab.errors import InvalidSettings

FILE = "mlinfra.toml"
NAME = re.compile(r"[a-z0-9][a-z0-9-]*\Z")
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]i?)?B?\s*\Z", re.IGNORECASE)

Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table of ``mlinfra.toml``."""


class ProjectSettings(Part, frozen=True, kw_only=True):
    """``[project]``.

    Attributes
    ----------
    name
        What people call the project; the folder's name by default. Names MLflow's experiment.
    state_dir
        Where database, captures and logs stand, relative to the project. Must be on a local disk.
    database
        SQLAlchemy URL of a PostgreSQL database for a team, without a password; by default a SQLite
        file in the state folder.
    """

    name: str | None = None
    state_dir: str = ".mlinfra"
    database: str | None = None


class MLflowSettings(Part, frozen=True, kw_only=True):
    """``[mlflow]``: an existing store to use in place of the project's own."""

    tracking_uri: str | None = None
    registry_uri: str | None = None
    experiment: str | None = None


class TaskSettings(Part, frozen=True, kw_only=True):
    """``[tasks]``.

    Attributes
    ----------
    workers
        Task workers at most; they are started when there is work and kept for ``idle`` seconds.
    """

    workers: Count = 2
    idle: Seconds = 900.0


class JobSettings(Part, frozen=True, kw_only=True):
    """``[jobs]``.

    Attributes
    ----------
    at_once
        Jobs that run at the same time; the others wait in the queue.
    timeout
        Seconds after which a job is stopped, where the job itself does not say; ``None``: never.
    grace
        Seconds between asking a job to stop, telling it, and killing it.
    """

    at_once: Count = 2
    timeout: Seconds | None = None
    grace: Seconds = 5.0


class ServingSettings(Part, frozen=True, kw_only=True):
    """``[serving]``: the project's front.

    Attributes
    ----------
    host
        Address to listen on. Anything but loopback is the network's to see: think of TLS in front.
    port
        By default a free one is chosen once and kept.
    max_body
        Largest request body, in bytes or as ``"10 MiB"``.
    """

    host: str = "127.0.0.1"
    port: Port | None = None
    max_body: int | str = "10 MiB"

    @property
    def max_body_bytes(self) -> int:
        """``max_body`` in bytes."""
        return parse_size(self.max_body)


class ControllerSettings(Part, frozen=True, kw_only=True):
    """``[controller]``: seconds with nothing desired after which the controller leaves."""

    idle: Seconds = 900.0


class ClusterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``[clusters.NAME]``: a backend's name; what else stands there is the backend's to check."""

    backend: str
    config: dict[str, Any] = {}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a project says about itself."""

    project: ProjectSettings = ProjectSettings()
    mlflow: MLflowSettings = MLflowSettings()
    tasks: TaskSettings = TaskSettings()
    jobs: JobSettings = JobSettings()
    serving: ServingSettings = ServingSettings()
    controller: ControllerSettings = ControllerSettings()
    clusters: dict[str, ClusterSettings] = {}


def parse_size(size: int | str) -> int:
    """Bytes of ``"2 GiB"``, ``"500MB"`` or a plain number.

    Raises
    ------
    InvalidSettings
        When it is no size.
    """
    if isinstance(size, int):
        return size
    match = _SIZE.match(size)
    if not match:
        raise InvalidSettings(f"“{size}” is no size.", "Write it like “2 GiB” or “500 MB”.")
    unit = (match[2] or "").lower()
    power = "kmgt".index(unit[0]) + 1 if unit else 0
    return int(float(match[1]) * (1024 if unit.endswith("i") else 1000) ** power)


def load(root: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings of the project in ``root``.

    Parameters
    ----------
    root
        Folder that holds ``mlinfra.toml``.
    environ
        ``MLINFRA_DATABASE`` overrides ``project.database``.

    Raises
    ------
    InvalidSettings
        Naming the key, its line and the nearest valid key.
    """
    path = root / FILE
    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettings(f"{FILE} is not valid TOML: {error}.", f"Mend {path}.") from error
    except UnicodeDecodeError as error:
        raise InvalidSettings(f"{FILE} is not UTF-8.", f"Save {path} as UTF-8.") from error
    if database := environ.get("MLINFRA_DATABASE"):
        raw.setdefault("project", {})["database"] = database
    return parse(raw, text)


def parse(raw: dict[str, Any], text: str = "") -> Settings:
    """Check the parsed TOML ``raw``; ``text`` is only looked at to name the line of a mistake."""
    _check_keys(raw, Settings, (), text)
    tables = dict(raw)
    clusters: dict[str, Any] = {}
    for name, table in tables.get("clusters", {}).items():
        where = ("clusters", name)
        if not NAME.match(name):
            raise _mistake(where, text, f"“{name}” is no name for a cluster", "Use a-z, 0-9 and “-”.")
        if not isinstance(table, dict) or "backend" not in table:
            raise _mistake(where, text, f"[clusters.{name}] names no backend", 'Add `backend = "local"`.')
        clusters[name] = {
            "backend": table["backend"],
            "config": {key: value for key, value in table.items() if key != "backend"},
        }
    tables["clusters"] = clusters
    try:
        settings = msgspec.convert(tables, Settings)
    except msgspec.ValidationError as error:
        reason, _, at = str(error).partition(" - at `$.")
        keys = tuple(at.rstrip("`").split("."))
        raise _mistake(keys, text, f"“{'.'.join(keys)}” is wrong: {reason}", "See the README.") from error
    url = settings.project.database
    if url and re.match(r"[^:]+://[^/@:]*:[^/@]+@", url):
        raise InvalidSettings(
            "A password stands in the database's URL.",
            "Take it out and keep it in PGPASSFILE (~/.pgpass) or in the service file.",
        )
    parse_size(settings.serving.max_body)
    return settings


def _check_keys(raw: Any, kind: Any, where: tuple[str, ...], text: str) -> None:
    table = _struct(kind)
    if table is None or not isinstance(raw, dict):
        return
    hints = get_type_hints(table)
    for key, value in raw.items():
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1, cutoff=0.5)
            place = f" in [{'.'.join(where)}]" if where else ""
            hint = f"Did you mean “{near[0]}”?" if near else f"Valid here: {', '.join(sorted(hints))}."
            raise _mistake((*where, key), text, f"unknown key “{key}”{place}", hint)
        _check_keys(value, hints[key], (*where, key), text)


def _struct(kind: Any) -> type[msgspec.Struct] | None:
    if get_origin(kind) in (Union, types.UnionType):
        kind = next((arg for arg in get_args(kind) if arg is not type(None)), None)
    return kind if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else None


def _mistake(keys: tuple[str, ...], text: str, what: str, hint: str) -> InvalidSettings:
    line = line_of(text, keys)
    place = f"{FILE}, line {line}" if line else FILE
    return InvalidSettings(f"{place}: {what}.", hint, {"key": ".".join(keys), "line": line})


def line_of(text: str, keys: tuple[str, ...]) -> int | None:
    """Line (from 1) of a key in a TOML text; the table's header when the key is a table."""
    prefix: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if header := re.match(r"\[+\s*([^\]#]+?)\s*\]", stripped):
            prefix = tuple(part.strip(" \"'") for part in header[1].split("."))
            if prefix[: len(keys)] == keys:
                return number
        elif entry := re.match(r"([\w\"'. -]+?)\s*=", stripped):
            name = (*prefix, *(part.strip(" \"'") for part in entry[1].split(".")))
            if name == keys or (name == keys[:-1] and len(keys) > 1 and "{" in stripped):
                return number
    return None
