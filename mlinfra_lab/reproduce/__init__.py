"""Doing a job again from what was kept of it, and comparing what came of it."""

from mlinfra_lab.reproduce.service import Tell, reproduce

__all__ = ["Tell", "reproduce"]
