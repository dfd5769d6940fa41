"""Statistics of tables, held against pandas and numpy."""

from __future__ import annotations

import datetime as dt
import gzip
import math
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from mlinfra_lab.data import statistics
from mlinfra_lab.data.statistics import describe
from mlinfra_lab.data.tables import NotTable, is_table
from mlinfra_lab.schema.data import Column


def parquet(path: Path, table: pa.Table, row_group_size: int | None = None) -> tuple[str, Path]:
    pq.write_table(table, path, row_group_size=row_group_size)
    return path.name, path


def column(path: Path, values: list[Any], kind: pa.DataType | None = None) -> Column:
    """The statistics of one column; the file has no suffix, as in DVC's cache."""
    pq.write_table(pa.table({"x": pa.array(values, kind)}), path)
    rows, (found,) = describe([("x.parquet", path)])
    assert rows == len(values)
    return found


numbers = st.lists(st.none() | st.floats(-1e9, 1e9) | st.just(math.nan), max_size=60)


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(numbers, min_size=1, max_size=4))
def test_numbers_are_as_numpy_says(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[float]]
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    tables = [
        parquet(folder / f"{index}.parquet", pa.table({"x": pa.array(part, pa.float64())}), row_group_size=7)
        for index, part in enumerate(parts)
    ]
    rows, (found,) = describe(tables)
    everything = [value for part in parts for value in part]
    values = np.array([value for value in everything if value is not None and not math.isnan(value)])
    assert rows == len(everything)
    assert found.nulls == rows - len(values)
    assert found.distinct == len(set(values))
    if len(values) == 0:
        assert (found.minimum, found.mean, found.std) == (None, None, None)
        return
    assert (float(found.minimum or "nan"), float(found.maximum or "nan")) == (values.min(), values.max())
    assert found.mean == pytest.approx(values.mean(), rel=1e-9, abs=1e-6)
    if len(values) > 1:
        assert found.std == pytest.approx(values.std(ddof=1), rel=1e-6, abs=1e-6)
    else:
        assert found.std is None


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([3, 1, None, 1], pa.int16(), ("int16", 1, 2, "1", "3")),
        ([2**63, 5], pa.uint64(), ("uint64", 0, 2, "5", str(2**63))),
        ([1.5, 2.0], pa.float16(), ("halffloat", 0, 2, "1.5", "2.0")),
        ([Decimal("1.10"), Decimal(2)], pa.decimal128(9, 2), ("decimal128(9, 2)", 0, 2, "1.10", "2.00")),
        ([True, False, True], pa.bool_(), ("bool", 0, 2, "false", "true")),
        (["ü", "a", None], pa.string(), ("string", 1, 2, "a", "ü")),
        (["b", "a", "b"], pa.dictionary(pa.int8(), pa.string()), (None, 0, 2, "a", "b")),
        ([1, 2, 2], pa.timestamp("ns"), ("timestamp[ns]", 0, 2, "1970-01-01 00:00:00.000000001", None)),
        ([dt.date(2013, 1, 1), None], pa.date32(), ("date32[day]", 1, 1, "2013-01-01", "2013-01-01")),
        ([dt.timedelta(1)], pa.duration("us"), ("duration[us]", 0, 1, None, None)),
        ([b"a", b"b"], pa.binary(), ("binary", 0, 2, None, None)),
        ([[1], [2], None], pa.list_(pa.int64()), (None, 1, None, None, None)),
        ([{"a": 1}], pa.struct({"a": pa.int64()}), (None, 0, None, None, None)),
        ([None, None], pa.null(), ("null", 2, 0, None, None)),
        ([], pa.int64(), ("int64", 0, 0, None, None)),
    ],
)
def test_types(tmp_path: Path, values: list[Any], kind: pa.DataType, expected: tuple[Any, ...]) -> None:
    found = column(tmp_path / "object", values, kind)
    name, nulls, distinct, low, high = expected
    assert (found.nulls, found.distinct, found.minimum) == (nulls, distinct, low)
    if name is not None:
        assert found.type == name
    if high is not None:
        assert found.maximum == high


def test_infinity_is_a_value_and_has_no_mean(tmp_path: Path) -> None:
    found = column(tmp_path / "x", [1.0, math.inf])
    assert (found.nulls, found.minimum, found.maximum, found.mean, found.std) == (0, "1.0", "inf", None, None)


def test_distinct_values_are_counted_up_to_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "DISTINCT", 10)
    assert column(tmp_path / "x", [*range(10)] * 3).distinct == 10
    assert column(tmp_path / "x", [*range(11)]).distinct is None
    halves = [
        parquet(tmp_path / f"{start}.parquet", pa.table({"x": [*range(start, start + 8)]}))
        for start in (0, 8)
    ]
    assert describe(halves)[1][0].distinct is None


