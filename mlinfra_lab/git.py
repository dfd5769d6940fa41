"""What we need of git, through its own command.

Every call names its folder (``git -C``), never asks on a terminal, and gives paths as literal ones.
"""

from __future__ import annotations

import getpass
import os
import re
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from mlinfra_lab.errors import Conflict, Failed, Invalid, MissingDependency

# A hook or a signing agent may take its time, but a worker must not wait for ever on one.
_COMMIT_SECONDS = 600.0
# Editors and JupyterLab's git panel hold the index for moments; longer is somebody's doing.
_LOCK_SECONDS = 5.0

# Set by git for its hooks; inherited they would point every call at the hook's repository.
_LOCAL_ENV = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_WORK_TREE",
)

# In git's per-worktree folder while the thing is under way; the first that is there is named.
_UNFINISHED = (
    ("MERGE_HEAD", "a merge", "`git merge --continue` or `git merge --abort`"),
    ("rebase-merge", "a rebase", "`git rebase --continue` or `git rebase --abort`"),
    ("rebase-apply/applying", "applying patches (git am)", "`git am --continue` or `git am --abort`"),
    ("rebase-apply", "a rebase", "`git rebase --continue` or `git rebase --abort`"),
    ("CHERRY_PICK_HEAD", "a cherry-pick", "`git cherry-pick --continue` or `git cherry-pick --abort`"),
    ("REVERT_HEAD", "a revert", "`git revert --continue` or `git revert --abort`"),
    (
        "sequencer",
        "a sequence of cherry-picks or reverts",
        "`git cherry-pick --abort` or `git revert --abort`",
    ),
    ("BISECT_LOG", "a bisection", "`git bisect reset`"),
)


