"""Times, sizes and figures as a person reads them."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlinfra_lab import humane

NOW = dt.datetime(2026, 4, 9, 12, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "just now"), (42, "42 s ago"), (60, "1 min ago"), (725, "12 min ago"), (7300, "2 h ago"),
        (86400, "1 day ago"), (3 * 86400, "3 days ago"), (-300, "in 5 min"),
        (30 * 86400, "10 March"), (365 * 86400, "9 April 2025"),
    ],
)  # fmt: skip
def test_moments_are_said_relative_to_now(seconds, text):
    assert humane.ago(NOW - dt.timedelta(seconds=seconds), NOW) == text


def test_kept_moments_name_the_year_only_when_it_is_another():
    moment = dt.datetime(2026, 7, 2, 12, 2).astimezone()
    assert humane.stamp(moment, NOW) == "2 July, 12:02"
    assert humane.stamp(moment, NOW.replace(year=2027)) == "2 July 2026, 12:02"
    assert humane.exact(moment).startswith("2 July 2026, 12:02:00")


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (831488, "812 KiB"), (4823450, "4.6 MiB"),
        (1048575, "1.0 MiB"), (10 * 1024**3, "10 GiB"), (2 * 1024**6, "2048 PiB"),
    ],
)  # fmt: skip
def test_sizes(octets, text):
    assert humane.size(octets) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (1e-7, "0 µs"), (0.00042, "420 µs"), (0.0019, "1.9 ms"), (0.25, "250 ms"),
        (4.21, "4.2 s"), (9.96, "10 s"), (14.2, "14 s"), (59.6, "1 min"), (72, "1 min 12 s"),
        (7500, "2 h 5 min"), (-2, "-2.0 s"),
    ],
)  # fmt: skip
def test_durations(seconds, text):
    assert humane.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.51534, "0.5153"), (336776, "336,776"), (1234.5, "1,234"), (1.2e-7, "1.2e-07"), (2.0, "2"),
        (float("nan"), "nan"), (float("-inf"), "-inf"), (1e20, "1e+20"),
    ],
)  # fmt: skip
def test_figures(value, text):
    assert humane.number(value) == text


def test_shares_plurals_and_clocks():
    assert [humane.share(x) for x in (0, 0.004, 0.2, 1)] == ["0 %", "0.4 %", "20 %", "100 %"]
    assert [humane.plural(n, "version") for n in (0, 1, 1200)] == [
        "0 versions",
        "1 version",
        "1,200 versions",
    ]
    assert [humane.clock(s) for s in (-1, 14.4, 72, 7500)] == ["0:00", "0:14", "1:12", "2:05:00"]


def test_only_long_hexadecimal_ids_are_shortened():
    assert humane.short("4f2c91aa" * 4) == "4f2c91aa"
    assert humane.short("jabcdefgh") == "jabcdefgh"
    assert (
        humane.short("flights-delay-of-all-the-carriers-in-2013")
        == "flights-delay-of-all-the-carriers-in-2013"
    )


def test_names_are_cut_in_the_middle_and_sentences_at_the_end():
    assert humane.middle("backtest_gradient_boosting_by_month", 16) == "backtest…y_month"
    assert humane.cut("months 1-2 · seed 1 · C 0.1", 12) == "months 1-2…"
    assert humane.middle("short", 16) == humane.cut("short", 16) == "short"


@given(st.text(), st.integers(min_value=1, max_value=40))
def test_cut_texts_never_take_more_room(text, room):
    assert humane.width(humane.middle(text, room)) <= room
    assert humane.width(humane.cut(text, room)) <= room
