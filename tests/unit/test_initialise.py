"""`initialise` in the folders it may meet; what it made is read back with git and DVC themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mlinfra_lab import git, settings
from mlinfra_lab.errors import Conflict, Failed, Invalid, InvalidSettings
from mlinfra_lab.initialise import initialise, notebooks_dir

OWN = [".dvc/.gitignore", ".dvc/config", ".dvcignore", ".gitignore", "mlinfra.toml"]


def run(folder: Path, *command: str) -> str:
    if command[0] == "dvc":
        command = (sys.executable, "-m", *command)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


def committed(folder: Path) -> list[str]:
    """The files of the newest commit."""
    return run(folder, "git", "show", "--name-only", "--format=").splitlines()


def uri_in(folder: Path) -> str | None:
    """The MLflow store `mlinfra.toml` names; the file must be one that settings can read."""
    return settings.load(folder).mlflow.tracking_uri


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A git repository with one commit, a staged file and a loose one."""
    folder = tmp_path / "repo"
    folder.mkdir()
    git.init(folder)
    (folder / "README.md").write_text("theirs\n")
    git.commit_only(folder, [folder / "README.md"], "First", {})
    (folder / "staged").write_text("x")
    run(folder, "git", "add", "staged")
    (folder / "loose").write_text("x")
    return folder


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    """A folder DVC was set up in, so that a test of something else need not wait for `dvc init`."""
    folder = tmp_path / "quick"
    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc" / "config").touch()
    return folder


def test_an_empty_folder_becomes_a_project(tmp_path: Path) -> None:
    folder = tmp_path / "flights"
    report = initialise(folder)
    assert report.root == str(folder)
    assert report.taken == ()
    assert report.commit == run(folder, "git", "rev-parse", "HEAD")
    assert committed(folder) == OWN
    assert run(folder, "git", "status", "--porcelain") == ""
    assert "up to date" in run(folder, "dvc", "status") or "no data" in run(folder, "dvc", "status")
    assert (folder / ".mlinfra").stat().st_mode & 0o777 == 0o700
    found = settings.load(folder)
    assert found.project.name == "flights"
    assert found.clusters["local"].backend == "local"


def test_a_second_time_makes_nothing(tmp_path: Path) -> None:
    first = initialise(tmp_path / "p")
    second = initialise(tmp_path / "p")
    assert second.made == ()
    assert set(second.taken) >= {"git repository", "DVC", "mlinfra.toml"}
    assert second.commit == first.commit


def test_a_clone_gets_its_state_folder_again(tmp_path: Path) -> None:
    initialise(tmp_path / "p")
    run(tmp_path, "git", "clone", "-q", "p", "clone")
    report = initialise(tmp_path / "clone")
    assert report.made == ("state folder .mlinfra/",)
    assert report.commit == run(tmp_path / "p", "git", "rev-parse", "HEAD")


def test_a_repository_keeps_what_is_staged(repo: Path) -> None:
    (repo / ".gitignore").write_text("*.log")
    git.commit_only(repo, [repo / ".gitignore"], "Ignore", {})
    report = initialise(repo)
    assert "git repository" in report.taken
    assert committed(repo) == OWN
    assert (repo / ".gitignore").read_text() == "*.log\n/.mlinfra/\n"
    assert run(repo, "git", "status", "--porcelain").splitlines() == ["A  staged", "?? loose"]


def test_uncommitted_changes_in_gitignore_stay_the_users(repo: Path) -> None:
    (repo / ".gitignore").write_text("*.log\n")
    report = initialise(repo)
    assert ".gitignore" not in committed(repo)
    assert any(".gitignore" in note for note in report.notes)
    assert run(repo, "git", "status", "--porcelain").splitlines() == [
        "A  staged",
        "?? .gitignore",
        "?? loose",
    ]


def test_a_subfolder_of_a_repository(repo: Path) -> None:
    report = initialise(repo / "models" / "delay")
    assert "git repository of ../.." in report.taken
    assert "DVC" in report.made
    assert committed(repo) == [f"models/delay/{name}" for name in OWN]
    assert git.top(repo / "models" / "delay") == repo