def environ() -> dict[str, str]:
    """The environment for git: no questions, messages in English, no repository inherited."""
    env = {name: value for name, value in os.environ.items() if name not in _LOCAL_ENV}
    return env | {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


def _run(
    folder: Path, *args: str, seconds: float | None = 60.0, stdin: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    command = ["git", "-C", str(folder), *args]
    try:
        return subprocess.run(
            command, env=environ(), input=stdin or b"", capture_output=True, timeout=seconds, check=False
        )
    except FileNotFoundError as error:
        raise MissingDependency("git is not installed.", "Install git and try again.") from error
    except subprocess.TimeoutExpired as error:
        raise Failed(
            f"`git {args[0]}` in {folder} did not end within {seconds:.0f} s.",
            "A hook, a signing agent or a file system may hang: try the command by hand.",
        ) from error


def _text(output: bytes) -> str:
    return output.decode("utf-8", "replace").strip()


def _checked(folder: Path, *args: str, seconds: float | None = 60.0, stdin: bytes | None = None) -> bytes:
    done = _run(folder, *args, seconds=seconds, stdin=stdin)
    if done.returncode:
        raise Failed(
            f"`git {' '.join(args[:2])}` failed in {folder}: {_text(done.stderr) or _text(done.stdout)}"
        )
    return done.stdout


def top(path: Path) -> Path | None:
    """The top folder of the work tree that ``path`` lies in, ``None`` outside of any.

    Raises
    ------
    Failed
        When git refuses to say (a bare repository, a repository of another owner).
    """
    done = _run(path, "rev-parse", "--show-toplevel")
    if done.returncode == 0:
        return Path(os.fsdecode(done.stdout.rstrip(b"\n")))
    message = _text(done.stderr)
    if "not a git repository" in message:
        return None
    raise Failed(f"git cannot use the repository of {path}: {message}")


def init(path: Path) -> None:
    """Make ``path`` a git repository; the first branch is ``main`` unless git is configured otherwise."""
    branch = ["-c", "init.defaultBranch=main"] if not _configured(path, "init.defaultBranch") else []
    _checked(path, *branch, "init", "--quiet")


def head(path: Path) -> str | None:
    """The commit that is checked out, ``None`` before the first and outside of a repository."""
    done = _run(path, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    return _text(done.stdout) if done.returncode == 0 else None


def dirty(path: Path) -> bool:
    """Whether tracked files of the repository differ from HEAD, as ``git describe --dirty`` sees it."""
    status = _checked(path, "--no-optional-locks", "status", "--porcelain", "--untracked-files=no")
    return bool(status.strip())


def changed(root: Path, paths: Iterable[Path]) -> bool:
    """Whether any of ``paths`` differs from HEAD, untracked ones included, ignored ones not."""
    literal = _literal(root, paths)
    return bool(
        literal
        and _checked(
            root, "--no-optional-locks", "status", "--porcelain", "--untracked-files=all", "--", *literal
        ).strip()
    )


def tracked(root: Path, path: Path) -> bool:
    """Whether git tracks ``path`` or, for a folder, anything in it."""
    return bool(_checked(root, "ls-files", "-z", "--", *_literal(root, [path])))


def ignored(root: Path, path: Path) -> str | None:
    """The rule by which git ignores ``path`` (``.gitignore:3:data/``), ``None`` when it does not."""
    done = _run(root, "check-ignore", "--verbose", "--", f"./{_relative(root, path)}")
    if done.returncode == 1:
        return None
    if done.returncode:
        raise Failed(f"`git check-ignore` failed in {root}: {_text(done.stderr)}")
    return _text(done.stdout).split("\t")[0]


def show(root: Path, commit: str, path: Path) -> bytes | None:
    """The bytes of ``path`` in ``commit``, ``None`` where the commit has no such file."""
    done = _run(root, "show", f"{commit}:./{_relative(root, path)}")
    return done.stdout if done.returncode == 0 else None


def changed_in(root: Path, commit: str) -> list[Path]:
    """The files that ``commit`` changed against its first parent."""
    names = _checked(root, "diff-tree", "-r", "-z", "--root", "--no-commit-id", "--name-only", commit)
    above = top(root) or root
    return [above / os.fsdecode(name) for name in names.split(b"\0") if name]


def differing(root: Path, commit: str, *endings: str) -> list[Path]:
    """Tracked files with such endings that are in the work tree not as in ``commit``; none if it is gone."""
    done = _run(root, "diff", "--name-only", "-z", "--no-ext-diff", commit, "--", ".")
    above = top(root) or root
    names = [os.fsdecode(name) for name in done.stdout.split(b"\0") if name]
    return [] if done.returncode else [above / name for name in names if name.endswith(endings)]


def commit_facts(root: Path, commit: str) -> dict[str, str] | None:
    """Subject, author and date of a commit, ``None`` when the repository does not have it."""
    done = _run(root, "show", "--no-patch", "--format=%s%x00%an%x00%aI", f"{commit}^{{commit}}")
    if done.returncode:
        return None
    subject, author, date = _text(done.stdout).split("\0")
    return {"subject": subject, "author": author, "date": date}


def refuse_unfinished(path: Path) -> None:
    """Refuse to touch a repository that is in the middle of something.

    Raises
    ------
    Conflict
        Naming what is unfinished (merge, rebase, cherry-pick, revert, bisection) and how to end it.
    """
    folder = Path(os.fsdecode(_checked(path, "rev-parse", "--absolute-git-dir").rstrip(b"\n")))
    for marker, what, how in _UNFINISHED:
        if (folder / marker).exists():
            raise Conflict(
                f"The git repository of {path} is in the middle of {what}.",
                f"Finish it first: {how}.",
            )


def refuse_detached(path: Path) -> None:
    """Refuse to commit where no branch would hold the commit, so that git would drop it one day.

    Raises
    ------
    Conflict
        When HEAD is detached, and how to get onto a branch.
    """
    if head(path) is not None and _run(path, "symbolic-ref", "--quiet", "HEAD").returncode:
        raise Conflict(
            "HEAD is detached: no branch would hold the commit of this version.",
            "Get onto a branch first: git switch BRANCH, or git switch -c NAME.",
        )


def commit_only(root: Path, paths: Iterable[Path], message: str, trailers: Mapping[str, str]) -> str:
    """Commit ``paths`` and nothing else; whatever is staged besides stays staged.

    Parameters
    ----------
    root
        A folder of the work tree.
    paths
        Files or folders to commit as they are on disk; one that is gone is committed as deleted.
    message
        Subject, and a body after an empty line.
    trailers
        Lines put at the end (``Mlinfra-Intent: KEY``).

    Returns
    -------
    str
        The new commit, or HEAD when none of the paths differs from it.

    Raises
    ------
    Conflict
        In the middle of a merge and the like, and when another git process holds the index.
    Invalid
        When git ignores one of the paths.
    Failed
        When a hook, the signing or git itself refuses.
    """
    paths = list(paths)
    refuse_unfinished(root)
    for path in paths:
        if path.exists() and (rule := ignored(root, path)):
            raise Invalid(
                f"git ignores {_relative(root, path)} ({rule}), so it cannot be committed.",
                "Change that rule, or move the file to where git sees it.",
            )
    known = [path for path in paths if path.exists() or path.is_symlink() or tracked(root, path)]
    before = head(root)
    if not changed(root, known):
        if before is None:
            raise Invalid(f"There is nothing to commit in {root}.")
        return before
    literal = _literal(root, known)
    # Only `commit --only` may write the content: what was staged of these paths before, and would be
    # lost by a plain `git add`, is still there when a hook refuses.
    added = _untracked(root, literal)
    if added:
        _retrying(root, "add", "--intent-to-add", "--", *_literal(root, added))
    text = message.strip() + "\n\n" + "\n".join(f"{key}: {value}" for key, value in trailers.items())
    try:
        _retrying(
            root,
            *_identity(root),
            "commit",
            "--quiet",
            "--only",
            "--file=-",
            "--",
            *literal,
            stdin=text.encode(),
        )
    except Exception:
        if added:
            _run(root, "rm", "--cached", "--quiet", "--force", "--", *_literal(root, added))
        raise
    commit = head(root)
    if commit is None:
        raise Failed(f"git reported a commit in {root}, but HEAD names none.")
    return commit


def find_trailer(root: Path, key: str, value: str) -> str | None:
    """The newest commit of any branch whose message ends with the trailer ``key: value``."""
    found = _checked(
        root,
        "log",
        "--all",
        "--fixed-strings",
        f"--grep={key}: {value}",
        f"--format=%H%x09%(trailers:key={key},valueonly,separator=%x09)",
    )
    for line in found.decode("utf-8", "replace").splitlines():
        commit, *values = line.split("\t")
        if value in values:
            return commit
    return None


def _relative(root: Path, path: Path) -> str:
    return os.path.relpath(root / path, root)


def _literal(root: Path, paths: Iterable[Path]) -> list[str]:
    return [f":(literal){_relative(root, path)}" for path in paths]


def _untracked(root: Path, literal: list[str]) -> list[Path]:
    names = _checked(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *literal)
    return [root / os.fsdecode(name) for name in names.split(b"\0") if name]


def _configured(folder: Path, name: str) -> bool:
    return _run(folder, "config", "--get", name).returncode == 0


def _identity(root: Path) -> list[str]:
    # What the environment says (GIT_AUTHOR_NAME …) wins over `-c`, so only the configuration is asked.
    try:
        login = getpass.getuser()
    except (KeyError, OSError):
        login = "mlinfra"
    options = []
    if not _configured(root, "user.name"):
        options += ["-c", f"user.name={login}"]
    if not _configured(root, "user.email") and not os.environ.get("EMAIL"):
        options += ["-c", f"user.email={login}@localhost"]
    return options


def _retrying(root: Path, *args: str, stdin: bytes | None = None) -> None:
    deadline = time.monotonic() + _LOCK_SECONDS
    verb = next(arg for arg in args if arg in ("add", "commit"))
    while True:
        done = _run(root, *args, seconds=_COMMIT_SECONDS, stdin=stdin)
        if done.returncode == 0:
            return
        message = _text(done.stderr) or _text(done.stdout)
        lock = re.search(r"Unable to create '(.+\.lock)': File exists", message)
        if lock is None:
            raise Failed(
                f"git {verb} failed in {root}: {message or 'a hook ended with an error and said nothing'}",
                "Nothing was committed. Mend what git or the hook names, then try again.",
            )
        if time.monotonic() > deadline:
            raise Conflict(
                f"Another git process holds {lock[1]}.",
                "Wait until it has ended; if none is running, remove that file.",
            )
        time.sleep(0.1)
