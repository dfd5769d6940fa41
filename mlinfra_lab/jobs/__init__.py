"""Notebooks as jobs."""

from mlinfra_lab.jobs.service import JobRef, JobsService

__all__ = ["JobRef", "JobsService"]