def test_a_long_text_is_shortened(tmp_path: Path) -> None:
    found = column(tmp_path / "x", ["a" * 5000])
    assert found.minimum == "a" * 199 + "…"


def test_csv_is_read_as_pandas_reads_it(tmp_path: Path) -> None:
    text = 'n,x,s,when,n\n1,0.5,"a,b",2013-01-01 05:00:00,1\n2,,NA,2013-01-02 05:00:00,2\n'
    (tmp_path / "plain").write_text(text)
    (tmp_path / "packed").write_bytes(gzip.compress(text.encode()))
    plain, packed = describe([("a.csv", tmp_path / "plain")]), describe([("a.CSV.GZ", tmp_path / "packed")])
    assert plain == packed
    rows, columns = plain
    assert rows == 2
    assert [(one.name, one.type, one.nulls) for one in columns] == [
        ("n", "int64", 0),
        ("x", "double", 1),
        ("s", "string", 1),
        ("when", "timestamp[s]", 0),
        ("n.1", "int64", 0),
    ]
    frame = pd.read_csv(tmp_path / "plain")
    assert [one.nulls for one in columns] == frame.isna().sum().tolist()


def test_a_wrong_guess_deep_in_a_csv_is_put_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlinfra_lab.data.tables._BLOCK", 64)
    lines = ["number,text,late", *["1,7,"] * 50, "2.5,seven,3"]
    (tmp_path / "x").write_text("\n".join(lines))
    rows, (number, text, late) = describe([("x.csv", tmp_path / "x")])
    assert rows == 51
    assert (number.type, number.maximum) == ("double", "2.5")
    assert (text.type, text.distinct) == ("string", 2)
    assert (late.type, late.nulls) == ("double", 50)


def test_feather(tmp_path: Path) -> None:
    pyarrow.feather.write_feather(pa.table({"x": [1, 2, 3]}), tmp_path / "x", chunksize=2)
    rows, (found,) = describe([("x.feather", tmp_path / "x")])
    assert (rows, found.mean) == (3, 2.0)


def test_tables_that_differ_are_joined_by_name(tmp_path: Path) -> None:
    one = parquet(
        tmp_path / "1.parquet", pa.table({"same": [1, 2], "wider": [1, 2], "mixed": [1, 2], "gone": [1, 2]})
    )
    two = parquet(
        tmp_path / "2.parquet", pa.table({"wider": [0.5], "same": [3], "mixed": ["a"], "new": [None]})
    )
    rows, columns = describe([one, two])
    by_name = {found.name: found for found in columns}
    assert rows == 3
    assert list(by_name) == ["same", "wider", "mixed", "gone", "new"]
    assert (by_name["same"].mean, by_name["same"].nulls) == (2.0, 0)
    assert (by_name["wider"].type, by_name["wider"].minimum) == ("double", "0.5")
    mixed = by_name["mixed"]
    assert (mixed.type, mixed.nulls, mixed.distinct, mixed.minimum) == ("mixed", 0, None, None)
    assert (by_name["gone"].nulls, by_name["new"].nulls) == (1, 3)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.parquet", b"PAR1"),
        ("x.parquet", b""),
        ("x.csv", b""),
        ("x.csv", b'a,b\n1\n"'),
        ("x.feather", b"ARROW1"),
    ],
)
def test_what_is_no_table(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / "object").write_bytes(content)
    with pytest.raises(NotTable, match=name):
        describe([(name, tmp_path / "object")])


def test_names_of_tables() -> None:
    assert all(is_table(name) for name in ("a.parquet", "b/A.CSV", "a.csv.gz", "a.feather", "a.arrow"))
    assert not any(is_table(name) for name in ("parquet", "a.csv.zip", "README.md", "_SUCCESS"))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with pq.ParquetWriter(tmp_path / "x", pa.schema({f"c{i}": pa.float64() for i in range(8)})) as writer:
        for _ in range(10):
            writer.write_table(pa.table({f"c{i}": rng.random(100_000) for i in range(8)}))
    # 64 MB of numbers; in a process of its own, since the pool's peak is for ever.
    code = (
        "import sys; from pathlib import Path; import pyarrow as pa\n"
        "from mlinfra_lab.data.statistics import describe\n"
        "rows, _ = describe([('x.parquet', Path(sys.argv[1]))])\n"
        "print(rows, pa.default_memory_pool().max_memory())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "x")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows, peak = map(int, done.stdout.split())
    assert rows == 1_000_000
    assert peak < 60e6
