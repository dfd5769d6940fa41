"""[endpoints.NAME]: what it may say, and how a mistake in it is answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlinfra_lab.errors import InvalidSettings
from mlinfra_lab.settings import load, parse_span


def read(folder: Path, text: str):
    (folder / "mlinfra.toml").write_text(text)
    return load(folder, {}).endpoints


def test_each_endpoint_has_its_own(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        '[endpoints.delay]\nwindow = "12h"\nslices = ["origin"]\nsteps = [0.1, 1]\naction = "automatic"\n'
        "[endpoints.price-2]\nwindow = 500\n",
    )
    assert found["delay"].window == "12h"
    assert found["delay"].slices == ("origin",)
    assert found["delay"].steps == (0.1, 1.0)
    assert found["price-2"].window == 500
    assert found["price-2"].prediction_drift == 0.25


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ('windw = "7d"', "line 2: unknown key “windw” in [endpoints.delay]", "Did you mean “window”?"),
        ('window = "7x"', "line 2: “endpoints.delay.window” is wrong: “7x” is no span", "“7d” or “12h”"),
        ('window = "90m"', "“90m” is not in whole hours", "“7d” or “12h”"),
        ("window = 0", "0 rows are no window", "a number of rows"),
        ('cooldown = "7"', "“endpoints.delay.cooldown” is wrong", "“7d”"),
        ("steps = [0.5, 0.2, 1]", "[0.5, 0.2, 1] are no steps that rise to 1", "[0.2, 0.5, 1.0]"),
        ("steps = [0.5]", "rise to 1", "[0.2, 0.5, 1.0]"),
        ("steps = []", "rise to 1", "[0.2, 0.5, 1.0]"),
        ("steps = [0, 1]", "rise to 1", "[0.2, 0.5, 1.0]"),
        ('steps = ["a"]', "line 2: “endpoints.delay.steps” is wrong: expected a number, got text", "steps"),
        (
            'least = "many"',
            "“endpoints.delay.least” is wrong: expected a whole number, got text",
            "least = 200",
        ),
        ('action = "maybe"', "“endpoints.delay.action” is wrong", "One of “ask”, “automatic”, “none”."),
        ("quality = 1", "“endpoints.delay.quality” is wrong", "quality = 1.25"),
        ("prediction_drift = inf", "inf is no limit", "a number"),
        ("keep_warm = 1", "expected true or false", "keep_warm = true"),
        ('slices = "origin"', "“endpoints.delay.slices” is wrong", "slices = "),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, says: str, hint: str) -> None:
    with pytest.raises(InvalidSettings) as error:
        read(tmp_path, f"[endpoints.delay]\n{text}\n")
    assert says in error.value.message
    assert "line 2" in error.value.message
    assert hint in str(error.value.hint)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[endpoints.'Delay One']\n", "“Delay One” is no name for an endpoint"),
        ("endpoints = 3\n", "“endpoints” is no table"),
        ("[endpoints]\ndelay = 3\n", "“endpoints.delay” is no table"),
    ],
)
def test_what_is_no_endpoint(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InvalidSettings, match=says):
        read(tmp_path, text)


def test_spans_of_time() -> None:
    assert [parse_span(text) for text in ("30m", "12h", "7d", "2w", "1.5 d")] == [
        1800, 43200, 604800, 1209600, 129600,
    ]  # fmt: skip
    for wrong in ("", "7", "d", "-1d", "0d", "7 days", "1y"):
        with pytest.raises(InvalidSettings, match="no span of time"):
            parse_span(wrong)
