"""MLflow's runs as a table shows them."""

from __future__ import annotations

import datetime as dt

from mlinfra_lab.schema.common import Wire


class Run(Wire, frozen=True, kw_only=True):
    """One MLflow run.

    Attributes
    ----------
    status
        MLflow's own word: ``RUNNING``, ``FINISHED``, ``FAILED``, ``KILLED``, ``SCHEDULED``.
    job
        Id of the job that made it, from the tag ``mlinfra.job``.
    """

    id: str
    name: str
    experiment: str
    status: str
    started: dt.datetime | None = None
    ended: dt.datetime | None = None
    params: dict[str, str] = {}
    metrics: dict[str, float] = {}
    tags: dict[str, str] = {}
    job: str | None = None


class LoggedModel(Wire, frozen=True, kw_only=True):
    """A model that a run logged.

    Attributes
    ----------
    id
        MLflow's id (``m-…``); ``models:/ID`` names its files.
    created
        When it was logged: the cell that ran at that moment logged it.
    location
        Where its files lie.
    """

    id: str
    name: str
    created: dt.datetime
    location: str
    run: str | None = None

    @property
    def uri(self) -> str:
        """MLflow's URI of the model's files."""
        return f"models:/{self.id}"


class Difference(Wire, frozen=True, kw_only=True):
    """One parameter, metric or tag by run, in the order of the comparison's runs."""

    name: str
    values: tuple[str | float | None, ...]
    differs: bool


class RunComparison(Wire, frozen=True, kw_only=True):
    """Two or more runs side by side.

    Attributes
    ----------
    better
        Id of the run with the better ``metric`` when one was named.
    """

    runs: tuple[Run, ...]
    metrics: tuple[Difference, ...]
    params: tuple[Difference, ...]
    tags: tuple[Difference, ...]
    metric: str | None = None
    better: str | None = None
