"""These tests need a GPU: where NVML finds none, they are not collected, and the reason is shown."""

from __future__ import annotations

from mlinfra_lab.clusters.backends.cuda import find_devices
from mlinfra_lab.errors import MissingDependency

collect_ignore_glob: list[str] = []
_WHY_NOT = ""

try:
    find_devices(None)
except MissingDependency as _error:
    collect_ignore_glob.append("test_*.py")
    _WHY_NOT = _error.message


def pytest_report_header() -> str | None:
    """Why the GPU tests are left out."""
    return f"tests/gpu is left out: {_WHY_NOT}" if _WHY_NOT else None
