"""The operations on datasets."""

from __future__ import annotations

import builtins
import difflib
import os
import re
from collections.abc import Callable
from pathlib import Path

from mlinfra_lab import git
from mlinfra_lab.data import cache, store
from mlinfra_lab.data.opened import OpenDataset
from mlinfra_lab.errors import Conflict, Failed, Invalid, NotFound
from mlinfra_lab.schema.data import ColumnChange, Dataset, DatasetDiff, DatasetVersion
from mlinfra_lab.storage import Storage
from mlinfra_lab.storage.unit import new_id
from mlinfra_lab.tasks import TaskRef, TasksService

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*\Z")
_SUFFIXES = re.compile(r"(\.csv\.gz|\.[a-z0-9]+)\Z")


class DataService:
    """Datasets and their versions.

    Parameters
    ----------
    root, state
        The project's folder and its state folder.
    storage, tasks
        Its rows and its queue.
    job
        Tells the id of the job this process belongs to, if any: what it opens is recorded.
    actor
        Who acts.
    """

    def __init__(
        self,
        root: Path,
        state: Path,
        storage: Storage,
        tasks: TasksService,
        job: Callable[[], str | None],
        actor: str,
    ) -> None:
        self._root = root
        self._state = state
        self._storage = storage
        self._tasks = tasks
        self._job = job
        self._actor = actor

    # -- making versions --------------------------------------------------------------------------

    def snapshot(
        self, path: str | os.PathLike[str], name: str | None = None, message: str | None = None
    ) -> TaskRef[DatasetVersion]:
        """Make a version of a file or folder: DVC keeps the data, one git commit names them.

        Parameters
        ----------
        path
            A file or folder of the project; relative to the working directory, or else to the project.
        name
            The dataset's name; by default the one the path has, else made from the file's name.
        message
            What this version is; becomes the body of the commit.

        Returns
        -------
        TaskRef
            Gives the new version, or the newest when the data are just those.

        Raises
        ------
        Invalid
            No such file, a place outside of the project, a name that cannot be one.
        Conflict
            The name belongs to another path; git tracks the data; a merge is unfinished.
        """
        relative = self._data_path(path)
        name = self._name_for(relative) if name is None else name
        if not NAME.match(name):
            raise Invalid(
                f"“{name}” is no name for a dataset.",
                "Use a-z, 0-9, “.”, “_” and “-”, with a letter or a figure first.",
            )
        store.check_binding(self._storage, name, relative)
        git.refuse_unfinished(self._root)
        git.refuse_detached(self._root)
        if git.tracked(self._root, self._root / relative):
            raise Conflict(
                f"git keeps {relative} itself, so DVC cannot.",
                f"Take it out of git, not off the disk: git rm -r --cached '{relative}'; then commit.",
            )
        if rule := git.ignored(self._root, self._root / f"{relative}.dvc"):
            raise Conflict(
                f"git ignores {relative}.dvc ({rule}), which says which data a commit has.",
                f"Take that rule out: DVC itself keeps {relative} out of git.",
            )
        # The task's own id is what the commit will carry: whoever reads the trailer finds the task.
        task = new_id("t")
        args = {"name": name, "path": relative, "message": message, "actor": self._actor, "intent": task}
        return self._tasks.submit(
            "mlinfra_lab.data.work:snapshot", f"data:{name}", args, DatasetVersion, id=task
        )

    def _data_path(self, path: str | os.PathLike[str]) -> str:
        named = Path(path).expanduser()
        here = Path(os.path.normpath(named.absolute()))
        mine = here.exists() and here.resolve().is_relative_to(self._root)
        given = here if mine or named.is_absolute() else Path(os.path.normpath(self._root / named))
        if not given.exists():
            raise Invalid(f"There is no {given}.", "Paths are relative to here, or to the project's folder.")
        if given.is_symlink():
            raise Invalid(
                f"{given} is a link to {given.resolve()}.",
                "Name the file itself; it must lie in the project.",
            )
        full = given.resolve()
        if not full.is_relative_to(self._root):
            raise Invalid(f"{full} is not in the project {self._root}.", "Copy or move the data into it.")
        inner = full.relative_to(self._root)
        own = {".git", ".dvc", self._state.name} & set(inner.parts)
        if own or self._state.is_relative_to(full):
            raise Invalid(f"{full} holds the project's own state and is no data.")
        if not (full.is_file() or full.is_dir()):
            raise Invalid(f"{full} is neither a file nor a folder.")
        self._refuse_links_out(full)
        return inner.as_posix()

    def _refuse_links_out(self, folder: Path) -> None:
        """DVC follows links: one that leads out would make somebody else's file part of the data."""
        for above, folders, files in os.walk(folder):
            for name in (*folders, *files):
                path = Path(above, name)
                if not path.is_symlink():
                    continue
                target = path.resolve()
                if not target.exists():
                    raise Invalid(f"{path} is a link to {target}, which is not there.", "Remove the link.")
                if not target.is_relative_to(self._root):
                    raise Invalid(
                        f"{path} is a link to {target}, which is not in the project.",
                        "Copy the file in its place.",
                    )

    def _name_for(self, path: str) -> str:
        for dataset in store.datasets(self._storage):
            if dataset.path == path:
                return dataset.name
        last = _SUFFIXES.sub("", Path(path).name.lower())
        return re.sub(r"[^a-z0-9._-]+", "-", last).strip("-._") or last

    # -- reading versions -------------------------------------------------------------------------

    def open(self, ref: str) -> OpenDataset:
        """Open a version for reading; in a job this is recorded.

        Parameters
        ----------
        ref
            ``flights@1``, or ``flights`` for the newest version.

        Raises
        ------
        NotFound
            No such dataset or version.
        Unavailable
            The data are neither in DVC's cache nor in a remote.
        Failed
            An object in DVC's cache is damaged.
        """
        opened = self.checkout(_pinned(ref))
        job = self._job()
        if job is not None and not store.was_read(self._storage, opened.version, job):
            with self._storage.unit(self._actor) as unit:
                unit.link("dataset", opened.version.ref, "job", job, "read")
        return opened

    def checkout(self, ref: str) -> OpenDataset:
        """The files of a version beside the project, see `open`; nothing is recorded."""
        version = self.get(ref)
        dvc = self._dvc()
        folder, name = cache.cache_folder(dvc), Path(version.path).name
        try:
            files = cache.entries(folder, version.md5, name)
        except cache.Missing:
            self._tasks.submit(
                "mlinfra_lab.data.work:fetch",
                f"data:{version.dataset}",
                {"name": version.dataset, "version": version.version},
                DatasetVersion,
            ).wait()
            files = cache.entries(folder, version.md5, name)
        cache.check(files, version.files, version.size, version.ref)
        place = self._state / "data" / version.ref
        cache.link(place, files, dvc)
        path = place if version.md5.endswith(".dir") else place / name
        return OpenDataset(version, path, [place / entry.name for entry in files])

    def lost(self, ref: str) -> builtins.list[str]:
        """Names of a version's files that DVC's cache lacks; a remote may have them."""
        version = self.get(ref)
        folder = cache.cache_folder(self._dvc())
        try:
            cache.entries(folder, version.md5, Path(version.path).name)
        except cache.Missing as missing:
            return builtins.list(missing.names)
        return []

    def _dvc(self) -> Path:
        dvc = cache.dvc_root(self._root)
        if dvc is None:
            raise Failed(f"{self._root} is not set up for DVC any more.", "Run `mlinfra init` here.")
        return dvc

    def list(self) -> list[Dataset]:
        """All datasets, by name."""
        return store.datasets(self._storage)

    def log(self, name: str) -> builtins.list[DatasetVersion]:
        """All versions of a dataset, newest first.

        Raises
        ------
        NotFound
            No such dataset.
        """
        found = store.versions(self._storage, name)
        if not found:
            raise self._unknown(name)
        return found

    def get(self, ref: str) -> DatasetVersion:
        """One version: ``flights@1``, or ``flights`` for the newest.

        Raises
        ------
        Invalid
            When ``ref`` is not written like that.
        NotFound
            No such dataset or version.
        """
        name, at, text = ref.partition("@")
        if not NAME.match(name) or (at and not re.fullmatch(r"[1-9][0-9]{0,8}", text)):
            raise Invalid(f"“{ref}” names no dataset version.", "Write it like “flights@1” or “flights”.")
        version = store.get(self._storage, name, int(text) if at else None)
        if version is not None:
            return version
        newest = store.get(self._storage, name, None)
        if newest is None:
            raise self._unknown(name)
        raise NotFound(
            f"The dataset “{name}” has no version {text}.",
            f"Its newest is {newest.ref}; see `mlinfra data log {name}`.",
        )

    def diff(self, a: str, b: str) -> DatasetDiff:
        """What differs from version ``a`` to version ``b``.

        Returns
        -------
        DatasetDiff
            ``rows`` and ``size`` (bytes) are those of ``b`` minus those of ``a``.
        """
        before, after = self.get(a), self.get(b)
        old = {column.name: column for column in before.columns}
        new = {column.name: column for column in after.columns}
        changes = [
            ColumnChange(name=name, before=old.get(name), after=new.get(name))
            for name in old | new
            if old.get(name) != new.get(name)
        ]
        known = before.rows is not None and after.rows is not None
        return DatasetDiff(
            before=before,
            after=after,
            rows=(after.rows or 0) - (before.rows or 0) if known else None,
            size=after.size - before.size,
            columns=tuple(changes),
        )

    def _unknown(self, name: str) -> NotFound:
        names = [dataset.name for dataset in store.datasets(self._storage)]
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        if near:
            hint = "Did you mean " + " or ".join(f"“{one}”" for one in near) + "?"
        elif names:
            hint = "There are: " + ", ".join(names[:20]) + "."
        else:
            hint = "There is none yet; make one: `mlinfra data snapshot PATH`."
        return NotFound(f"There is no dataset “{name}”.", hint)


def _pinned(ref: str) -> str:
    """In a reproduction, a name without a version is the version that was read the first time."""
    pins = (one for one in os.environ.get("MLINFRA_DATA", "").split() if one.rpartition("@")[0] == ref)
    return next(pins, ref)
