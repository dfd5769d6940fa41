"""Rows to frames with exactly the signature's types, and results to plain JSON values."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from mlinfra_lab.endpoints.backends.pyfunc import form, frame, plain
from mlinfra_lab.errors import Failed, InvalidRequest
from mlinfra_lab.schema.endpoints import InputColumn

MOMENT = dt.datetime(2013, 3, 1, 5, 15, tzinfo=dt.UTC)


def one(type: str, *values: Any, required: bool = True) -> Any:
    return frame([(value,) for value in values], [InputColumn(name="a", type=type, required=required)])["a"]


@pytest.mark.parametrize(
    ("type", "values", "dtype"),
    [
        ("double", (1.0, None), "float64"),
        ("double", (None,), "float64"),
        ("float", (1.0, None), "float32"),
        ("integer", (1, 2), "int32"),
        ("long", (1, 2), "int64"),
        ("boolean", (True, False), "bool"),
        ("datetime", (MOMENT, None), "datetime64[ns]"),
        ("datetime", (None,), "datetime64[ns]"),
        ("binary", (b"x", None), "object"),
        ("string", ("x", None), pd.Series(["x", None]).dtype),
        ("string", (None, None), pd.Series(["x", None]).dtype),
    ],
)
def test_types_follow_the_signature_not_the_values(type: str, values: Any, dtype: Any) -> None:
    column = one(type, *values)
    assert column.dtype == dtype
    assert [pd.isna(value) for value in column] == [value is None for value in values]


def test_a_text_column_is_what_pandas_reads_from_a_file() -> None:
    assert one("string", "x", None).dtype == pd.DataFrame({"a": ["x", "y"]})["a"].dtype


def test_moments_are_given_in_utc() -> None:
    assert list(one("datetime", MOMENT)) == [pd.Timestamp("2013-03-01 05:15:00")]


def test_missing_integers() -> None:
    columns = [InputColumn(name="a", type="long", required=False), InputColumn(name="b", type="double")]
    assert list(frame([(None, 1.0), (None, 2.0)], columns).columns) == ["b"]
    with pytest.raises(InvalidRequest, match="row 1, column `a`: long knows no missing value"):
        frame([(1, 1.0), (None, 2.0)], columns)


@pytest.mark.parametrize(
    ("result", "wanted"),
    [
        (np.array([1.5, np.nan, np.inf]), [1.5, None, None]),
        (np.array([[1.0, np.nan], [0.0, 1.0]], dtype="float32"), [[1.0, None], [0.0, 1.0]]),
        (np.array([1, 2], dtype="uint8"), [1, 2]),
        (np.array([True, False]), [True, False]),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array(["a", None, 1, np.float32(2), np.nan], dtype=object), ["a", None, 1, 2.0, None]),
        (
            np.array(["2013-03-01T05:15", "NaT"], dtype="datetime64[ns]"),
            ["2013-03-01T05:15:00.000000Z", None],
        ),
        (np.array(3.0), [3.0]),
        (pd.Series([1, 2]), [1, 2]),
        (pd.Series(["x", None]), ["x", None]),
        (pd.Series([1, None], dtype="Int64"), [1, None]),
        (pd.DataFrame({"p": [0.5, np.nan], "c": ["x", "y"]}), [{"p": 0.5, "c": "x"}, {"p": None, "c": "y"}]),
        ({"p": np.array([0.5, 1.0]), "c": ["x", "y"]}, [{"p": 0.5, "c": "x"}, {"p": 1.0, "c": "y"}]),
        ([1, np.float64(2.5), float("nan")], [1, 2.5, None]),
        ((decimal.Decimal("1.5"), {"a": np.arange(2)}), [1.5, {"a": [0, 1]}]),
        ([pd.Timestamp("2013-03-01"), pd.NaT, pd.NA], ["2013-03-01T00:00:00", None, None]),
    ],
)
def test_results_become_plain_values(result: Any, wanted: list[Any]) -> None:
    got = plain(result, len(wanted))
    assert got == wanted
    assert msgspec.json.decode(msgspec.json.encode(got)) == wanted
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(got)) == wanted


def test_sparse_results() -> None:
    from scipy import sparse

    assert plain(sparse.csr_matrix([[0, 1], [2, 0]]), 2) == [[0, 1], [2, 0]]


@pytest.mark.parametrize(
    ("result", "wanted"),
    [
        (np.array([1.0]), "1 predictions for 2 rows"),
        ("text", "gave a str"),
        (None, "gave a NoneType"),
        ([object(), object()], "gave a object, which cannot be written as JSON"),
        ([1j, 2j], "gave a complex"),
    ],
)
def test_results_that_are_none(result: Any, wanted: str) -> None:
    with pytest.raises(Failed, match=wanted):
        plain(result, 2)


def test_form() -> None:
    assert [form(value) for value in (1.0, "x", None, [1], {"a": 1})] == ["value"] * 3 + ["array", "record"]
