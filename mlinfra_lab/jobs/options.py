"""What a job may be asked for besides its notebook and parameters: kernel, time, variables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from mlinfra_lab.errors import Invalid, NotFound


def check_kernel(name: str) -> None:
    """Whether Jupyter has a kernel of this name.

    Looked up in Jupyter's own folders: asking its kernel manager would import tornado and zmq.

    Raises
    ------
    NotFound
        With the kernels there are.
    """
    from jupyter_core.paths import jupyter_path

    folders = [Path(folder) for folder in jupyter_path("kernels")]
    # Jupyter makes this one up for the Python it runs in, installed or not.
    known = {"python3"} | {found.parent.name.lower() for at in folders for found in at.glob("*/kernel.json")}
    if name.lower() not in known:
        raise NotFound(f"There is no kernel “{name}”.", f"Installed: {', '.join(sorted(known))}.")


def seconds(timeout: float) -> float:
    """A timeout that is one: a finite number over 0."""
    number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
    if not number or not math.isfinite(timeout) or timeout <= 0:
        raise Invalid(f"A job's timeout is a number of seconds over 0, not {timeout!r}.")
    return float(timeout)


def variables(env: Mapping[str, str] | None) -> dict[str, str]:
    """Environment variables as texts by name."""
    given = env or {}
    if not isinstance(given, Mapping) or not all(
        isinstance(name, str) and isinstance(value, str) for name, value in given.items()
    ):
        raise Invalid("A job's variables are texts by name.", 'Give them like env={"TOKEN": "…"}.')
    return dict(given)
