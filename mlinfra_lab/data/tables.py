"""Files that are tables, read a batch at a time: Parquet, CSV, Feather.

Like `work` it knows pyarrow, and only `work` and `statistics` may import it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

_BATCH = 65_536
# Arrow reads up to 32 blocks of a CSV file ahead; the types are guessed from the first.
_BLOCK = 2 << 20
_CONVERSION = re.compile(r"In CSV column #(\d+): .*conversion error")

Types = dict[str, pa.DataType]


class Opened(NamedTuple):
    """A table that is open: its schema, and its batches, to be read once."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


class NotTable(Exception):
    """A file that bears a table's name and cannot be read as one."""


class WrongGuess(Exception):
    """A value deep in a CSV file does not fit the type guessed from its beginning.

    Attributes
    ----------
    types
        What to pass to `opened` to read the file again.
    """

    def __init__(self, types: Types) -> None:
        super().__init__(types)
        self.types = types


def is_table(name: str) -> bool:
    """Whether a file of this name is read as a table."""
    return _opener(name) is not None


@contextmanager
def opened(name: str, path: Path, types: Types) -> Iterator[Opened]:
    """Open a table.

    Parameters
    ----------
    name
        Its suffix tells the format.
    path
        Where the bytes are; objects in DVC's cache have no suffix.
    types
        Types of columns that were guessed wrongly before (CSV only).

    Raises
    ------
    NotTable
        When the file is no table or a damaged one, also while batches are read.
    WrongGuess
        While batches are read: start anew with its types.
    """
    opener = _opener(name)
    if opener is None:
        raise NotTable(f"{name} has no suffix of a table.")
    try:
        with opener(path, types) as table:
            yield table
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise NotTable(f"{name} cannot be read as a table: {reason}") from error


def _opener(name: str) -> Callable[[Path, Types], AbstractContextManager[Opened]] | None:
    name = name.lower()
    return next((opener for suffix, opener in _OPENERS.items() if name.endswith(suffix)), None)


@contextmanager
def _parquet(path: Path, _: Types) -> Iterator[Opened]:
    # pyarrow would else read ahead and keep the whole file.
    with pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
        yield Opened(file.schema_arrow, file.iter_batches(batch_size=_BATCH))


@contextmanager
def _feather(path: Path, _: Types) -> Iterator[Opened]:
    with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
        whole = (file.get_batch(index) for index in range(file.num_record_batches))
        parts = (batch.slice(at, _BATCH) for batch in whole for at in range(0, batch.num_rows, _BATCH))
        yield Opened(file.schema, parts)


@contextmanager
def _csv(path: Path, types: Types, compression: str | None = None) -> Iterator[Opened]:
    with pa.input_stream(str(path), compression=compression) as source:
        file = pyarrow.csv.open_csv(
            source,
            read_options=pyarrow.csv.ReadOptions(block_size=_BLOCK),
            # As pandas reads: an empty field or NA is no value, in a column of texts too.
            convert_options=pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=True),
        )
        try:
            yield Opened(file.schema, iter(file))
        except pa.ArrowInvalid as error:
            wrong = _CONVERSION.match(str(error))
            field = file.schema.field(int(wrong[1])) if wrong else None
            if field is None or pa.types.is_string(field.type):
                raise
            number = pa.types.is_integer(field.type) or pa.types.is_null(field.type)
            raise WrongGuess(types | {field.name: pa.float64() if number else pa.string()}) from error


def _csv_gz(path: Path, types: Types) -> AbstractContextManager[Opened]:
    return _csv(path, types, "gzip")


_OPENERS: dict[str, Callable[[Path, Types], AbstractContextManager[Opened]]] = {
    ".parquet": _parquet,
    ".feather": _feather,
    ".arrow": _feather,
    ".csv": _csv,
    ".csv.gz": _csv_gz,
}
