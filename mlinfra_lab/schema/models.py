"""MLflow's registered models."""

from __future__ import annotations

import datetime as dt

from mlinfra_lab.schema.common import Wire


class ModelVersion(Wire, frozen=True, kw_only=True):
    """A version of a registered model.

    Attributes
    ----------
    source
        MLflow's URI of the model's files (``models:/m-…`` or an artifact location).
    run
        Id of the run that logged it, if MLflow knows it.
    """

    name: str
    version: int
    source: str
    run: str | None = None
    aliases: tuple[str, ...] = ()
    created: dt.datetime

    @property
    def ref(self) -> str:
        """The short name of this version, ``flights-delay/3``."""
        return f"{self.name}/{self.version}"


class Model(Wire, frozen=True, kw_only=True):
    """A registered model and its versions, newest first."""

    name: str
    versions: tuple[ModelVersion, ...]
    aliases: dict[str, int]
