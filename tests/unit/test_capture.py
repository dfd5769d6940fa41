"""Captured requests: what was acknowledged is found again, whatever the tail looks like."""

from __future__ import annotations

import datetime as dt
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import eventually

from mlinfra_lab.endpoints.capture import NotCaptured, Syncer, Writer
from mlinfra_lab.endpoints.recall import Reader, find, newest
from mlinfra_lab.errors import NotFound
from mlinfra_lab.segments import parse_id, path_of

values = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text()
requests = st.lists(
    st.tuples(st.lists(st.tuples(values, values), min_size=1, max_size=4), st.floats(0, 2e9)), max_size=8
)


def put(writer: Writer, rows: list[Any], at: float = 1.7e9, **more: Any) -> int:
    predictions = [[position, 0.5] for position in range(len(rows))]
    return writer.append(rows, predictions, at=at, request="r1", latency=0.002, **more)


@settings(max_examples=60, deadline=None)
@given(requests=requests, cut=st.floats(0, 1))
def test_a_file_cut_anywhere_reads_as_the_whole_records_before_the_cut(
    requests: list[Any], cut: float
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        captures = Path(folder)
        writer = Writer(captures, "delay", 3, ["a", "b"], ["double", "string"])
        ends = []
        path = path_of(captures, "delay", 3, 1)
        for rows, at in requests:
            put(writer, rows, at)
            ends.append(path.stat().st_size)
        writer.close()
        if not requests:
            assert not path.exists()
            return
        at_byte = round(cut * ends[-1])
        path.chmod(0o600)
        os.truncate(path, at_byte)

        whole = [request for request, end in zip(requests, ends, strict=True) if end <= at_byte]
        records = list(Reader(path))
        assert [([tuple(row) for row in one.rows], one.at) for one in records] == whole
        number = 0
        for rows, _ in requests:
            for row in rows:
                found = Reader(path).find(number)
                if number < sum(len(kept) for kept, _ in whole):
                    assert found is not None
                    assert found.id == f"delay.3.1.{number}"
                    assert found.row == {"a": row[0], "b": row[1]}
                else:
                    assert found is None
                number += 1


@settings(max_examples=40, deadline=None)
@given(requests=requests.filter(len), at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_damaged_byte_ends_the_reading_and_invents_nothing(
    requests: list[Any], at: float, bit: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        captures = Path(folder)
        writer = Writer(captures, "delay", 1, ["a", "b"])
        for rows, moment in requests:
            put(writer, rows, moment)
        writer.close()
        path = path_of(captures, "delay", 1, 1)
        path.chmod(0o600)
        data = bytearray(path.read_bytes())
        data[int(at * len(data))] ^= 1 << bit
        path.write_bytes(data)
        kept = [[tuple(row) for row in one.rows] for one in Reader(path)]
        assert kept == [rows for rows, _ in requests][: len(kept)]
        assert len(kept) < len(requests) or int(at * len(data)) < 100  # the header's facts are no record


def test_a_prediction_comes_back_with_everything(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "flights-delay", 12, ["temp", "who"], ["double", "string"])
    assert put(writer, [(1.5, "x")]) == 0
    assert put(writer, [(2.5, "y"), (3.5, None)], at=1.7e9, event_times=[None, 1.6e9]) == 1
    found = find(tmp_path, "flights-delay.12.1.2")
    assert found.row == {"temp": 3.5, "who": None}
    assert found.prediction == [1, 0.5]
    assert found.event_time == dt.datetime.fromtimestamp(1.6e9, dt.UTC)
    assert found.at == dt.datetime.fromtimestamp(1.7e9, dt.UTC)
    assert (found.endpoint, found.revision, found.request, found.latency) == (
        "flights-delay",
        12,
        "r1",
        0.002,
    )
    assert find(tmp_path, "flights-delay.12.1.1").event_time is None
    moment = dt.datetime(2013, 3, 1, 5, tzinfo=dt.UTC)
    put(writer, [(moment, b"\x00")])
    assert find(tmp_path, "flights-delay.12.1.3").row == {"temp": moment, "who": b"\x00"}


def test_rows_without_names(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "delay", 1)
    put(writer, [[1, 2]])
    put(writer, [(1, 2)], columns=["p", "q"])
    assert find(tmp_path, "delay.1.1.0").row == [1, 2]
    assert find(tmp_path, "delay.1.1.1").row == {"p": 1, "q": 2}


@pytest.mark.parametrize(
    "id",
    [
        "delay.01.1.1",
        "delay.1.00.1",
        "delay.1.1.007",
        "delay.1.1",
        "Delay.1.1.1",
        "delay.1.1.x",
        "delay.1.1.-1",
        "../x.1.1.1",
        "",
        "delay.1.1.1\n",
    ],
)
def test_what_is_no_id(tmp_path: Path, id: str) -> None:
    assert parse_id(id) is None
    with pytest.raises(NotFound, match="no prediction's id"):
        find(tmp_path, id)


def test_ids_that_were_never_given(tmp_path: Path) -> None:
    put(Writer(tmp_path, "delay", 1, ["a"]), [(1,)])
    for id in ("delay.1.1.1", "delay.1.2.0", "delay.2.1.0", "other.1.1.0"):
        with pytest.raises(NotFound, match=f"no prediction {id}"):
            find(tmp_path, id)


def test_each_writer_begins_a_segment_and_seals_what_stands_there(tmp_path: Path) -> None:
    put(Writer(tmp_path, "delay", 1, ["a"]), [(1,)])
    first = path_of(tmp_path, "delay", 1, 1)
    with first.open("ab") as file:
        file.write(b"torn")
    assert first.stat().st_mode & 0o222
    second = Writer(tmp_path, "delay", 1, ["a"])
    assert first.stat().st_mode & 0o222, "nothing is touched before there is something to write"
    put(second, [(2,)])
    assert second.segment == 2
    assert not first.stat().st_mode & 0o222
    assert find(tmp_path, "delay.1.1.0").row == {"a": 1}
    assert find(tmp_path, "delay.1.2.0").row == {"a": 2}


def test_a_full_segment_is_sealed_and_the_next_begun(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "delay", 1, ["a"], limit=400)
    placed = []
    for value in range(50):
        first = put(writer, [(value,)])
        placed.append((writer.segment, first, value))
    writer.sync()
    assert writer.segment > 3
    sealed = [path_of(tmp_path, "delay", 1, number) for number in range(1, writer.segment)]
    assert not any(path.stat().st_mode & 0o222 for path in sealed)
    assert path_of(tmp_path, "delay", 1, writer.segment).stat().st_mode & 0o200
    for segment, row, value in placed:
        assert find(tmp_path, f"delay.1.{segment}.{row}").row == {"a": value}
    writer.close()
    with pytest.raises(NotCaptured):
        put(writer, [(1,)])


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """No file of this process can grow beyond ``size``: the disk is full, as far as it can tell."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_the_segment_as_it_was(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "delay", 1, ["a"])
    put(writer, [("x" * 50,)])
    path = path_of(tmp_path, "delay", 1, 1)
    size = path.stat().st_size
    with file_limit(size + 40), pytest.raises(NotCaptured):  # a part of it fits: a short write
        put(writer, [("y" * 50,)])
    assert path.stat().st_size == size
    with file_limit(size), pytest.raises(NotCaptured):  # nothing fits
        put(writer, [("y" * 50,)])
    assert path.stat().st_size == size
    assert put(writer, [("z",)]) == 1, "rows that were not kept have used up no numbers"
    assert find(tmp_path, "delay.1.1.1").row == {"a": "z"}


def test_no_folder_to_write_to(tmp_path: Path) -> None:
    (tmp_path / "captures").write_text("a file where the folder should be")
    writer = Writer(tmp_path / "captures", "delay", 1, ["a"])
    with pytest.raises(NotCaptured):
        put(writer, [(1,)])
    (tmp_path / "captures").unlink()
    assert put(writer, [(1,)]) == 0


def test_newest_first_over_revisions(tmp_path: Path) -> None:
    moment = 1.7e9
    for revision in (1, 2, 10):
        writer = Writer(tmp_path, "delay", revision, ["a"])
        for number in range(3):
            put(writer, [(number,), (number,)], at=(moment := moment + 1))
        writer.close()
        os.utime(path_of(tmp_path, "delay", revision, 1), (moment, moment))
    assert [one.id for one in newest(tmp_path, "delay", 5)] == [
        "delay.10.1.5", "delay.10.1.4", "delay.10.1.3", "delay.10.1.2", "delay.10.1.1",
    ]  # fmt: skip
    assert [one.id for one in newest(tmp_path, "delay", 8)][-2:] == ["delay.2.1.5", "delay.2.1.4"]
    assert len(newest(tmp_path, "delay", 100)) == 18
    assert newest(tmp_path, "nothing", 5) == []


def test_finding_is_fast_and_right_without_or_with_a_wrong_index(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "delay", 1, [f"c{n}" for n in range(9)])
    count = 0
    while writer.segment <= 1:
        put(writer, [tuple(float(count + n) for n in range(9))] * 2)
        count += 2
    writer.close()
    path = path_of(tmp_path, "delay", 1, 1)
    count -= 2
    assert path.stat().st_size > 64 * 2**20
    took = []
    for row in (0, 1, count // 3, count // 2, count - 1):
        begun = time.perf_counter()
        found = find(tmp_path, f"delay.1.1.{row}")
        took.append(time.perf_counter() - begun)
        assert found.row["c0"] == row // 2 * 2
    assert sorted(took)[2] < 0.1
    assert Reader(path).find(count) is None

    index = path.with_suffix(".idx")
    entries = index.read_bytes()
    for wrong in (b"", entries[: len(entries) // 2 + 3], os.urandom(len(entries)), entries[::-1]):
        index.write_bytes(wrong)
        for row in (0, count // 2, count - 1):
            assert find(tmp_path, f"delay.1.1.{row}").row["c0"] == row // 2 * 2
    index.unlink()
    assert [one.id for one in Reader(path).last(3)] == [f"delay.1.1.{count - n}" for n in (1, 2, 3)]


def test_the_syncer_brings_it_to_the_disk_by_itself(tmp_path: Path) -> None:
    syncer = Syncer(every=0.02)
    writer = Writer(tmp_path, "delay", 1, ["a"], limit=200)
    syncer.add(writer)
    for number in range(20):
        put(writer, [(number,)])
    first = path_of(tmp_path, "delay", 1, 1)
    eventually(lambda: not first.stat().st_mode & 0o222, 10)
    assert first.with_suffix(".idx").exists()
    syncer.close()
    writer.close()


WRITING = """
import sys
from pathlib import Path
from mlinfra_lab.endpoints.capture import Writer
writer = Writer(Path(sys.argv[1]), "delay", 1, ["a"], limit=20_000)
number = 0
while True:
    first = writer.append([(number,)], [number], at=1.0, request="r", latency=0.0)
    print(f"delay.1.{writer.segment}.{first} {number}", flush=True)
    number += 1
    if number % 100 == 0:
        writer.sync()
"""


def test_kill_nine_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITING, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(2000)]
    process.kill()
    lines += process.stdout.read().splitlines(keepends=True)
    process.wait()
    whole = [line.split() for line in lines if line.endswith("\n")]
    assert len(whole) >= 2000
    for id, number in whole[:: len(whole) // 200] + whole[-5:]:
        assert find(tmp_path, id).prediction == int(number)
