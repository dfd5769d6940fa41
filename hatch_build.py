"""Builds the widgets' bundle into the package before a wheel or a source distribution is made of it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUNDLE = "mlinfra_lab/widgets/static/monitor.js"


class WidgetsBuildHook(BuildHookInterface):
    """See the module. A source distribution brings the bundle along: whoever installs it needs no Node."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build, unless the bundle is newer than what it is made of; `make setup` does it for a checkout."""
        root = Path(self.root)
        if version == "editable" or not _stale(root):
            return
        npm, node = shutil.which("npm"), shutil.which("node")
        if npm is None or node is None:
            raise RuntimeError(
                f"{BUNDLE} is missing or out of date, and there is no Node to build it: run `make setup`."
            )
        front = root / "labextension"
        if not (front / "node_modules").is_dir():
            subprocess.run([npm, "ci", "--loglevel=error"], cwd=front, check=True)
        subprocess.run([node, "build.mjs"], cwd=front, check=True)


def _stale(root: Path) -> bool:
    bundle = root / BUNDLE
    sources = [path for path in (root / "labextension" / "src").rglob("*") if path.is_file()]
    if not bundle.is_file():
        return True
    return any(path.stat().st_mtime > bundle.stat().st_mtime for path in sources)
