"""Structs to rows and back: field names are column names."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

S = TypeVar("S", bound=msgspec.Struct)


def to_row(struct: msgspec.Struct, table: sa.Table, **extra: Any) -> dict[str, Any]:
    """The values of ``struct`` for the columns of ``table``.

    Parameters
    ----------
    extra
        Columns the Struct does not have, or overrides.
    """
    own = set(struct.__struct_fields__)
    values = {column.name: getattr(struct, column.name) for column in table.columns if column.name in own}
    return values | extra


def from_row(row: sa.Row[Any], kind: type[S]) -> S:
    """The Struct ``kind`` whose fields the row's columns are; other columns are left out."""
    mapping = row._mapping
    fields = kind.__struct_fields__
    return msgspec.convert({name: mapping[name] for name in fields if name in mapping}, kind)
