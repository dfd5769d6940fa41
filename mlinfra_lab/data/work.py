"""What datasets need DVC, pyarrow, pandas and Dask for."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from filelock import FileLock, Timeout

from mlinfra_lab import faults, git
from mlinfra_lab.data import cache, store
from mlinfra_lab.errors import Conflict, Failed, Invalid, NotFound, Unavailable
from mlinfra_lab.schema.common import JSON, now
from mlinfra_lab.schema.data import Column, DatasetVersion

if TYPE_CHECKING:
    import dask.dataframe
    import pandas as pd
    from dvc.repo import Repo

    from mlinfra_lab.project import Project
    from mlinfra_lab.tasks import Report

log = logging.getLogger(__name__)

INTENT = "Mlinfra-Intent"
DATASET = "Mlinfra-Dataset"


class _Asked(msgspec.Struct):
    name: str
    path: str
    intent: str
    actor: str
    message: str | None = None


class _Output(NamedTuple):
    """What stands in a commit: the .dvc file, and the hash of our output in it."""

    commit: str
    dvc_file: Path
    md5: str


# -- making a version ---------------------------------------------------------------------------------


def snapshot(project: Project, args: JSON, report: Report) -> DatasetVersion:
    """Make a version of what stands at a path, or find that the newest one is just that.

    The commit carries the task's key as a trailer. After a crash the commit is looked for first, so that
    however often this runs, one key makes one version.
    """
    asked = msgspec.convert(args, _Asked)
    store.check_binding(project.storage, asked.name, asked.path)
    git.refuse_unfinished(project.root)
    dvc = cache.dvc_root(project.root)
    if dvc is None:
        raise Invalid(f"{project.root} is not set up for DVC.", "Run `mlinfra init` here.")
    with _turn(dvc, report):
        commit = git.find_trailer(project.root, INTENT, asked.intent)
        if commit is None:
            report(f"adding {asked.path} to DVC")
            output = _add_and_commit(project, dvc, asked)
        else:
            output = _committed(project.root, commit, asked.path)
    faults.point("data.committed")
    known = store.made_by(project.storage, asked.name, output.commit, output.md5)
    newest = store.get(project.storage, asked.name, None)
    if known is not None or (newest is not None and newest.md5 == output.md5):
        return known or newest  # type: ignore[return-value]  # one of them it is
    files = _entries(dvc, output.md5, asked.path)
    rows, columns = _statistics(asked.path, files, report)
    with project.storage.unit(asked.actor) as unit:
        version = DatasetVersion(
            dataset=asked.name,
            version=store.next_version(unit, asked.name),
            path=asked.path,
            md5=output.md5,
            commit=output.commit,
            files=len(files),
            size=cache.total(files),
            rows=rows,
            columns=columns,
            message=asked.message,
            created=now(),
            created_by=asked.actor,
        )
        store.add(unit, version, Path(os.path.relpath(output.dvc_file, project.root)).as_posix())
    return version


@contextlib.contextmanager
def _turn(dvc: Path, report: Report) -> Iterator[None]:
    # DVC's own lock gives up after three seconds. Our workers wait for each other, and only a `dvc`
    # that somebody else runs is a conflict.
    tmp = dvc / ".dvc" / "tmp"
    tmp.mkdir(exist_ok=True)
    lock = FileLock(tmp / "mlinfra.lock")
    while True:
        try:
            lock.acquire(timeout=0.5)
            break
        except Timeout:
            report("waiting for another dataset")
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _dvc(root: Path, what: str) -> Iterator[Repo]:
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    from dvc.exceptions import DvcException, OutputDuplicationError, OverlappingOutputPathsError
    from dvc.lock import LockError
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            # What to do with git next is for people at a shell to read.
            repo.scm_context.quiet = True
            yield repo
    except LockError as error:
        raise Conflict(
            f"Another DVC process is at work in {root}.",
            f"Wait until it has ended; if none is running, remove {root / '.dvc' / 'tmp' / 'lock'}.",
        ) from error
    except (OverlappingOutputPathsError, OutputDuplicationError) as error:
        raise Conflict(f"{what}: {error}") from error
    except DvcException as error:
        raise Failed(
            f"{what}: {str(error).rstrip('.')}.", "The same with `dvc` in a shell may tell more."
        ) from error
    except OSError as error:
        raise Failed(f"{what}: {error.strerror or error}: {error.filename}.") from error


def _add_and_commit(project: Project, dvc: Path, asked: _Asked) -> _Output:
    data = project.root / asked.path
    began = now().timestamp()
    with _dvc(project.root, f"DVC cannot add {asked.path}") as repo:
        from dvc.exceptions import OutputNotFoundError

        with contextlib.suppress(OutputNotFoundError):
            (known,) = repo.find_outs_by_path(str(data), strict=False)
            if Path(known.fs_path) != data:
                raise Conflict(
                    f"{asked.path} lies in {known}, which DVC keeps as one.", "Make a version of that folder."
                )
        (stage,) = repo.add(str(data))
        (out,) = (out for out in stage.outs if Path(out.fs_path) == data)
        dvc_file, md5 = Path(stage.path), str(out.hash_info.value)
    for entry in _entries(dvc, md5, asked.path):
        # DVC reads a file once to hash and once to keep it. Were it written to in between, an object
        # with the wrong bytes would stay in the cache for good.
        if entry.path.stat().st_ctime >= began - 1 and not cache.intact(entry):
            entry.path.unlink()
            raise Conflict(
                f"{entry.name} was written to while DVC read it.",
                "Make the version when the writing has ended.",
            )
    faults.point("data.added")
    newest = store.get(project.storage, asked.name, None)
    number = newest.version + (newest.md5 != md5) if newest else 1
    ref = f"{asked.name}@{number}"
    commit = git.commit_only(
        project.root,
        [dvc_file, data.parent / ".gitignore"],
        f"Dataset {ref}" + (f"\n\n{asked.message}" if asked.message else ""),
        {DATASET: ref, INTENT: asked.intent},
    )
    return _Output(commit, dvc_file, md5)


def _committed(root: Path, commit: str, path: str) -> _Output:
    """What an earlier attempt committed, whatever the work tree says by now."""
    for file in git.changed_in(root, commit):
        content = git.show(root, commit, file) if file.suffix == ".dvc" else None
        if content is None:
            continue
        stage = msgspec.yaml.decode(content)
        base = file.parent / stage.get("wdir", ".")
        for out in stage.get("outs", []):
            if os.path.normpath(base / out["path"]) == str(root / path):
                return _Output(commit, file, out["md5"])
    raise Failed(f"Commit {commit[:12]} says that it holds {path}, and does not.")


def _entries(dvc: Path, md5: str, path: str) -> list[cache.Entry]:
    folder = cache.cache_folder(dvc)
    try:
        return cache.entries(folder, md5, Path(path).name)
    except cache.Missing as missing:
        raise Failed(
            f"DVC's cache {folder} lacks {missing.names[0]} of {path}.",
            "Run `dvc fetch`, or add the data again.",
        ) from missing


def _statistics(
    path: str, files: Sequence[cache.Entry], report: Report
) -> tuple[int | None, tuple[Column, ...]]:
    from mlinfra_lab.data.statistics import describe
    from mlinfra_lab.data.tables import NotTable, is_table

    tables = [(entry.name, entry.path) for entry in files if is_table(entry.name)]
    if not tables:
        return None, ()
    try:
        return describe(tables, lambda name, rows: report(f"rows of {name}", rows))
    except NotTable as error:
        # The data are what they are and get their version; only the statistics are missing.
        log.warning("%s: %s", path, error)
        return None, ()


# -- reading a version --------------------------------------------------------------------------------


def fetch(project: Project, args: JSON, report: Report) -> DatasetVersion:
    """Bring a version's objects from DVC's remote into its cache.

    Raises
    ------
    Unavailable
        When no remote has them.
    """
    version = store.get(project.storage, args["name"], args["version"])
    top = git.top(project.root)
    if version is None or top is None:
        raise NotFound(f"There is no dataset version {args['name']}@{args['version']}.")
    dvc = cache.dvc_root(project.root)
    if dvc is None:
        raise Invalid(f"{project.root} is not set up for DVC.", "Run `mlinfra init` here.")
    what = f"{version.ref} is not in DVC's cache, and DVC cannot fetch it"
    with _turn(dvc, report):
        report(f"fetching {version.ref}")
        try:
            with _dvc(project.root, what) as repo:
                # DVC looks a target up in the commit's tree, whose root is the repository's; the commit's
                # configuration knows nothing of a remote that was set up since.
                target = "/" + (project.root / version.path).relative_to(top).as_posix()
                remotes = {part: dict(repo.config[part]) for part in ("core", "remote")}
                repo.fetch(targets=[target], revs=[version.commit], workspace=False, config=remotes)
        except Failed as error:
            raise Unavailable(error.message, "Name a remote that has it (`dvc remote list`).") from error
    try:
        files = cache.entries(cache.cache_folder(dvc), version.md5, Path(version.path).name)
    except cache.Missing as missing:
        raise Unavailable(
            f"{missing.names[0]} of {version.ref} is neither in DVC's cache nor in a remote.",
            "Name a remote that has it (`dvc remote list`), or restore the cache from a copy.",
        ) from missing
    cache.check(files, version.files, version.size, version.ref)
    return version


def to_pandas(ref: str, files: Sequence[Path]) -> pd.DataFrame:
    """All tables among ``files``, one below the other."""
    import pandas as pd

    read = {".parquet": pd.read_parquet, ".feather": pd.read_feather, ".arrow": pd.read_feather}
    frames = [read.get(file.suffix.lower(), pd.read_csv)(file) for file in _tables(ref, files)]
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def to_dask(ref: str, files: Sequence[Path]) -> dask.dataframe.DataFrame:
    """All tables among ``files`` as one Dask dataframe."""
    import dask.dataframe
    import pandas as pd

    dd: Any = dask.dataframe
    tables = [str(file) for file in _tables(ref, files)]

    def ending(*suffixes: str) -> list[str]:
        return [table for table in tables if table.lower().endswith(suffixes)]

    frames = []
    if some := ending(".parquet"):
        frames.append(dd.read_parquet(some))
    if some := ending(".csv"):
        frames.append(dd.read_csv(some))
    if some := ending(".csv.gz"):
        frames.append(dd.read_csv(some, blocksize=None))
    if some := ending(".feather", ".arrow"):
        frames.append(dd.from_map(pd.read_feather, some))
    whole: dask.dataframe.DataFrame = frames[0] if len(frames) == 1 else dd.concat(frames)
    return whole


def _tables(ref: str, files: Sequence[Path]) -> list[Path]:
    from mlinfra_lab.data.tables import is_table

    tables = [file for file in files if is_table(file.name)]
    if not tables:
        raise Invalid(f"None of the files of {ref} is a table.", "Read its `.files` yourself.")
    return tables
