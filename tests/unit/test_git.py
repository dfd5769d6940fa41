"""git as we use it, on real repositories; what we made is read back with git itself."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mlinfra_lab import git
from mlinfra_lab.errors import Conflict, Failed, Invalid


def run(folder: Path, *args: str, ok: bool = True) -> str:
    done = subprocess.run(["git", "-C", str(folder), *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not ok, done.stderr
    return done.stdout.rstrip("\n")


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an identity nor any other configuration but the repository's own."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("EMAIL", raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "répo with spaces"
    folder.mkdir()
    git.init(folder)
    return folder


def write(path: Path, text: str = "x\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def identify(repo: Path) -> None:
    run(repo, "config", "user.name", "Ada")
    run(repo, "config", "user.email", "ada@example.org")


def commit(repo: Path, name: str, text: str = "x\n") -> str:
    return git.commit_only(repo, [write(repo / name, text)], f"Change {name}", {})


def conflict(repo: Path) -> str:
    """Two branches that cannot be joined; leaves `main` checked out and names the other."""
    identify(repo)
    commit(repo, "a", "base\n")
    run(repo, "switch", "-qc", "other")
    commit(repo, "a", "theirs\n")
    run(repo, "switch", "-q", "main")
    commit(repo, "a", "ours\n")
    return "other"


def test_top_is_found_from_a_subfolder_and_outside_is_none(repo: Path, tmp_path: Path) -> None:
    (repo / "deep" / "er").mkdir(parents=True)
    assert git.top(repo / "deep" / "er") == repo.resolve()
    assert git.top(tmp_path) is None


def test_top_says_why_git_refuses(repo: Path) -> None:
    write(repo / ".git" / "config", "this is no configuration\n")
    with pytest.raises(Failed, match="bad config"):
        git.top(repo)


def test_the_first_branch_is_main_unless_configured(repo: Path, tmp_path: Path) -> None:
    assert run(repo, "symbolic-ref", "HEAD") == "refs/heads/main"


def test_first_commit_without_any_identity(repo: Path) -> None:
    sha = commit(repo, "a")
    assert git.head(repo) == sha == run(repo, "rev-parse", "HEAD")
    assert run(repo, "log", "-1", "--format=%ae").endswith("@localhost")
    assert not git.dirty(repo)


def test_an_identity_is_made_up_even_where_git_is_told_not_to_guess(repo: Path) -> None:
    run(repo, "config", "user.useConfigOnly", "true")
    commit(repo, "a")
    assert run(repo, "log", "-1", "--format=%ce").endswith("@localhost")


def test_a_configured_identity_is_used(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identify(repo)
    commit(repo, "a")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Grace")
    commit(repo, "b")
    assert run(repo, "log", "--format=%an <%ae>").splitlines() == [
        "Grace <ada@example.org>",
        "Ada <ada@example.org>",
    ]


@pytest.mark.parametrize("born", [False, True], ids=["no commit yet", "a commit"])
def test_only_the_named_paths_are_committed(repo: Path, born: bool) -> None:
    if born:
        commit(repo, "first")
    write(repo / "staged", "theirs\n")
    run(repo, "add", "staged")
    write(repo / "loose")
    git.commit_only(repo, [write(repo / "sub" / "ours *.txt")], "Ours", {})
    assert run(repo, "show", "--name-only", "--format=").splitlines() == ["sub/ours *.txt"]
    assert run(repo, "status", "--porcelain").splitlines() == ["A  staged", "?? loose"]


def test_names_are_not_patterns(repo: Path) -> None:
    commit(repo, "first")
    write(repo / "ab")
    git.commit_only(repo, [write(repo / "a*"), write(repo / ":(top)x")], "Odd names", {})
    assert run(repo, "status", "--porcelain") == "?? ab"


def test_nothing_changed_makes_no_commit(repo: Path) -> None:
    sha = commit(repo, "a")
    write(repo / "staged")
    run(repo, "add", "staged")
    assert git.commit_only(repo, [repo / "a", repo / "never was"], "Again", {}) == sha


def test_nothing_to_commit_in_an_empty_repository(repo: Path) -> None:
    with pytest.raises(Invalid, match="nothing to commit"):
        git.commit_only(repo, [repo / "never was"], "Nothing", {})


def test_a_removed_file_is_committed_as_removed(repo: Path) -> None:
    commit(repo, "a")
    (repo / "a").unlink()
    git.commit_only(repo, [repo / "a"], "Remove", {})
    assert run(repo, "ls-files") == ""


def test_trailers_are_git_trailers_and_are_found(repo: Path) -> None:
    one = git.commit_only(repo, [write(repo / "a")], "One\n\nWith a body.", {"Key": "t1", "Other": "x"})
    git.commit_only(repo, [write(repo / "b")], "Talks of Key: t2 only", {})
    git.commit_only(repo, [write(repo / "c")], "Longer", {"Key": "t11"})
    assert run(repo, "log", "-1", "--format=%(trailers:key=Key,valueonly)", one).strip() == "t1"
    assert git.find_trailer(repo, "Key", "t1") == one
    assert git.find_trailer(repo, "Key", "t2") is None


def test_a_trailer_is_found_on_another_branch(repo: Path) -> None:
    commit(repo, "a")
    run(repo, "switch", "-qc", "side")
    sha = git.commit_only(repo, [write(repo / "b")], "Side", {"Key": "t1"})
    run(repo, "switch", "-q", "main")
    assert git.find_trailer(repo, "Key", "t1") == sha


def test_no_trailer_before_the_first_commit(repo: Path) -> None:
    assert git.find_trailer(repo, "Key", "t1") is None
    assert git.head(repo) is None


def test_a_failing_hook_is_named_and_leaves_everything_as_it_was(repo: Path) -> None:
    commit(repo, "tracked", "old\n")
    hook = write(repo / ".git" / "hooks" / "pre-commit", "#!/bin/sh\necho no Fridays >&2\nexit 1\n")
    hook.chmod(0o755)
    write(repo / "tracked", "staged\n")
    run(repo, "add", "tracked")
    write(repo / "tracked", "new\n")
    with pytest.raises(Failed, match="no Fridays"):
        git.commit_only(repo, [repo / "tracked", write(repo / "fresh")], "Ours", {})
    assert run(repo, "status", "--porcelain").splitlines() == ["MM tracked", "?? fresh"]
    assert run(repo, "show", ":tracked") == "staged"
    hook.unlink()
    git.commit_only(repo, [repo / "tracked", repo / "fresh"], "Ours", {})
    assert run(repo, "status", "--porcelain") == ""


def test_an_index_lock_is_waited_for(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(repo, "a")
    lock = write(repo / ".git" / "index.lock")
    monkeypatch.setattr(git, "_LOCK_SECONDS", 0.3)
    with pytest.raises(Conflict, match=r"index\.lock"):
        commit(repo, "a", "new\n")
    with pytest.raises(Conflict, match=r"index\.lock"):
        commit(repo, "b")
    lock.unlink()
    commit(repo, "b")


def test_an_ignored_path_is_refused_with_the_rule(repo: Path) -> None:
    write(repo / ".gitignore", "# data\ndata/\n")
    with pytest.raises(Invalid, match=r"\.gitignore:2:data/"):
        git.commit_only(repo, [write(repo / "data" / "a.dvc")], "Ours", {})


def test_a_merge_is_refused(repo: Path) -> None:
    run(repo, "merge", conflict(repo), ok=False)
    with pytest.raises(Conflict, match="a merge") as refused:
        git.commit_only(repo, [write(repo / "b")], "Ours", {})
    assert "git merge --abort" in (refused.value.hint or "")
    run(repo, "merge", "--abort")
    commit(repo, "b")


@pytest.mark.parametrize(
    ("command", "what", "end"),
    [
        (["rebase", "other"], "a rebase", ["rebase", "--abort"]),
        (["rebase", "--apply", "other"], "a rebase", ["rebase", "--abort"]),
        (["cherry-pick", "other"], "a cherry-pick", ["cherry-pick", "--abort"]),
        (["revert", "HEAD~1"], "a revert", ["revert", "--abort"]),
        (["bisect", "start"], "a bisection", ["bisect", "reset"]),
    ],
)
def test_other_unfinished_things_are_refused(
    repo: Path, command: list[str], what: str, end: list[str]
) -> None:
    conflict(repo)
    run(repo, *command, ok=False)
    with pytest.raises(Conflict, match=what):
        git.refuse_unfinished(repo)
    run(repo, *end)
    git.refuse_unfinished(repo)


def test_a_detached_head_is_refused_with_the_way_back(repo: Path) -> None:
    git.refuse_detached(repo)
    commit(repo, "a")
    git.refuse_detached(repo)
    run(repo, "checkout", "--detach")
    with pytest.raises(Conflict, match="detached") as error:
        git.refuse_detached(repo)
    assert "git switch" in str(error.value.hint)


def test_a_worktree_and_a_subfolder(repo: Path, tmp_path: Path) -> None:
    commit(repo, "a")
    tree = tmp_path / "tree"
    run(repo, "worktree", "add", "-qb", "side", str(tree))
    sub = tree / "project"
    sub.mkdir()
    sha = git.commit_only(sub, [write(sub / "b.dvc"), tree / "a"], "In the worktree", {"Key": "t1"})
    assert git.top(sub) == tree.resolve()
    assert git.head(tree) == sha != git.head(repo)
    assert git.show(sub, sha, sub / "b.dvc") == b"x\n"
    assert git.show(sub, sha, tree / "a") == b"x\n"
    assert git.show(sub, sha, sub / "c.dvc") is None
    assert git.changed_in(sub, sha) == [sub.resolve() / "b.dvc"]
    (sub / "b.dvc").write_text("more\n")
    assert git.dirty(tree)
    assert not git.dirty(repo)


def test_tracked_knows_files_and_folders(repo: Path) -> None:
    commit(repo, "data/a")
    write(repo / "other" / "b")
    assert git.tracked(repo, repo / "data")
    assert git.tracked(repo, repo / "data" / "a")
    assert not git.tracked(repo, repo / "other")


def test_variables_of_a_hook_do_not_lead_astray(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sha = commit(repo, "a")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere/index")
    assert git.head(repo) == sha
