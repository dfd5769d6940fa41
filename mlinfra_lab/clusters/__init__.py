"""Dask clusters that outlive whoever asked for them."""

from mlinfra_lab.clusters.backend import Backend, Node
from mlinfra_lab.clusters.service import ClusterRef, ClustersService

__all__ = ["Backend", "ClusterRef", "ClustersService", "Node"]
