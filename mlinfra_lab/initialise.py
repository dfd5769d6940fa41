"""Making a folder a project: what is there is taken as it is, what is missing is added."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import mlinfra_lab
from mlinfra_lab import git, settings
from mlinfra_lab.data.cache import dvc_root
from mlinfra_lab.errors import Failed, Invalid
from mlinfra_lab.schema.project import InitReport

STATE = ".mlinfra"
_IGNORE = f"/{STATE}/"
_IGNORES = {_IGNORE, STATE, f"{STATE}/", f"/{STATE}"}
_SECRETS = ("password", "passwd", "pwd", "secret", "token", "key")
_DVC_FILES = (".dvc/config", ".dvc/.gitignore", ".dvcignore")

_SETTINGS = """\
# What this project says about itself. What is not said here has a default; every key is in the README.
# Passwords never stand here: this file is in git.

[project]
name = {name}
{mlflow}
# A Dask cluster on this machine: `mlinfra cluster start local`. Memory is what each worker may use.
[clusters.local]
backend = "local"
workers = 2
threads = 1
memory = "2 GiB"
"""

_MLFLOW = """
# The MLflow store that was here before.
[mlflow]
tracking_uri = {uri}
"""


def initialise(path: str | os.PathLike[str] = ".", tutorial: bool = False) -> InitReport:
    """Make a folder a project; done again, it only adds what is missing.

    Parameters
    ----------
    path
        The folder; made when it is not there.
    tutorial
        Copy the tutorials and templates into it as well.

    Returns
    -------
    InitReport
        What was made and what was there.

    Raises
    ------
    Invalid
        When ``path`` is a file, cannot be written to, or lies in somebody's state (``.git``, ``.dvc``).
    Conflict
        When the git repository is in the middle of a merge, a rebase or the like.
    """
    root = _folder(path)
    found = _has_git(root)
    if found:
        # Before anything is touched: the commit at the end would be refused.
        git.refuse_unfinished(root)
    made: list[str] = []
    before = _Before(root)
    try:
        return _make(root, found, tutorial, made)
    except BaseException:
        before.restore(made)
        raise


def _make(root: Path, has_git: bool, tutorial: bool, made: list[str]) -> InitReport:
    taken: list[str] = []
    notes: list[str] = []
    own: list[Path] = []

    if has_git:
        taken.append(_where("git repository", root, git.top(root) or root))
    else:
        git.init(root)
        made.append("git repository")
    top = git.top(root) or root
    dvc = dvc_root(root)
    if dvc is not None and dvc.is_relative_to(top):
        taken.append(_where("DVC", root, dvc))
        notes += _dvc_notes(dvc)
    else:
        _init_dvc(root, top)
        made.append("DVC")
        own += [root / name for name in _DVC_FILES]
    (taken if (root / STATE).is_dir() else made).append(f"state folder {STATE}/")
    (root / STATE).mkdir(mode=0o700, exist_ok=True)
    own += _ignore_state(root, made, taken, notes)
    own += _write_settings(root, made, taken, notes)
    if tutorial:
        own += _copy_notebooks(root, made, taken, notes)

    what = "Make this folder an mlinfra project" if settings.FILE in made else "Add to the mlinfra project"
    commit = git.commit_only(root, own, what, {}) if own else git.head(root)
    return InitReport(root=str(root), made=tuple(made), taken=tuple(taken), notes=tuple(notes), commit=commit)


def notebooks_dir() -> Path:
    """Where the tutorials and templates that come with this software are.

    In an installed wheel they lie in the package, in a checkout beside it.
    """
    package = Path(mlinfra_lab.__file__).resolve().parent
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if (folder / "templates").is_dir():
            return folder
    raise Failed(
        "The tutorials are not installed with this copy of mlinfra-lab.", "Install it again with pip."
    )


class _Before:
    """A folder as it was, so that what fails halfway leaves nothing behind."""

    def __init__(self, root: Path) -> None:
        self._root = root
        ours = (".git", ".dvc", ".dvcignore", STATE, settings.FILE)
        self._absent = [name for name in ours if not os.path.lexists(root / name)]
        ignore = root / ".gitignore"
        self._ignore = ignore.read_bytes() if ignore.is_file() else None

    def restore(self, made: list[str]) -> None:
        """Take away what is new; of the tutorials, those that stand in ``made``."""
        new = [name for name in self._absent if os.path.lexists(self._root / name)]
        # `dvc init` stages what it makes.
        staged = [name for name in new if name in (".dvc", ".dvcignore")]
        if staged and ".git" not in new:
            command = ["git", "-C", str(self._root), "rm", "-r", "-q", "-f", "--cached", "--ignore-unmatch"]
            subprocess.run(
                [*command, "--", *staged], env=git.environ(), capture_output=True, check=False, timeout=60
            )
        for name in new + [name for name in made if name.startswith("notebooks/")]:
            path = self._root / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        ignore = self._root / ".gitignore"
        if self._ignore is not None:
            ignore.write_bytes(self._ignore)
        elif ignore.is_file():
            ignore.unlink()


def _folder(path: str | os.PathLike[str]) -> Path:
    root = Path(path).expanduser().resolve()
    if root.exists() and not root.is_dir():
        raise Invalid(f"{root} is a file.", "A project is a folder: name one.")
    if root in (Path(root.anchor), Path.home().resolve()):
        raise Invalid(
            f"{root} cannot be a project: a project is a folder of its own.",
            f"Name one: mlinfra init {root / 'my-project'}",
        )
    inside = {".git", ".dvc", STATE} & set(root.parts)
    if inside:
        raise Invalid(
            f"{root} lies in {inside.pop()}, which is no place for a project.", "Name another folder."
        )
    for name, what in ((STATE, "folder"), (settings.FILE, "file")):
        there = root / name
        if os.path.lexists(there) and not (there.is_dir() if what == "folder" else there.is_file()):
            raise Invalid(
                f"{there} is no {what}, which it has to be in a project.", "Move it away, then try again."
            )
    try:
        root.mkdir(parents=True, exist_ok=True)
        # The permission bits do not tell everything (read-only mounts, root): try it.
        trial = root / f"{STATE}.trial"
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise Invalid(
            f"{root} cannot be written to: {error.strerror}.", "Make it writable, or name another folder."
        ) from error
    return root


def _where(what: str, root: Path, place: Path) -> str:
    return what if place == root else f"{what} of {os.path.relpath(place, root)}"


def _has_git(root: Path) -> bool:
    try:
        top = git.top(root)
    except Failed as error:
        if "must be run in a work tree" in error.message:
            raise Invalid(
                f"{root} lies in a bare git repository, which has no files of its own.",
                "Clone it, and make the clone a project; or name another folder.",
            ) from error
        raise
    # A folder that the repository around it ignores is none of that repository's business.
    return top is not None and (top == root or git.ignored(top, root) is None)


def _is_new(root: Path, path: Path) -> bool:
    return path.exists() and not git.tracked(root, path)


def _init_dvc(root: Path, top: Path) -> None:
    command = [sys.executable, "-m", "dvc", "init", "--quiet"] + (["--subdir"] if root != top else [])
    done = subprocess.run(
        command,
        cwd=root,
        env=git.environ() | {"DVC_NO_ANALYTICS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Failed(
            f"`dvc init` failed in {root}: {(done.stderr or done.stdout).strip()}",
            "Nothing was changed. Mend what DVC names, then try again.",
        )


def _dvc_notes(dvc: Path) -> list[str]:
    notes = []
    if git.changed(dvc, [dvc / name for name in _DVC_FILES]):
        notes.append("DVC's own files (.dvc/config and others) are not in git as they are here: commit them.")
    config = dvc / ".dvc" / "config"
    if config.exists() and re.search(r"no_scm\s*=\s*true", config.read_text(encoding="utf-8"), re.IGNORECASE):
        notes.append(
            "DVC is set up to do without git here and will not keep data out of git: "
            "`dvc config --unset core.no_scm` changes that."
        )
    return notes


def _ignore_state(root: Path, made: list[str], taken: list[str], notes: list[str]) -> list[Path]:
    file = root / ".gitignore"
    text = file.read_text(encoding="utf-8", errors="surrogateescape") if file.exists() else ""
    if _IGNORES & {line.strip() for line in text.splitlines()}:
        taken.append(f".gitignore with {_IGNORE}")
        return [file] if text.strip() == _IGNORE and _is_new(root, file) else []
    theirs = bool(text) and git.changed(root, [file])
    end = "" if not text or text.endswith("\n") else "\n"
    file.write_text(f"{text}{end}{_IGNORE}\n", encoding="utf-8", errors="surrogateescape")
    made.append(f"line {_IGNORE} in .gitignore")
    if theirs:
        notes.append(".gitignore has changes of yours, so it was not committed: commit it when you like.")
    return [] if theirs else [file]


def _write_settings(root: Path, made: list[str], taken: list[str], notes: list[str]) -> list[Path]:
    file = root / settings.FILE
    if file.exists():
        # A mistake in it is said now rather than by the next command.
        settings.load(root)
        taken.append(settings.FILE)
        return [file] if _is_new(root, file) else []
    uri = _find_mlflow(root, taken, notes)
    mlflow = _MLFLOW.format(uri=_quoted(uri)) if uri else ""
    beside = root / STATE / f"{settings.FILE}.new"
    beside.write_text(_SETTINGS.format(name=_quoted(root.name or "project"), mlflow=mlflow), encoding="utf-8")
    beside.replace(file)
    made.append(settings.FILE)
    return [file]


def _quoted(text: str) -> str:
    # A JSON string is a TOML string but for DEL, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _find_mlflow(root: Path, taken: list[str], notes: list[str]) -> str | None:
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if uri:
        if _holds_secret(uri):
            notes.append(
                "MLFLOW_TRACKING_URI holds a password, so it was not written into mlinfra.toml: set "
                "tracking_uri under [mlflow] without it, and give MLflow the password by "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
            )
            return None
        taken.append("MLflow store of MLFLOW_TRACKING_URI")
        return _relative(uri, root)
    if (root / "mlflow.db").is_file():
        taken.append("MLflow store mlflow.db")
        return "sqlite:///mlflow.db"
    if any((root / "mlruns").glob("*/meta.yaml")):
        taken.append("MLflow store mlruns/")
        notes.append(
            "mlruns/ is a store of files, which newer MLflow opens only with MLFLOW_ALLOW_FILE_STORE=true: "
            "`mlflow migrate-filestore` makes a database of it."
        )
        return "mlruns"
    return None


def _holds_secret(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        secret = parts.password
    except ValueError:
        return "@" in uri
    names = [name.lower() for name, _ in parse_qsl(parts.query)]
    return secret is not None or any(mark in name for name in names for mark in _SECRETS)


def _relative(uri: str, root: Path) -> str:
    """A store inside of the project by its place in it, so that the project can be moved.

    MLflow takes relative places from the working directory, the project takes them from its folder.
    """
    scheme = next((start for start in ("sqlite:///", "file://") if uri.startswith(start)), "")
    if not scheme and (":" in uri or uri.startswith("databricks")):
        return uri
    text, question, options = uri.removeprefix(scheme).partition("?")
    path = Path(text).resolve()
    place = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
    return f"sqlite:///{place}{question}{options}" if scheme == "sqlite:///" else place


def _copy_notebooks(root: Path, made: list[str], taken: list[str], notes: list[str]) -> list[Path]:
    source = notebooks_dir()
    copied: list[Path] = []
    for folder in ("tutorials", "templates"):
        for file in sorted((source / folder).rglob("*")):
            if not file.is_file() or "__pycache__" in file.parts or ".ipynb_checkpoints" in file.parts:
                continue
            name = Path("notebooks", file.relative_to(source))
            target = root / name
            content = file.read_bytes()
            if target.exists():
                taken.append(name.as_posix())
                if target.read_bytes() != content:
                    notes.append(
                        f"{name.as_posix()} differs from the one that comes with mlinfra-lab; it was kept."
                    )
                elif _is_new(root, target):
                    copied.append(target)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            made.append(name.as_posix())
            copied.append(target)
    return copied
