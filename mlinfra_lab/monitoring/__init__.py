"""Drift, quality and alerts of endpoints."""

from __future__ import annotations

from mlinfra_lab.monitoring.service import MonitoringService

__all__ = ["MonitoringService"]
