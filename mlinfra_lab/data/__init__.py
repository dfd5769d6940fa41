"""Datasets and their versions: plain DVC and git, with rows, schema and statistics."""

from mlinfra_lab.data.opened import OpenDataset
from mlinfra_lab.data.service import DataService

__all__ = ["DataService", "OpenDataset"]
