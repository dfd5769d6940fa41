"""Values as they are typed: parameters, environment variables, months."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from papermill.cli import _resolve_type

from mlinfra_lab.cli import values
from mlinfra_lab.errors import InvalidParameter


@given(
    st.one_of(
        st.text(), st.integers().map(str), st.floats().map(str), st.sampled_from(["True", "None", "1_0"])
    )
)
def test_what_is_no_json_is_read_as_papermills_command_reads_it(text):
    mine, theirs = values.parse(text), _resolve_type(text)
    if isinstance(mine, list | dict):
        assert isinstance(theirs, str)
    elif isinstance(theirs, float) and math.isnan(theirs):
        assert math.isnan(mine)
    else:
        assert (mine, type(mine)) == (theirs, type(theirs))


def test_json_lists_and_objects_are_values_and_broken_ones_are_strings():
    assert values.parse('[1, "a", null]') == [1, "a", None]
    assert values.parse('{"a": [1.5]}') == {"a": [1.5]}
    assert values.parse("[1, 2") == "[1, 2"
    assert values.parse("{x}") == "{x}"


def test_raw_parameters_stay_strings_and_win():
    assert values.parameters([("a", "1"), ("b", "07")], [("b", "07")]) == {"a": 1, "b": "07"}


def test_environment_values_come_from_the_caller_and_never_from_the_command_line(monkeypatch):
    monkeypatch.setenv("SOME_PROFILE", "lab")
    assert values.environment(["SOME_PROFILE"]) == {"SOME_PROFILE": "lab"}
    with pytest.raises(InvalidParameter, match="NOT_SET_AT_ALL is not set"):
        values.environment(["NOT_SET_AT_ALL"])
    with pytest.raises(InvalidParameter) as error:
        values.environment(["TOKEN=secret"])
    assert "secret" not in error.value.message + (error.value.hint or "")


def test_months():
    assert values.months("1,2") == [1, 2]
    assert values.months("1-3, 7") == [1, 2, 3, 7]
    with pytest.raises(InvalidParameter, match="are no months"):
        values.months("winter")


@pytest.mark.parametrize(("typed", "raw"), [([("x", "1"), ("x", "2")], []), ([], [("x", "1"), ("x", "1")])])
def test_a_parameter_that_is_given_twice_is_a_mistake(typed, raw):
    with pytest.raises(InvalidParameter, match="parameter x was given twice"):
        values.parameters([("a", "1"), *typed], raw)
