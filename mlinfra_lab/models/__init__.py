"""MLflow's model registry: versions of models and the aliases that point to them."""

from mlinfra_lab.models.service import ModelsService

__all__ = ["ModelsService"]
