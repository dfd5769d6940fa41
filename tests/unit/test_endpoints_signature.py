"""Requests against signatures: what is right comes out typed, what is wrong is named."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlinfra_lab.endpoints.signature import make
from mlinfra_lab.errors import Invalid, InvalidRequest
from mlinfra_lab.schema.endpoints import InputColumn

COLUMNS = [
    InputColumn(name="temp", type="double"),
    InputColumn(name="n", type="integer"),
    InputColumn(name="who", type="string", required=False),
    InputColumn(name="when", type="datetime"),
    InputColumn(name="ok", type="boolean"),
    InputColumn(name="raw data", type="binary", required=False),
    InputColumn(name="big", type="long", required=False),
    InputColumn(name="small", type="float", required=False),
]
SIGNATURE = make(COLUMNS)
MOMENT = dt.datetime(2013, 3, 1, 5, 15, tzinfo=dt.UTC)
GOOD: dict[str, Any] = {"temp": 1.5, "n": 2, "who": "x", "when": "2013-03-01T05:15:00Z", "ok": True}
NAMES = list(GOOD)
FORMS = ["inputs", "instances", "dataframe_split", "dataframe_records"]
ROW = list(GOOD.values())
VALUES = (1.5, 2, "x", MOMENT, True, None, None, None)


def body(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def records(**change: Any) -> dict[str, Any]:
    return {"dataframe_records": [GOOD, {**GOOD, **change}]}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


def split(*rows: Any, columns: list[str] | None = None, **more: Any) -> dict[str, Any]:
    return {"dataframe_split": {"columns": NAMES if columns is None else columns, "data": list(rows), **more}}


def lists(**change: Any) -> dict[str, Any]:
    return {"inputs": {**{name: [value, value] for name, value in GOOD.items()}, **change}}


@pytest.mark.parametrize(
    "request_body",
    [
        {"dataframe_records": [GOOD]},
        {"instances": [GOOD]},
        {"inputs": [GOOD]},
        {"inputs": {name: [value] for name, value in GOOD.items()}},
        split(ROW),
        split(ROW, index=[17]),
        split(ROW[::-1], columns=NAMES[::-1]),
        {"dataframe_split": {"data": [ROW], "columns": NAMES}},
        split([*ROW, None], columns=[*NAMES, "raw data"]),
        {"dataframe_records": [{**GOOD, "big": None, "event_time": None}]},
    ],
)
def test_every_form_gives_the_same_row(request_body: Any) -> None:
    batch = SIGNATURE.json(body(request_body))
    assert [tuple(row) for row in batch.rows] == [VALUES]
    assert batch.event_times is None
    assert batch.columns is None


def value_of(column: str, given: Any) -> Any:
    (row,) = SIGNATURE.json(body({"dataframe_records": [{**GOOD, column: given}]})).rows
    return row[[one.name for one in COLUMNS].index(column)]


@pytest.mark.parametrize(
    ("column", "given", "wanted"),
    [
        ("temp", 3, 3.0),
        ("temp", -0.0, 0.0),
        ("temp", 10**300, 1e300),
        ("n", 3.0, 3),
        ("n", -(2**31), -(2**31)),
        ("big", 2**63 - 1, 2**63 - 1),
        ("big", 1e15, 10**15),
        ("small", 1e38, 1e38),
        ("who", None, None),
        ("who", "", ""),
        ("who", "\N{SNOWMAN}\x00", "\N{SNOWMAN}\x00"),
        ("when", "2013-03-01 05:15:00", MOMENT),
        ("when", "2013-03-01T07:15:00+02:00", MOMENT),
        ("when", "2013-03-01", MOMENT.replace(hour=0, minute=0)),
        ("raw data", "aGk=", b"hi"),
    ],
)
def test_values_that_are_taken(column: str, given: Any, wanted: Any) -> None:
    got = value_of(column, given)
    assert got == wanted
    assert type(got) is type(wanted)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("2013-03-01T05:15:00Z", MOMENT),
        ("2013-03-01T05:15:00", MOMENT),
        (MOMENT.timestamp(), MOMENT),
        (0, 0.0),
    ],
)
def test_event_times(given: Any, wanted: Any) -> None:
    wanted = wanted.timestamp() if isinstance(wanted, dt.datetime) else wanted
    assert SIGNATURE.json(body(records(event_time=given))).event_times == [None, wanted]
    assert SIGNATURE.json(body(lists(event_time=[given, None]))).event_times == [wanted, None]
    cut = split([*ROW, given], [*ROW, None], columns=[*NAMES, "event_time"])
    assert SIGNATURE.json(body(cut)).event_times == [wanted, None]
    first = split([given, *ROW], columns=["event_time", *NAMES])
    batch = SIGNATURE.json(body(first))
    assert batch.event_times == [wanted]
    assert [tuple(row) for row in batch.rows] == [VALUES]


def test_a_column_of_the_signature_may_be_called_event_time() -> None:
    signature = make([InputColumn(name="event_time", type="double"), InputColumn(name="a", type="long")])
    batch = signature.json(body({"dataframe_records": [{"event_time": 1.5, "a": 2}]}))
    assert [tuple(row) for row in batch.rows] == [(1.5, 2)]
    assert batch.event_times is None


DEEP = b"[" * 100_000

BAD: dict[str, tuple[Any, str]] = {
    # values
    "text for a number": (records(temp="x"), "row 1, column `temp`: expected a number, got a string"),
    "number for text": (records(who=3), "row 1, column `who`: expected a string, got an integer"),
    "truth for a number": (records(temp=True), "row 1, column `temp`: expected a number, got true or false"),
    "number for truth": (records(ok=1), "row 1, column `ok`: expected true or false, got an integer"),
    "fraction for an integer": (records(n=2.5), "row 1, column `n`: expected an integer, got 2.5"),
    "integer too large": (records(n=2**31), "row 1, column `n`: expected an integer <= 2147483647"),
    "whole float too large": (records(n=2.0**31), "row 1, column `n`: 2147483648 does not fit into integer"),
    "long too large": (records(big=2**63), "row 1, column `big`"),
    "float too large": (records(small=1e39), "row 1, column `small`"),
    "double too large": (b'{"inputs": {"temp": [1e999]}}', "column `temp`: the number is out of range"),
    "null where a value is required": (
        records(temp=None),
        "row 1, column `temp`: a value is required, got null",
    ),
    "list for a value": (records(temp=[1]), "row 1, column `temp`: expected a number, got an array"),
    "object for a value": (records(temp={"a": 1}), "row 1, column `temp`: expected a number, got an object"),
    "no date": (records(when="yesterday"), "row 1, column `when`: 'yesterday' is no date and time"),
    "number for a date": (records(when=20130301), "row 1, column `when`: expected a date and time as text"),
    "date out of range": (records(when="1500-01-01"), "row 1, column `when`: '1500-01-01' is out of range"),
    "no base64": (records(**{"raw data": "a$"}), "row 1, column `raw data`: invalid base64"),
    "no event time": (records(event_time="soon"), "row 1, column `event_time`: 'soon' is no date and time"),
    "event time out of range": (records(event_time=1e18), "row 1, column `event_time`"),
    "event time of a wrong type": (records(event_time=[1]), "row 1, column `event_time`: expected"),
    # literals that JSON does not have
    "NaN in records": (records(temp=float("nan")), "row 1, column `temp`: NaN is not valid JSON"),
    "Infinity in split": (
        split(ROW, [float("inf"), *ROW[1:]]),
        "row 1, column `temp`: Infinity is not valid",
    ),
    "-Infinity in lists": (
        lists(temp=[1, float("-inf")]),
        "row 1, column `temp`: -Infinity is not valid JSON",
    ),
    # columns
    "missing column": ({"dataframe_records": [GOOD, without("temp")]}, "row 1, column `temp`: missing"),
    "extra column": (records(tmep=1), "row 1, column `tmep`: the model has no such column"),
    "missing list": (
        {"inputs": {key: [GOOD[key]] for key in NAMES if key != "temp"}},
        "column `temp`: missing",
    ),
    "extra list": (lists(zz=[1]), "column `zz`: the model has no such column"),
    "list missing in split": (split(ROW[:-1], columns=NAMES[:-1]), "column `ok`: missing"),
    "extra in split": (split([*ROW, 1], columns=[*NAMES, "zz"]), "column `zz`: the model has no such column"),
    "twice in split": (split([*ROW, 1], columns=[*NAMES, "temp"]), "column `temp`: given twice"),
    "lists of two lengths": (lists(temp=[1]), "Column `temp` has 1 values, column `n` has 2"),
    "value for a list": (lists(temp=1), "column `temp`: expected an array, got an integer"),
    "text in a list": (lists(temp=[1, "x"]), "row 1, column `temp`: expected a number, got a string"),
    "null for a list": (lists(temp=None), "column `temp`: a value is required, got null"),
    # rows
    "short row": (split(ROW, ROW[:-1]), "row 1: expected 5 values, got 4"),
    "long row": (split(ROW, [*ROW, 1]), "row 1: expected 5 values, got 6"),
    "mistyped in split": (
        split(ROW, ["x", *ROW[1:]]),
        "row 1, column `temp`: expected a number, got a string",
    ),
    "null in split": (split([None, *ROW[1:]]), "row 0, column `temp`: a value is required, got null"),
    "row that is no array": (split(ROW, {}), "row 1: expected an array, got an object"),
    "record that is no object": (
        {"dataframe_records": [GOOD, 3]},
        "row 1: expected an object, got an integer",
    ),
    "rows without names": ({"instances": [ROW]}, "row 0: expected an object, got an array"),
    "no records": ({"dataframe_records": []}, "no rows"),
    "no split rows": (split(), "no rows"),
    "no list values": ({"inputs": {name: [] for name in NAMES}}, "no rows"),
    "no instances": ({"instances": []}, "no rows"),
    # the body
    "unknown key": ({"dataframe_record": [GOOD]}, "Unknown key `dataframe_record`"),
    "unknown key in split": (split(ROW, foo=1), "Unknown key `foo`"),
    "params": ({"instances": [GOOD], "params": {"a": 1}}, "`params` are not taken"),
    "no form": ({}, "no data"),
    "two forms": ({"inputs": [GOOD], "instances": [GOOD]}, "more than one form: `inputs` and `instances`"),
    "records that are no list": ({"dataframe_records": GOOD}, "`dataframe_records`: expected an array"),
    "inputs that are a number": ({"inputs": 3}, "`inputs`: expected an object or an array, got an integer"),
    "data that are a number": (
        {"dataframe_split": {"columns": NAMES, "data": 3}},
        "`data`: expected an array",
    ),
    "split without columns": ({"dataframe_split": {"data": []}}, "`dataframe_split` lacks its `columns`"),
    "null": (b"null", "not a JSON object"),
    "array": (b"[]", "not a JSON object"),
    "nothing": (b"", "body is empty"),
    "blanks": (b" \n", "body is empty"),
    "half of it": (b'{"inputs": [', "ends too early"),
    "a comma too much": (b'{"inputs":\n [,]}', "invalid character at byte 13 (line 2, column 3)"),
    "something behind": (b"{} x", "trailing characters at byte 4"),
    "no JSON": (b"temp=3", "not valid JSON"),
    "not UTF-8": (b'{"inputs": [{"who": "\xff"}]}', "UTF-8"),
    "half a surrogate": (b'{"inputs": [{"who": "\\ud800"}]}', "not valid JSON"),
    "deep under a form": (b'{"inputs": ' + DEEP, "row 0: expected an object, got an array"),
    "deep in split": (b'{"dataframe_split": {"columns": [], "data": ' + DEEP, "nested too deeply"),
    "deep in params": (b'{"params": ' + DEEP, "nested too deeply"),
    "deep in index": (b'{"dataframe_split": {"index": ' + b'{"a":' * 100_000, "nested too deeply"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case: str) -> None:
    given, wanted = BAD[case]
    with pytest.raises(InvalidRequest) as error:
        SIGNATURE.json(body(given))
    assert re.search(re.escape(wanted), error.value.message), error.value.message
    place = re.match(r"row (\d+)(?:, column `(.+?)`)?:", error.value.message)
    if place:
        assert error.value.detail is not None
        assert error.value.detail["row"] == int(place[1])
        assert error.value.detail.get("column") == place[2]


def test_a_near_name_is_offered() -> None:
    for sent in (records(tmep=1), lists(tmep=[1, 1]), split([*ROW, 1], columns=[*NAMES, "tmep"])):
        with pytest.raises(InvalidRequest) as error:
            SIGNATURE.json(body(sent))
        assert error.value.hint == "Did you mean `temp`?"


@settings(max_examples=300, deadline=None)
@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from([*NAMES, *FORMS, "columns", "data"]),
        inner,
        max_size=4,
    ),
    max_leaves=12,
))  # fmt: skip
def test_no_json_gives_anything_but_rows_or_a_named_error(value: Any) -> None:
    for sent in (value, {"inputs": value}, {"dataframe_split": value}, {"dataframe_records": [value]}):
        for signature in (SIGNATURE, make([]), make([], ("float64", (-1, 2)))):
            try:
                assert signature.json(body(sent)).rows
            except InvalidRequest as error:
                assert error.message


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode()))
def test_no_bytes_give_anything_but_rows_or_a_named_error(given: bytes) -> None:
    for signature in (SIGNATURE, make([])):
        for read in (signature.json, signature.csv):
            try:
                assert read(given).rows
            except InvalidRequest as error:
                assert error.message


# -- CSV ------------------------------------------------------------------------------------------

HEAD = "temp,n,who,when,ok"
LINE = "1.5,2,x,2013-03-01T05:15:00Z,true"


def test_csv() -> None:
    batch = SIGNATURE.csv(f"{HEAD}\n{LINE}\n2,3.0,,2013-03-01,0\n\n".encode())
    assert [tuple(row) for row in batch.rows] == [
        VALUES,
        (2.0, 3, None, MOMENT.replace(hour=0, minute=0), False, None, None, None),
    ]
    assert [type(value) for value in batch.rows[1][:2]] == [float, int]
    batch = SIGNATURE.csv(f"\ufeffevent_time,{HEAD}\r\n1e9,{LINE}\r\n2013-03-01,{LINE}\r\n,{LINE}".encode())
    assert batch.event_times == [1e9, MOMENT.replace(hour=0, minute=0).timestamp(), None]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("x,2,x,2013-03-01,true", "row 1, column `temp`: expected a number, got “x”"),
        ("nan,2,x,2013-03-01,true", "row 1, column `temp`: nan is no value"),
        ("-inf,2,x,2013-03-01,true", "row 1, column `temp`: -inf is no value"),
        (",2,x,2013-03-01,true", "row 1, column `temp`: a value is required, got nothing"),
        ("1,2.5,x,2013-03-01,true", "row 1, column `n`: expected an integer, got “2.5”"),
        ("1,99999999999,x,2013-03-01,true", "row 1, column `n`"),
        ("1,2,x,never,true", "row 1, column `when`: 'never' is no date and time"),
        ("1,2,x,2013-03-01,maybe", "row 1, column `ok`: expected true or false, got “maybe”"),
        ("1,2,x,2013-03-01", "row 1: expected 5 values, got 4"),
        ("1,2,x,2013-03-01,true,5", "row 1: expected 5 values, got 6"),
        ('1,2,"x', "not valid CSV"),
    ],
)
def test_bad_csv_is_named(line: str, wanted: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(wanted)):
        SIGNATURE.csv(f"{HEAD}\n{LINE}\n{line}".encode())


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (b"", "empty"),
        (HEAD.encode(), "no rows"),
        (b"temp,n\n1,2", "column `when`: missing"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_bad_csv_bodies(given: bytes, wanted: str) -> None:
    with pytest.raises(InvalidRequest, match=wanted):
        SIGNATURE.csv(given)


# -- tensors, no signature ------------------------------------------------------------------------


def test_tensors() -> None:
    signature = make([], ("float32", (-1, 2, 2)))
    image = [[1, 2.5], [3, 4]]
    for form in ("inputs", "instances"):
        assert signature.json(body({form: [image, image]})).rows == [image, image]
    assert make([], ("int64", (-1,))).json(body({"inputs": [1, 2]})).rows == [1, 2]


LONG = "x" * 1_000_000


@pytest.mark.parametrize(
    "given",
    [
        records(**{LONG: 1}),
        records(n=1e300),
        records(when="9" * 1_000_000),
        {LONG: 1},
        {"dataframe_records": [], LONG: 1},
        {"dataframe_split": {LONG: 1}},
        split(ROW, columns=[LONG, *NAMES[1:]]),
        split(ROW, columns=[LONG, LONG, *NAMES[2:]]),
        {"inputs": {LONG: [1], LONG + "x": [1, 2]}},
        {"dataframe_records": [{LONG: 1}, {LONG + "x": 1}]},
        {"dataframe_records": [{LONG: [1]}]},
        f'{{"inputs": {{"{LONG}": [NaN]}}}}'.encode(),
    ],
)
def test_what_was_sent_is_not_sent_back_at_length(given: Any) -> None:
    refused = 0
    for signature in (SIGNATURE, make([])):
        try:
            signature.json(body(given))
        except InvalidRequest as error:
            refused += 1
            assert len(json.dumps([error.message, error.hint, error.detail])) < 800
    assert refused


@pytest.mark.parametrize("name", ["a` - at `b", "a` - at `$.b", " - at `$", "`", "", "a\nb"])
def test_odd_names_are_named(name: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        SIGNATURE.json(body(records(**{name: 1})))
    assert error.value.message == f"row 1, column `{name}`: the model has no such column."
    assert error.value.detail == {"row": 1, "column": name}
    if name and "$." not in name and "\n" not in name:
        signature = make([InputColumn(name=name, type="double")])
        with pytest.raises(InvalidRequest) as error:
            signature.json(body({"dataframe_records": [{name: 1}, {name: "x"}]}))
        assert error.value.message == f"row 1, column `{name}`: expected a number, got a string."
    with pytest.raises(InvalidRequest) as error:
        SIGNATURE.json(body({name: 1}))
    if "$.b" not in name:
        assert error.value.message == f"Unknown key `{name}` in the body."


@pytest.mark.parametrize(
    ("dtype", "shape", "given", "wanted"),
    [
        ("float32", (-1, 2), [[1, 2], [1]], "row 1"),
        ("float32", (-1, 2), [[1, 2, 3]], "row 0"),
        ("float32", (-1, 2), [[1, "x"]], "row 0: at [1]: expected a number, got a string"),
        ("float32", (-1, 2), [[1, None]], "row 0: at [1]: a value is required"),
        ("float32", (-1, 2), [[1, 1e39]], "row 0: at [1]"),
        ("float32", (-1, 2), [1], "row 0: expected an array"),
        ("float32", (-1, 2), [], "no rows"),
        ("float32", (-1, 2), {"a": [1]}, "`inputs`: expected an array"),
        ("uint8", (-1,), [256], "row 0"),
        ("uint8", (-1,), [-1], "row 0"),
        ("int64", (-1, -1), [[1, 2], [1]], "row 1: expected the shape of row 0, [2], got [1]"),
        ("int64", (-1, -1, -1), [[[1], [1, 2]]], "row 0: its lists differ in length"),
        ("bool", (-1,), [1], "row 0: expected true or false"),
    ],
)
def test_bad_tensors(dtype: str, shape: tuple[int, ...], given: Any, wanted: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(wanted)):
        make([], (dtype, shape)).json(body({"inputs": given}))


def test_tensors_take_neither_frames_nor_csv() -> None:
    signature = make([], ("float64", (-1, 2)))
    with pytest.raises(InvalidRequest, match="dataframe_split"):
        signature.json(body({"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]]}}))
    with pytest.raises(InvalidRequest, match="tensor"):
        signature.csv(b"a,b\n1,2")


def test_without_a_signature() -> None:
    signature = make([])
    for sent in (
        {"dataframe_records": [{"a": 1, "b": "x"}]},
        {"instances": [{"a": 1, "b": "x"}]},
        {"inputs": {"a": [1], "b": ["x"]}},
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1, "x"]]}},
    ):
        assert signature.json(body(sent)) == ([[1, "x"]], None, ("a", "b"))
    assert signature.json(body({"inputs": [[1, 2], [3, 4]]})) == ([[1, 2], [3, 4]], None, None)
    timed = signature.json(body({"inputs": [{"a": 1, "event_time": 5}, {"event_time": None, "a": 2}]}))
    assert timed == ([[1], [2]], [5.0, None], ("a",))
    assert signature.csv(b"a,b,c\n1,2.5,x\n,,1") == ([[1, 2.5, "x"], [None, None, 1]], None, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"inputs": [{"a": 1}, {"b": 1}]}, "row 1, column `b`: the model has no such column"),
        ({"inputs": [{"a": 1, "b": 1}, {"a": 1}]}, "row 1, column `b`: missing"),
        ({"inputs": [{"a": 1}, [1]]}, "row 1: expected an object, got an array"),
        ({"inputs": [[1], {"a": 1}]}, "row 1"),
        ({"inputs": [[1, 2], [3]]}, "row 1: expected the shape of row 0"),
        ({"inputs": {"a": [1], "b": [1, 2]}}, "Column `a` has 1 values, column `b` has 2"),
        ({"inputs": [{"a": [1]}]}, "expected a plain value, got an array"),
        ({"inputs": [{"a": 2**70}]}, "row 0"),
        ({"inputs": []}, "no rows"),
        ({"inputs": {}}, "no rows"),
        ({"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}, "row 0: expected 1 values, got 2"),
        ({"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}, "column `a`: given twice"),
    ],
)
def test_bad_input_without_a_signature(given: Any, wanted: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(wanted)):
        make([]).json(body(given))


@pytest.mark.parametrize(
    ("columns", "tensor", "wanted"),
    [
        ([InputColumn(name="a", type="Array(double)")], None, "column `a` of type Array"),
        ([], ("float64", (3, 2)), "fixed shape"),
        ([], ("complex128", (-1, 2)), "complex128"),
    ],
)
def test_signatures_that_nothing_can_be_checked_against(columns: Any, tensor: Any, wanted: str) -> None:
    with pytest.raises(Invalid, match=re.escape(wanted)):
        make(columns, tensor)


def test_many_orders_of_columns_do_not_pile_up() -> None:
    signature = make([InputColumn(name=f"c{n}", type="double", required=False) for n in range(8)])
    for mask in range(1, 256):
        names = [f"c{n}" for n in range(8) if mask >> n & 1]
        given = {"dataframe_split": {"columns": names, "data": [[1.0] * len(names)]}}
        (row,) = signature.json(body(given)).rows
        assert [value is not None for value in row] == [bool(mask >> n & 1) for n in range(8)]
    assert len(signature._forms._plans) <= 64  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb"])
def test_a_column_that_json_types_cannot_name_is_said(name: str) -> None:
    with pytest.raises(Invalid, match="column"):
        make([InputColumn(name=name, type="double")])