def test_a_folder_the_repository_ignores_gets_its_own(repo: Path) -> None:
    (repo / ".gitignore").write_text("/scratch/\n")
    report = initialise(repo / "scratch" / "p")
    assert "git repository" in report.made
    assert git.top(repo / "scratch" / "p") == repo / "scratch" / "p"


def test_dvc_of_the_folder_is_taken(repo: Path) -> None:
    run(repo, "dvc", "init", "-q")
    run(repo, "dvc", "remote", "add", "-q", "-d", "store", "../remote")
    before = (repo / ".dvc" / "config").read_text()
    report = initialise(repo)
    assert "DVC" in report.taken
    assert (repo / ".dvc" / "config").read_text() == before
    assert committed(repo) == [".gitignore", "mlinfra.toml"]
    assert any("DVC's own files" in note for note in report.notes)


def test_dvc_of_a_folder_above_is_taken(repo: Path) -> None:
    run(repo, "dvc", "init", "-q")
    git.commit_only(repo, [repo / name for name in (".dvc", ".dvcignore")], "DVC", {})
    report = initialise(repo / "p")
    assert "DVC of .." in report.taken
    assert report.notes == ()
    assert committed(repo) == ["p/.gitignore", "p/mlinfra.toml"]
    assert not (repo / "p" / ".dvc").exists()


def test_dvc_without_git_is_taken_and_said(tmp_path: Path) -> None:
    run(tmp_path, "dvc", "init", "-q", "--no-scm")
    report = initialise(tmp_path)
    assert "DVC" in report.taken
    assert any("core.no_scm" in note for note in report.notes)


def test_dvc_of_another_repository_is_not_ours(tmp_path: Path) -> None:
    run(tmp_path, "dvc", "init", "-q", "--no-scm")
    report = initialise(tmp_path / "p")
    assert {"git repository", "DVC"} <= set(report.made)


def test_an_mlflow_database_is_taken(quick: Path) -> None:
    (quick / "mlflow.db").touch()
    report = initialise(quick)
    assert "MLflow store mlflow.db" in report.taken
    assert uri_in(quick) == "sqlite:///mlflow.db"


def test_an_mlflow_store_of_files_is_taken(quick: Path) -> None:
    (quick / "mlruns" / "0").mkdir(parents=True)
    (quick / "mlruns" / "0" / "meta.yaml").touch()
    assert "MLflow store mlruns/" in initialise(quick).taken
    assert uri_in(quick) == "mlruns"


@pytest.mark.parametrize(
    ("uri", "written"),
    [
        ("https://mlflow.example.org/", "https://mlflow.example.org/"),
        ("databricks://prod", "databricks://prod"),
        ("sqlite:///{root}/store/ml flow.db?timeout=5", "sqlite:///store/ml flow.db?timeout=5"),
        ("sqlite:////elsewhere/mlflow.db", "sqlite:////elsewhere/mlflow.db"),
        ("file://{root}/mlruns", "mlruns"),
        ("{root}/mlruns", "mlruns"),
    ],
)
def test_a_tracking_uri_is_taken(
    quick: Path, monkeypatch: pytest.MonkeyPatch, uri: str, written: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(root=quick))
    assert "MLflow store of MLFLOW_TRACKING_URI" in initialise(quick).taken
    assert uri_in(quick) == written


