"""From a result to its view: a function for each type, found by the type's name and imported then."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from mlinfra_lab.cli.base import Listing
from mlinfra_lab.cli.view import View

__all__ = ["KNOWN", "view", "wire"]

_HERE = "mlinfra_lab.cli.views"

# Type's name -> module of its views; the function is named in lower case, that of a list in the plural.
KNOWN: dict[str, str] = {
    "Dataset": f"{_HERE}.data", "DatasetVersion": f"{_HERE}.data", "DatasetDiff": f"{_HERE}.data",
    "InitReport": f"{_HERE}.control", "Status": f"{_HERE}.control", "Cluster": f"{_HERE}.control",
    "Written": f"{_HERE}.demo", "TruthSent": f"{_HERE}.demo",
    "Job": f"{_HERE}.jobs", "JobDetail": f"{_HERE}.jobs", "Parameter": f"{_HERE}.jobs",
    "Run": f"{_HERE}.runs", "RunComparison": f"{_HERE}.runs",
    "Model": f"{_HERE}.models", "ModelVersion": f"{_HERE}.models",
    "Endpoint": f"{_HERE}.endpoints", "Prediction": f"{_HERE}.endpoints", "Traffic": f"{_HERE}.endpoints",
    "Rollout": f"{_HERE}.endpoints", "HistoryEntry": f"{_HERE}.endpoints",
    "Link": f"{_HERE}.pages", "Alert": f"{_HERE}.alerts",
    "Trace": f"{_HERE}.lineage", "Environment": f"{_HERE}.lineage", "ReproduceReport": f"{_HERE}.lineage",
}  # fmt: skip

# Handle on something that goes on -> the attribute with the thing as it is now.
_HANDLES = {"JobRef": "detail", "EndpointRef": "endpoint", "RolloutRef": "rollout", "ClusterRef": "cluster"}


def wire(value: Any) -> Any:
    """The value as Structs: what a handle stands for, a listing's items."""
    attribute = _HANDLES.get(type(value).__name__)
    return value if attribute is None else getattr(value, attribute)


def view(value: Any, root: Path | None = None) -> View | None:
    """The view of a result; ``None`` when it is of no type of ours.

    Parameters
    ----------
    root
        The project's folder, for what can be pasted into a shell.
    """
    value = wire(value)
    many = isinstance(value, Listing)
    name = value.kind if isinstance(value, Listing) else type(value).__name__
    if name not in KNOWN:
        return None
    module = importlib.import_module(KNOWN[name])
    # Some things are only ever listed.
    function = getattr(module, name.lower() + ("s" if many else ""), None)
    found: View | None = None if function is None else function(value, root)
    return found
