"""What was made from what: the graph and the environments in it."""

from mlinfra_lab.lineage.service import LineageService

__all__ = ["LineageService"]
