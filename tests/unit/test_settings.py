"""mlinfra.toml: what it may say, and how a mistake in it is answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlinfra_lab import git
from mlinfra_lab.errors import InvalidSettings, NoProject
from mlinfra_lab.project import Project, find_root
from mlinfra_lab.settings import load, parse_size


def write(folder: Path, text: str) -> Path:
    (folder / "mlinfra.toml").write_text(text)
    return folder


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    settings = load(write(tmp_path, ""), {})
    assert settings.jobs.at_once == 2
    assert settings.serving.max_body_bytes == 10 * 2**20


@pytest.mark.parametrize(
    ("text", "line", "key", "near"),
    [
        ("\n[jobs]\nat_onec = 3\n", 3, "at_onec", "at_once"),
        ("[serving]\nport = 8000\n\n[servin]\nhost = 'x'\n", 4, "servin", "serving"),
        ("jobs.at_onze = 1\n", 1, "at_onze", "at_once"),
        ("jobs = {at_onze = 1}\n", 1, "at_onze", "at_once"),
        ("[project]\nname='a'\nstate-dir='b'\n", 3, "state-dir", "state_dir"),
    ],
)
def test_a_mistyped_key_is_named_with_its_line_and_the_nearest(
    tmp_path: Path, text: str, line: int, key: str, near: str
) -> None:
    with pytest.raises(InvalidSettings) as error:
        load(write(tmp_path, text), {})
    assert f"line {line}" in error.value.message
    assert f"“{key}”" in error.value.message
    assert near in str(error.value.hint)


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("[jobs]\nat_once = 'two'\n", 2, "at_once"),
        ("[jobs]\nat_once = 0\n", 2, "at_once"),
        ("[serving]\nport = 99999\n", 2, "port"),
        ("[clusters.big]\nworkers = 2\n", 1, "backend"),
        ("[clusters.'Big One']\nbackend = 'local'\n", 1, "Big One"),
    ],
)
def test_a_wrong_value_is_named_with_its_line(tmp_path: Path, text: str, line: int, word: str) -> None:
    with pytest.raises(InvalidSettings, match=word) as error:
        load(write(tmp_path, text), {})
    assert f"line {line}" in error.value.message


def test_broken_toml_says_where(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="line 2"):
        load(write(tmp_path, "[jobs]\nat_once = \n"), {})


def test_a_password_in_the_url_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="password") as error:
        load(write(tmp_path, "[project]\ndatabase = 'postgresql://ada:geheim@db/x'\n"), {})
    assert "geheim" not in str(error.value)


def test_the_environment_overrides_the_database(tmp_path: Path) -> None:
    settings = load(write(tmp_path, ""), {"MLINFRA_DATABASE": "postgresql://db/x"})
    assert settings.project.database == "postgresql://db/x"


@pytest.mark.parametrize(
    ("text", "size"),
    [(5, 5), ("5", 5), ("2 KiB", 2048), ("1.5 kB", 1500), ("1G", 10**9), ("3MiB", 3 * 2**20)],
)
def test_sizes(text: int | str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["many", "2 XB", "-1", ""])
def test_no_sizes(text: str) -> None:
    with pytest.raises(InvalidSettings):
        parse_size(text)


def test_a_project_is_found_upwards(tmp_path: Path) -> None:
    write(tmp_path, "")
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert find_root(deep) == tmp_path.resolve()


def test_no_project_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoProject) as error:
        Project.find(tmp_path)
    assert "mlinfra init" in str(error.value.hint)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "mlinfra.toml").write_bytes(b"\xef\xbb\xbf[jobs]\nat_once = 3\n")
    assert load(tmp_path, {}).jobs.at_once == 3


@pytest.mark.parametrize(("kind", "said"), [("folder", "is no file"), ("link", "leads nowhere")])
def test_what_only_has_the_name_is_told_from_nothing(tmp_path: Path, kind: str, said: str) -> None:
    path = tmp_path / "mlinfra.toml"
    path.mkdir() if kind == "folder" else path.symlink_to("nowhere")
    for look in (Project, Project.find, load):
        with pytest.raises(InvalidSettings, match=said):
            look(tmp_path)


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("[jobs]\nat_once = 'two'\n", "expected a whole number, got text", "at_once = 2"),
        ("[jobs]\nat_once = 0\n", "of at least 1", "at_once = 2"),
        ("[jobs]\ntimeout = inf\n", "no number of seconds", "timeout = 600"),
        ("[jobs]\ntimeout = nan\n", "more than 0", "timeout = 600"),
        ("[mlflow]\ntracking_uri = 5\n", "expected text, got a whole number", "in quotes"),
        ("\njobs = 5\n", "expected a table", "[jobs]"),
        ("\nclusters = 5\n", "no table", "[clusters.NAME]"),
        ("[clusters.a]\nbackend = 5\n", "no text", "local"),
        ("[serving]\nmax_body = '2 potato'\n", "no size", "2 GiB"),
        ("[serving]\nmax_body = 0\n", "lets nothing in", "2 GiB"),
        ("[project]\nname = ' '\n", "name is empty", "leave it out"),
        ('[project]\nname = "a\\nb"\n', "no plain text", "leave it out"),
    ],
)
def test_a_wrong_value_is_answered_with_what_is_valid(
    tmp_path: Path, text: str, said: str, hint: str
) -> None:
    with pytest.raises(InvalidSettings) as error:
        load(write(tmp_path, text), {})
    assert "line 2" in error.value.message
    assert said in error.value.message
    assert hint in str(error.value.hint)


def test_the_state_folder_may_be_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "p").mkdir()
    project = Project(write(tmp_path / "p", "[project]\nstate_dir = '~/state'\n"))
    assert project.state == tmp_path / "home" / "state"
    project.close()


def test_git_ignores_the_state_folder_wherever_it_is(tmp_path: Path) -> None:
    project = Project(write(tmp_path, "[project]\nstate_dir = 'var/state'\n"))
    project.close()
    git.init(tmp_path)
    assert git.ignored(tmp_path, project.state / "secrets")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "work.py").touch()
    Project(write(tmp_path, "[project]\nstate_dir = 'theirs'\n")).close()
    assert not git.ignored(tmp_path, tmp_path / "theirs" / "work.py")


@pytest.mark.parametrize("place", [".", "..", "~nobody-of-that-name/x"])
def test_the_state_folder_is_one_of_its_own(tmp_path: Path, place: str) -> None:
    with pytest.raises(InvalidSettings, match="state_dir"):
        Project(write(tmp_path, f"[project]\nstate_dir = '{place}'\n"))
