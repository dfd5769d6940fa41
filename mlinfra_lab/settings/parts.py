"""The tables of ``mlinfra.toml``."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec

from mlinfra_lab.errors import InvalidSettings

NAME = re.compile(r"[a-z0-9][a-z0-9-]*\Z")
_SPAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([mhdw])\s*\Z")
_SPAN_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
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


class PageSettings(Part, frozen=True, kw_only=True):
    """``[pages]``: the server of the pages, on this machine's loopback address only.

    Attributes
    ----------
    port
        By default a free one is chosen once and kept.
    idle
        Seconds without a viewer after which it leaves; it comes back when a page is opened.
    """

    port: Port | None = None
    idle: Seconds = 900.0


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
    pages: PageSettings = PageSettings()
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


def parse_span(span: str) -> float:
    """Seconds of ``"7d"``, ``"12h"``, ``"30m"`` or ``"2w"``.

    Raises
    ------
    InvalidSettings
        When it is no span of time.
    """
    match = _SPAN.match(span)
    seconds = float(match[1]) * _SPAN_UNITS[match[2]] if match else 0.0
    if seconds <= 0:
        raise InvalidSettings(f"“{span}” is no span of time.", "Write it like “7d”, “12h” or “2w”.")
    return seconds
