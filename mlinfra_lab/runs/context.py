"""What MLflow writes on each run that is started in a job or in a kernel of a project.

MLflow finds this through the entry-point group ``mlflow.run_context_provider`` and asks it whenever a run
is started, so that plain MLflow code is traced. Everything comes from the environment that the job was
given: nothing is opened or imported here, for this runs inside other people's notebooks.
"""

from __future__ import annotations

import os
from typing import Final

TAGS: Final = {
    "MLINFRA_PROJECT_ID": "mlinfra.project",
    "MLINFRA_JOB": "mlinfra.job",
    "MLINFRA_NOTEBOOK": "mlinfra.notebook",
    "MLINFRA_COMMIT": "mlinfra.commit",
    "MLINFRA_ENVIRONMENT": "mlinfra.environment",
    "MLINFRA_REPRODUCES": "mlinfra.reproduces",
}
"""Variables of the environment and the tags they become."""


class JobContext:
    """An MLflow run-context provider (by its methods: MLflow asks for no base class)."""

    def in_context(self) -> bool:
        """Whether this process belongs to a project."""
        return bool(os.environ.get("MLINFRA_PROJECT_ID"))

    def tags(self) -> dict[str, str]:
        """The tags of a run that starts now."""
        return {tag: value for variable, tag in TAGS.items() if (value := os.environ.get(variable))}
