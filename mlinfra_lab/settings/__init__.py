"""``mlinfra.toml`` and the environment become `Settings`.

The file says only what differs from the defaults. A mistake in it is answered with the key, its line
and the nearest valid key. Passwords never stand in it: a database or MLflow that needs one takes it
from its own client's places (``PGPASSFILE``, ``MLFLOW_TRACKING_PASSWORD``).
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlinfra_lab.errors import InvalidSettings
from mlinfra_lab.settings import checks
from mlinfra_lab.settings.checks import FILE, line_of
from mlinfra_lab.settings.parts import (
    NAME,
    ClusterSettings,
    ControllerSettings,
    Count,
    EndpointSettings,
    JobSettings,
    MLflowSettings,
    PageSettings,
    Part,
    Port,
    ProjectSettings,
    Seconds,
    ServingSettings,
    Settings,
    TaskSettings,
    parse_size,
    parse_span,
)

__all__ = [
    "FILE",
    "NAME",
    "ClusterSettings",
    "ControllerSettings",
    "Count",
    "EndpointSettings",
    "JobSettings",
    "MLflowSettings",
    "PageSettings",
    "Part",
    "Port",
    "ProjectSettings",
    "Seconds",
    "ServingSettings",
    "Settings",
    "TaskSettings",
    "is_there",
    "line_of",
    "load",
    "parse",
    "parse_size",
    "parse_span",
]


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
    checks.check_keys(raw, Settings, (), text)
    tables = dict(raw)
    clusters: dict[str, Any] = {}
    declared = tables.get("clusters", {})
    if not isinstance(declared, dict):
        raise checks.mistake(
            ("clusters",), text, "“clusters” is no table", "Write [clusters.NAME] for each one."
        )
    for name, table in declared.items():
        where = ("clusters", name)
        if not NAME.match(name):
            raise checks.mistake(where, text, f"“{name}” is no name for a cluster", "Use a-z, 0-9 and “-”.")
        if not isinstance(table, dict) or "backend" not in table:
            raise checks.mistake(
                where, text, f"[clusters.{name}] names no backend", 'Add `backend = "local"`.'
            )
        if not isinstance(table["backend"], str):
            raise checks.mistake(
                (*where, "backend"), text, "the backend is no text", 'Write `backend = "local"`.'
            )
        clusters[name] = {
            "backend": table["backend"],
            "config": {key: value for key, value in table.items() if key != "backend"},
        }
    tables["clusters"] = clusters
    if "endpoints" in tables:
        tables["endpoints"] = checks.endpoints(tables["endpoints"], text)
    settings = checks.convert(tables, Settings, (), text)
    checks.check_values(settings, text)
    url = settings.project.database
    if url and re.match(r"[^:]+://[^/@:]*:[^/@]+@", url):
        raise InvalidSettings(
            "A password stands in the database's URL.",
            "Take it out and keep it in PGPASSFILE (~/.pgpass) or in the service file.",
        )
    return settings