@pytest.mark.parametrize(
    "uri",
    ["https://ada:hunter2@mlflow.example.org", "postgresql://mlflow@db/x?password=hunter2"],
)
def test_a_password_is_never_written(quick: Path, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    report = initialise(quick)
    assert uri_in(quick) is None
    assert any("password" in note for note in report.notes)
    assert "hunter2" not in repr(report) + (quick / "mlinfra.toml").read_text()


def test_odd_names_make_valid_toml(tmp_path: Path, quick: Path) -> None:
    folder = tmp_path / 'a "b" \\ ü'
    shutil.copytree(quick, folder)
    initialise(folder)
    assert tomllib.loads((folder / "mlinfra.toml").read_text())["project"]["name"] == folder.name


def test_a_repository_in_the_middle_of_a_merge_is_left_alone(repo: Path) -> None:
    (repo / ".git" / "MERGE_HEAD").write_text(git.head(repo) or "")
    with pytest.raises(Conflict, match="a merge"):
        initialise(repo)
    assert not (repo / ".dvc").exists()
    assert not (repo / "mlinfra.toml").exists()


def test_a_file_is_no_project(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Invalid, match="is a file"):
        initialise(tmp_path / "file")


@pytest.mark.parametrize("folder", ["/proc/project", "/dev/null/project"])
def test_a_folder_that_cannot_be_written_to(folder: str) -> None:
    with pytest.raises(Invalid, match="cannot be written to"):
        initialise(folder)


def test_the_inside_of_git_is_no_place(repo: Path) -> None:
    with pytest.raises(Invalid, match=r"lies in \.git"):
        initialise(repo / ".git" / "x")


def test_a_mistake_in_settings_that_are_there_is_said(quick: Path) -> None:
    (quick / "mlinfra.toml").write_text("[projekt]\n")
    with pytest.raises(InvalidSettings, match="projekt"):
        initialise(quick)


def test_a_failing_hook_is_said_and_a_second_try_ends_well(repo: Path) -> None:
    hook = repo / ".git" / "hooks" / "pre-commit"
    hook.write_text("#!/bin/sh\necho not today >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(Failed, match="not today"):
        initialise(repo)
    hook.unlink()
    initialise(repo)
    assert "mlinfra.toml" in committed(repo)


def test_tutorials_are_copied_and_never_overwrite(quick: Path) -> None:
    template = Path("notebooks", "templates", "train_flight_delay.ipynb")
    source = notebooks_dir().parent / template
    (quick / template).parent.mkdir(parents=True)
    (quick / template).write_text("mine")
    report = initialise(quick, tutorial=True)
    assert (quick / template).read_text() == "mine"
    assert str(template) in report.taken
    assert any(str(template) in note for note in report.notes)
    assert str(template) not in committed(quick)
    (quick / template).unlink()
    report = initialise(quick, tutorial=True)
    assert str(template) in report.made
    assert (quick / template).read_bytes() == source.read_bytes()
    assert committed(quick) == [str(template)]
    assert os.access(quick / template, os.W_OK)


@pytest.mark.parametrize("name", [".mlinfra", "mlinfra.toml"])
def test_something_else_with_our_name_is_named(tmp_path: Path, name: str) -> None:
    if name == "mlinfra.toml":
        (tmp_path / name).symlink_to("nowhere")
    else:
        (tmp_path / name).touch()
    with pytest.raises(Invalid, match=name):
        initialise(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_home_and_the_root_are_no_projects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in ("/", tmp_path):
        with pytest.raises(Invalid, match="a folder of its own"):
            initialise(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_bare_repository_has_no_place(tmp_path: Path) -> None:
    run(tmp_path, "git", "init", "-q", "--bare", "bare")
    with pytest.raises(Invalid, match="bare") as error:
        initialise(tmp_path / "bare")
    assert "Clone" in str(error.value.hint)


def test_what_fails_halfway_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / ".dvc").write_text("theirs")
    (tmp_path / ".gitignore").write_text("*.log\n")
    with pytest.raises(Failed, match="dvc init") as error:
        initialise(tmp_path)
    assert error.value.hint
    assert sorted(path.name for path in tmp_path.iterdir()) == [".dvc", ".gitignore"]
    assert (tmp_path / ".dvc").read_text() == "theirs"
    assert (tmp_path / ".gitignore").read_text() == "*.log\n"


def test_after_a_failing_hook_the_repository_is_as_it_was(repo: Path) -> None:
    hook = repo / ".git" / "hooks" / "pre-commit"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    before = run(repo, "git", "status", "--porcelain")
    with pytest.raises(Failed):
        initialise(repo, tutorial=True)
    assert run(repo, "git", "status", "--porcelain", "--untracked-files=normal") == before
    assert not (repo / ".mlinfra").exists()
