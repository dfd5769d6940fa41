"""Models as HTTP endpoints.

A front process owns the project's port: it checks, coalesces, captures and answers; model processes
predict. See `service` for the operations.
"""

from mlinfra_lab.endpoints.service import EndpointRef, EndpointsService, RolloutRef

__all__ = ["EndpointRef", "EndpointsService", "RolloutRef"]
