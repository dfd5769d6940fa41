"""Named moments at which a test may kill a process.

``MLINFRA_FAULT=controller.spawned`` makes the process that reaches that moment send itself SIGKILL, once:
the file ``MLINFRA_FAULT_ONCE`` names is made first, and where it exists already nothing happens.
Launched processes do not inherit either variable unless a test puts them there.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path


def point(name: str) -> None:
    """Die here if the environment says so."""
    if os.environ.get("MLINFRA_FAULT") != name:
        return
    if once := os.environ.get("MLINFRA_FAULT_ONCE"):
        try:
            Path(once).touch(exist_ok=False)
        except FileExistsError:
            return
    os.kill(os.getpid(), signal.SIGKILL)
