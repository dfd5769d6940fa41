"""``mlinfra.toml`` and the environment become `Settings`.

The file says only what differs from the defaults. A mistake in it is answered with the key, its line
and the nearest valid key. Passwords never stand in it: a database or MLflow that needs one takes it
from its own client's places (``PGPASSFILE``, ``MLFLOW_TRACKING_PASSWORD``).
"""

from __future__ import annotations

import difflib
import math
import os
import re
import tomllib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

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
        Where database, captures and logs stand, relative to the project; ``~`` is the home. Must be on
        a local disk.
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


class EndpointSettings(Part, frozen=True, kw_only=True):
    """``[endpoints.NAME]``: how an endpoint is watched and rolled out.

    Attributes
    ----------
    title
        One line that says what it answers, for its page.
    keep_warm
        Keep the process of the version that answered before, so that a rollback takes no time.
    window
        How drift and quality are cut: a span of event time (``"7d"``, ``"12h"``) or a number of rows.
    least
        Rows (or truths) that a window must have to be judged.
    prediction_drift
        PSI of the prediction above which a window is bad.
    quality
        Loss above which a window is bad, as a multiple of the held-out loss.
    running
        Bad windows one after the other that raise an alert.
    slices
        Columns whose values' quality is shown apart.
    action
        What an alert does: ``"ask"`` offers the retraining, ``"automatic"`` starts it, ``"none"``.
    cooldown, most_per_day
        Between two actions of an endpoint at least so long, and at most so many a day; event time.
    steps
        Shares of the requests a new version gets, one after the other.
    gate_errors, gate_latency, gate_quality, gate_requests, gate_truths
        See `schema.endpoints.Gates`.
    """

    title: str | None = None
    keep_warm: bool = True
    window: int | str = "7d"
    least: Count = 200
    prediction_drift: Annotated[float, msgspec.Meta(gt=0)] = 0.25
    quality: Annotated[float, msgspec.Meta(gt=1)] = 1.25
    running: Count = 2
    slices: tuple[str, ...] = ()
    action: Literal["ask", "automatic", "none"] = "ask"
    cooldown: str = "7d"
    most_per_day: Count = 1
    steps: tuple[float, ...] = (0.2, 0.5, 1.0)
    gate_errors: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.01
    gate_latency: Annotated[float, msgspec.Meta(gt=1)] = 3.0
    gate_quality: Annotated[float, msgspec.Meta(gt=1)] = 1.05
    gate_requests: Count = 50
    gate_truths: Count = 200


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a project says about itself."""

    project: ProjectSettings = ProjectSettings()
    mlflow: MLflowSettings = MLflowSettings()
    tasks: TaskSettings = TaskSettings()
    jobs: JobSettings = JobSettings()
    serving: ServingSettings = ServingSettings()
    controller: ControllerSettings = ControllerSettings()
    clusters: dict[str, ClusterSettings] = {}
    endpoints: dict[str, EndpointSettings] = {}


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


def is_there(folder: Path) -> bool:
    """Whether a folder holds ``mlinfra.toml``.

    Raises
    ------
    InvalidSettings
        When something else has its name: a folder, a link that leads nowhere.
    """
    path = folder / FILE
    if path.is_file():
        return True
    if path.is_symlink():
        raise InvalidSettings(f"{path} is a link that leads nowhere.", "Mend the link, or remove it.")
    if path.exists():
        raise InvalidSettings(f"{path} is no file.", "Move it away: a project's settings have that name.")
    return False


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
    is_there(root)
    try:
        # Editors on Windows put a byte-order mark first, which TOML does not know.
        text = path.read_text(encoding="utf-8-sig")
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettings(f"{FILE} is not valid TOML: {error}.", f"Mend {path}.") from error
    except UnicodeDecodeError as error:
        raise InvalidSettings(f"{FILE} is not UTF-8.", f"Save {path} as UTF-8.") from error
    except OSError as error:
        raise InvalidSettings(f"{path} cannot be read: {error.strerror}.", "Make it readable.") from error
    if (database := environ.get("MLINFRA_DATABASE")) and isinstance(raw.setdefault("project", {}), dict):
        raw["project"]["database"] = database
    return parse(raw, text)


def parse(raw: dict[str, Any], text: str = "") -> Settings:
    """Check the parsed TOML ``raw``; ``text`` is only looked at to name the line of a mistake."""
    _check_keys(raw, Settings, (), text)
    tables = dict(raw)
    clusters: dict[str, Any] = {}
    declared = tables.get("clusters", {})
    if not isinstance(declared, dict):
        raise _mistake(("clusters",), text, "“clusters” is no table", "Write [clusters.NAME] for each one.")
    for name, table in declared.items():
        where = ("clusters", name)
        if not NAME.match(name):
            raise _mistake(where, text, f"“{name}” is no name for a cluster", "Use a-z, 0-9 and “-”.")
        if not isinstance(table, dict) or "backend" not in table:
            raise _mistake(where, text, f"[clusters.{name}] names no backend", 'Add `backend = "local"`.')
        if not isinstance(table["backend"], str):
            raise _mistake((*where, "backend"), text, "the backend is no text", 'Write `backend = "local"`.')
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
        raise _mistake(keys, text, f"“{'.'.join(keys)}” is wrong: {_in_words(reason)}", _how(keys)) from error
    _check_values(settings, text)
    url = settings.project.database
    if url and re.match(r"[^:]+://[^/@:]*:[^/@]+@", url):
        raise InvalidSettings(
            "A password stands in the database's URL.",
            "Take it out and keep it in PGPASSFILE (~/.pgpass) or in the service file.",
        )
    return settings


def _check_values(settings: Settings, text: str) -> None:
    """What the types do not say."""
    for table in ("tasks", "jobs", "controller"):
        for key, value in msgspec.structs.asdict(getattr(settings, table)).items():
            if isinstance(value, float) and not math.isfinite(value):
                what = f"“{table}.{key}” is wrong: {value} is no number of seconds"
                raise _mistake((table, key), text, what, _how((table, key)))
    name = settings.project.name
    if name is not None and not (name.strip() and name.isprintable()):
        what = "the project's name is " + ("empty" if not name.strip() else f"no plain text: {name!r}")
        raise _mistake(("project", "name"), text, what, "Write a name on one line, or leave it out.")
    body = settings.serving.max_body
    try:
        wrong = None if parse_size(body) > 0 else f"“serving.max_body” is wrong: {body} lets nothing in"
    except InvalidSettings as error:
        wrong = f"“serving.max_body” is wrong: {error.message.rstrip('.')}"
    if wrong:
        raise _mistake(("serving", "max_body"), text, wrong, "Write it like “2 GiB” or “500 MB”.")


_KINDS = {
    "int": "a whole number", "float": "a number", "str": "text", "bool": "true or false",
    "object": "a table", "array": "a list", "null": "nothing",
}  # fmt: skip
_EXAMPLES = {
    "int": "Write a whole number without quotes, like {key} = {value}.",
    "float": "Write a number without quotes, like {key} = {value}.",
    "str": 'Write text in quotes, like {key} = "{value}".',
}


def _in_words(reason: str) -> str:
    """Say ``Expected `int | null`, got `str``` as a person does."""

    def kinds(found: re.Match[str]) -> str:
        names = [name for name in found[1].split(" | ") if name != "null"]
        return " or ".join(_KINDS.get(name, name) for name in names)

    words = re.sub(r"`([a-z |]+)`", kinds, reason)
    words = re.sub(r" >= (\S+)", r" of at least \1", re.sub(r" <= (\S+)", r" of at most \1", words))
    words = re.sub(r" > (\S+)", r" of more than \1", words)
    return (words[:1].lower() + words[1:]).removesuffix(".0")


def _how(keys: tuple[str, ...]) -> str:
    """What is valid for a key, with its default for an example."""
    kind: Any = Settings
    default: Any = None
    for key in keys:
        table = _struct(kind)
        if table is None:
            break
        default = next((one.default for one in msgspec.structs.fields(table) if one.name == key), None)
        kind = get_type_hints(table).get(key)
    if _struct(kind) is not None or kind is None:
        return f"Write its keys under [{'.'.join(keys)}]."
    plain = next(name for name in ("str", "int", "float") if name in str(kind) or name == "float")
    value = default if isinstance(default, int | float | str) else {"str": "…", "int": 8080}.get(plain, 600)
    return _EXAMPLES[plain].format(key=keys[-1], value=value)


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
