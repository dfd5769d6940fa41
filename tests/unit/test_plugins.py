"""Doors: names without imports, lazy loading, isolation of what is broken, checking of settings."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlinfra_lab.errors import InvalidSettings, Unavailable
from mlinfra_lab.plugins import Door, Plugins

GROUP = "mlinfra_lab.test_door"
METHODS = ("run",)


def package(folder: Path, name: str, points: dict[str, str], code: str = "") -> list[metadata.EntryPoint]:
    """An installed package in ``folder``: its module and its metadata, as an installer writes them."""
    module = name.replace("-", "_")
    (folder / f"{module}.py").write_text(textwrap.dedent(code), encoding="utf-8")
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    lines = "".join(f"{key} = {module}:{value}\n" for key, value in points.items())
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}", encoding="utf-8")
    (distribution,) = metadata.distributions(name=name, path=[str(folder)])
    return list(distribution.entry_points)


GOOD = """
    import msgspec

    class Config(msgspec.Struct):
        size: int
        colour: str = "red"

    class Good:
        id = "good"
        label = "A good one"
        Config = Config

        def run(self):
            return "ran"
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the import path for `package` to write to."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def door(*points: list[metadata.EntryPoint]) -> Door:
    return Door(GROUP, "thing", METHODS, [point for some in points for point in some])


def test_a_good_plugin_is_described_and_chosen(installed: Path) -> None:
    things = door(package(installed, "plain-good", {"good": "Good"}, GOOD))
    assert things.names() == ["good"]
    (described,) = things.describe()
    assert (described.label, described.package, described.error) == ("A good one", "plain-good 1.0", None)
    assert described.config is not None
    assert described.config["$defs"]["Config"]["properties"]["colour"]["default"] == "red"
    assert things.get("good")().run() == "ran"


def test_listing_names_imports_nothing(installed: Path) -> None:
    code = "raise SystemExit('imported')"
    things = door(package(installed, "loud", {"loud": "Loud"}, code))
    assert things.names() == ["loud"]
    assert "loud" not in sys.modules


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'."),
        ("1 / 0", "ZeroDivisionError: division by zero."),
        ("Bad = 3", "TypeError: it is no class but 3."),
        ("class Bad: id = 'other'", "TypeError: its id is 'other', its entry point's name “bad”."),
        ("class Bad: id = 'bad'", "TypeError: Bad has no label."),
        (
            "class Bad:\n    id, label, Config = 'bad', 'B', dict",
            "TypeError: Bad.Config is no msgspec.Struct.",
        ),
        (
            "from msgspec import Struct\nclass C(Struct): pass\nclass Bad: id, label, Config = 'bad', 'B', C",
            "TypeError: Bad lacks run.",
        ),
        ("", "AttributeError: module 'broken_one' has no attribute 'Bad'."),
    ],
)
def test_a_broken_plugin_is_listed_with_its_error_and_stops_nothing_else(
    installed: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    monkeypatch.delitem(sys.modules, "broken_one", raising=False)
    things = door(
        package(installed, "broken-one", {"bad": "Bad"}, code),
        package(installed, "plain-good-two", {"good": "Good"}, GOOD),
    )
    bad, good = things.describe()
    assert (bad.id, bad.error, bad.config) == ("bad", reason, None)
    assert (good.id, good.error) == ("good", None)
    assert things.get("good").label == "A good one"
    with pytest.raises(Unavailable, match=r"broken-one 1\.0 is broken") as caught:
        things.get("bad")
    assert reason in caught.value.message


def test_two_packages_with_one_name(installed: Path) -> None:
    things = door(
        package(installed, "b-good", {"good": "Good"}, GOOD),
        package(installed, "a-good", {"good": "Good"}, GOOD),
    )
    first, second = things.describe()
    assert (first.package, first.error) == ("a-good 1.0", None)
    assert (second.package, second.error) == ("b-good 1.0", "The name “good” is taken by a-good 1.0.")
    assert things.get("good").__module__ == "a_good"


@pytest.mark.parametrize(
    ("values", "message", "hint"),
    [
        ({"size": 1, "color": "red"}, "unknown key “color” in [things.mine].", "Did you mean “colour”?"),
        ({"size": 1, "zzz": 0}, "unknown key “zzz” in [things.mine].", "Valid here: colour, size."),
        (
            {"size": "large"},
            "“size” in [things.mine] is wrong: expected int, got str.",
            "Correct “size”.",
        ),
        ({}, "[things.mine] lacks “size”.", "The thing “good” cannot do without it."),
    ],
)
def test_mistakes_in_settings_name_the_key(
    installed: Path, values: dict[str, Any], message: str, hint: str
) -> None:
    things = door(package(installed, "checked-good", {"good": "Good"}, GOOD))
    with pytest.raises(InvalidSettings) as caught:
        things.config("good", values, ("things", "mine"))
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_right_settings_become_the_config(installed: Path) -> None:
    things = door(package(installed, "right-good", {"good": "Good"}, GOOD))
    config = things.config("good", {"size": 3})
    assert msgspec.to_builtins(config) == {"size": 3, "colour": "red"}


def test_an_unknown_name_gets_the_nearest(installed: Path) -> None:
    things = door(package(installed, "near-good", {"good": "Good"}, GOOD))
    with pytest.raises(InvalidSettings, match=r"no thing “god” in \[things.mine\]") as caught:
        things.config("god", {}, ("things", "mine"))
    assert caught.value.hint == "Did you mean “good”?"


def test_ours_come_through_the_same_door() -> None:
    backends = Plugins().cluster_backends
    assert {"address", "cuda", "local"} <= set(backends.names())
    described = {plugin.id: plugin for plugin in backends.describe()}
    for name in ("address", "cuda", "local"):
        assert described[name].error is None
        assert described[name].package.startswith("mlinfra-lab ")


def test_describing_ours_imports_no_dask() -> None:
    code = (
        "import sys; from mlinfra_lab.plugins import Plugins; Plugins().describe();"
        "print(sorted({'dask', 'distributed', 'dask_cuda', 'pynvml', 'cryptography'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
