"""Datasets and their versions."""

from __future__ import annotations

import datetime as dt

from mlinfra_lab.schema.common import Wire


class Column(Wire, frozen=True, kw_only=True):
    """One column of a dataset version with its statistics.

    Attributes
    ----------
    type
        Arrow's name of the type (``int64``, ``double``, ``string``, ``timestamp[us]``).
    nulls
        Rows without a value.
    distinct
        Different values, counted exactly; ``None`` where there were too many to count.
    minimum, maximum
        Smallest and largest value, as text (numbers in full precision); ``None`` without values.
    mean, std
        Mean and sample standard deviation of a numeric column, in the column's own unit.
    """

    name: str
    type: str
    nulls: int = 0
    distinct: int | None = None
    minimum: str | None = None
    maximum: str | None = None
    mean: float | None = None
    std: float | None = None


class DatasetVersion(Wire, frozen=True, kw_only=True):
    """An immutable version of a dataset: one DVC output at one git commit.

    Attributes
    ----------
    path
        Where the data stands in the project, relative to its root.
    md5
        DVC's hash of the output (``….dir`` for a folder): the key in DVC's cache.
    commit
        The git commit that holds the ``.dvc`` file with this hash.
    size
        Bytes of all files together.
    rows
        Rows of all tables together; ``None`` when the files are not tables we can read.
    """

    dataset: str
    version: int
    path: str
    md5: str
    commit: str
    files: int
    size: int
    rows: int | None
    columns: tuple[Column, ...] = ()
    message: str | None = None
    created: dt.datetime
    created_by: str

    @property
    def ref(self) -> str:
        """The short name of this version, ``flights@1``."""
        return f"{self.dataset}@{self.version}"


class Dataset(Wire, frozen=True, kw_only=True):
    """A dataset: a name, a place in the project and the newest of its versions."""

    name: str
    path: str
    versions: int
    latest: DatasetVersion


class ColumnChange(Wire, frozen=True, kw_only=True):
    """A column that is not the same in two versions; ``None`` on the side that lacks it."""

    name: str
    before: Column | None
    after: Column | None


class DatasetDiff(Wire, frozen=True, kw_only=True):
    """What differs between two versions of a dataset."""

    before: DatasetVersion
    after: DatasetVersion
    rows: int | None
    size: int
    columns: tuple[ColumnChange, ...]
