"""A dataset version that is open for reading."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlinfra_lab.schema.data import DatasetVersion

if TYPE_CHECKING:
    import dask.dataframe
    import pandas as pd


class OpenDataset:
    """The files of one dataset version, for reading only.

    Attributes
    ----------
    version
        Exactly which version this is.
    path
        The file, or the folder when the dataset is one.
    files
        All files, sorted.

    Examples
    --------
    >>> project.data.open("flights@1").to_pandas()  # doctest: +SKIP
    """

    def __init__(self, version: DatasetVersion, path: Path, files: list[Path]) -> None:
        self.version = version
        self.path = path
        self.files = files

    def __repr__(self) -> str:
        return f"<dataset {self.version.ref} at {self.path}>"

    def to_pandas(self) -> pd.DataFrame:
        """All tables of the version, one below the other.

        Raises
        ------
        Invalid
            When none of the files is a table (Parquet, CSV, Feather).
        """
        from mlinfra_lab.data import work

        return work.to_pandas(self.version.ref, self.files)

    def to_dask(self) -> dask.dataframe.DataFrame:
        """All tables of the version as a Dask dataframe, read where its partitions are worked on.

        Raises
        ------
        Invalid
            When none of the files is a table (Parquet, CSV, Feather).
        """
        from mlinfra_lab.data import work

        return work.to_dask(self.version.ref, self.files)
