"""MLflow's experiments and runs: which store the project uses, its table of runs, comparison."""

from mlinfra_lab.runs.service import RunsService
from mlinfra_lab.runs.store import SqliteStore

__all__ = ["RunsService", "SqliteStore"]
