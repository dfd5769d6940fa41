"""Making dataset versions on real git and real DVC; read back with their own commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zc.lockfile
from dataset_support import add_remote, asked, edges, put, quiet, run, snapshot

from mlinfra_lab import git
from mlinfra_lab.data import work
from mlinfra_lab.errors import Conflict, Failed, Invalid
from mlinfra_lab.initialise import initialise
from mlinfra_lab.project import Project


def test_a_version_is_plain_dvc_and_one_commit(project: Project) -> None:
    put(project, "data/flights.parquet")
    (project.root / "mine").write_text("x")
    run(project.root, "git", "add", "mine")
    (project.root / "loose").write_text("x")
    version = snapshot(project, "data/flights.parquet", intent="t1")
    assert (version.ref, version.files, version.rows) == ("flights@1", 1, 10)
    assert version.size == (project.root / "data/flights.parquet").stat().st_size
    assert version.commit == run(project.root, "git", "rev-parse", "HEAD")
    files = run(project.root, "git", "show", "--name-only", "--format=%s%n%(trailers:key=Mlinfra-Intent)")
    assert files.split() == [
        "Dataset", "flights@1", "Mlinfra-Intent:", "t1", "data/.gitignore", "data/flights.parquet.dvc",
    ]  # fmt: skip
    assert run(project.root, "git", "status", "--porcelain").splitlines() == ["A  mine", "?? loose"]
    assert "up to date" in run(project.root, "dvc", "status")
    assert edges(project, version) == [("commit", version.commit, "flights@1")]


def test_unchanged_data_are_the_newest_version(project: Project) -> None:
    put(project, "flights.parquet")
    first = snapshot(project, "flights.parquet")
    assert snapshot(project, "flights.parquet") == first
    assert git.head(project.root) == first.commit


def test_data_that_come_back_are_a_new_version(project: Project) -> None:
    for number, rows in enumerate((10, 20, 10), 1):
        put(project, "flights.parquet", rows)
        assert snapshot(project, "flights.parquet").version == number
    one, _, three = reversed(project.data.log("flights"))
    assert one.md5 == three.md5
    assert one.commit != three.commit


def test_a_folder_is_one_dataset(project: Project) -> None:
    put(project, "data/raw/a.parquet", 10)
    put(project, "data/raw/deep/b.parquet", 6, start=5)
    (project.root / "data/raw/README.md").write_text("about\n")
    version = snapshot(project, "data/raw", "raw")
    assert version.md5.endswith(".dir")
    assert (version.files, version.rows) == (3, 16)
    flight, carrier = version.columns
    assert (flight.minimum, flight.maximum, flight.distinct, flight.mean) == ("0", "10", 11, 5.625)
    assert (carrier.distinct, carrier.nulls) == (2, 0)


def test_what_is_no_table_has_no_rows(project: Project) -> None:
    (project.root / "model.bin").write_bytes(b"\0\1")
    assert snapshot(project, "model.bin", "model").rows is None
    (project.root / "broken.parquet").write_bytes(b"PAR1 no more")
    assert snapshot(project, "broken.parquet", "broken").rows is None


def test_an_output_made_by_hand_is_taken_as_it_is(project: Project) -> None:
    put(project, "flights.parquet")
    run(project.root, "dvc", "add", "-q", "flights.parquet")
    files = [project.root / ".gitignore", project.root / "flights.parquet.dvc"]
    mine = git.commit_only(project.root, files, "By hand", {})
    version = snapshot(project, "flights.parquet")
    assert (version.version, version.commit) == (1, mine)
    assert git.head(project.root) == mine


@pytest.mark.slow
def test_a_project_in_a_subfolder_with_dvc_above(project: Project, tmp_path: Path) -> None:
    above = tmp_path / "above"
    shutil.copytree(project.root, above, ignore=shutil.ignore_patterns(".mlinfra", "mlinfra.toml"))
    report = initialise(above / "models" / "delay")
    assert "DVC of ../.." in report.taken
    inner = Project(above / "models" / "delay")
    put(inner, "data/flights.parquet")
    version = snapshot(inner, "data/flights.parquet")
    shown = run(above, "git", "show", "--name-only", "--format=", version.commit)
    assert shown.splitlines() == ["models/delay/data/.gitignore", "models/delay/data/flights.parquet.dvc"]
    assert "up to date" in run(above, "dvc", "status")
    assert len(inner.data.open("flights@1").to_pandas()) == 10
    add_remote(above, tmp_path / "remote")
    run(above, "dvc", "push", "-q")
    shutil.rmtree(above / ".dvc/cache/files")
    work.fetch(inner, {"name": "flights", "version": 1}, quiet(inner))
    assert len(inner.data.open("flights@1").to_pandas()) == 10
    inner.close()


@pytest.mark.parametrize("moment", ["data.added", "data.committed"])
def test_killed_on_the_way_it_makes_one_version(project: Project, moment: str) -> None:
    data = put(project, "flights.parquet", 10)
    args = asked("flights", "flights.parquet", "t1")
    code = (
        "import sys, json; from pathlib import Path; from mlinfra_lab.project import Project\n"
        "from mlinfra_lab.data import work; from mlinfra_lab.tasks import Report\n"
        "project = Project(sys.argv[1])\n"
        "work.snapshot(project, json.loads(sys.argv[2]), Report(project.state / 'r.json', lambda: False))"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, str(project.root), json.dumps(args)],
        env=os.environ | {"MLINFRA_FAULT": moment},
        check=False,
    )
    assert killed.returncode == -9
    assert project.data.list() == []
    before = git.head(project.root)
    if moment == "data.committed":
        # The commit stands for the data as they were, whatever has become of the file since.
        data.write_bytes(b"changed since")
    version = work.snapshot(project, args, quiet(project))
    assert (version.version, version.rows) == (1, 10)
    assert work.snapshot(project, args, quiet(project)) == version
    assert run(project.root, "git", "log", "--format=%s").splitlines().count("Dataset flights@1") == 1
    assert (version.commit == before) == (moment == "data.committed")


def test_two_datasets_at_once_wait_for_each_other(project: Project) -> None:
    put(project, "a.parquet", 10)
    put(project, "b.parquet", 20)
    with ThreadPoolExecutor(2) as pool:
        jobs = [asked(name, f"{name}.parquet", f"t-{name}") for name in "ab"]
        found = list(pool.map(lambda args: work.snapshot(project, args, quiet(project)), jobs))
    assert [version.ref for version in found] == ["a@1", "b@1"]
    assert run(project.root, "git", "status", "--porcelain") == ""


def test_somebody_elses_dvc_is_a_conflict(project: Project) -> None:
    put(project, "flights.parquet")
    (project.root / ".dvc/tmp").mkdir(exist_ok=True)
    lock = zc.lockfile.LockFile(str(project.root / ".dvc/tmp/lock"))
    try:
        with pytest.raises(Conflict, match="Another DVC process"):
            snapshot(project, "flights.parquet")
    finally:
        lock.close()
    assert snapshot(project, "flights.parquet").version == 1


def test_a_merge_is_refused_before_anything_is_done(project: Project) -> None:
    put(project, "flights.parquet")
    (project.root / ".git/MERGE_HEAD").write_text(git.head(project.root) or "")
    with pytest.raises(Conflict, match="a merge"):
        project.data.snapshot("flights.parquet")
    with pytest.raises(Conflict, match="a merge"):
        snapshot(project, "flights.parquet")
    assert not (project.root / "flights.parquet.dvc").exists()


def test_overlapping_outputs_are_conflicts(project: Project) -> None:
    put(project, "raw/a.parquet")
    snapshot(project, "raw", "raw")
    with pytest.raises(Conflict, match="lies in raw"):
        snapshot(project, "raw/a.parquet", "a")
    put(project, "deep/er/b.parquet")
    snapshot(project, "deep/er", "er")
    with pytest.raises(Conflict, match="overlap"):
        snapshot(project, "deep", "deep")


def test_data_that_git_ignores_are_said(project: Project) -> None:
    with (project.root / ".gitignore").open("a") as file:
        file.write("/data/\n")
    put(project, "data/flights.parquet")
    with pytest.raises(Conflict, match=r"\.gitignore:2:/data/"):
        project.data.snapshot("data/flights.parquet")
    with pytest.raises(Failed, match="ignored"):
        snapshot(project, "data/flights.parquet")


def test_a_link_inside_that_leads_out_is_refused(project: Project, tmp_path: Path) -> None:
    (tmp_path / "theirs.csv").write_text("a\n1\n")
    put(project, "data/table/mine.csv")
    link = project.root / "data/table/theirs.csv"
    link.symlink_to(tmp_path / "theirs.csv")
    with pytest.raises(Invalid, match=r"theirs\.csv, which is not in the project"):
        project.data.snapshot("data/table")
    (tmp_path / "theirs.csv").unlink()
    with pytest.raises(Invalid, match="not there"):
        project.data.snapshot("data/table")


# -- what is refused at once --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "name", "error", "match"),
    [
        ("nothing.csv", None, Invalid, "There is no"),
        ("../outside.csv", None, Invalid, "not in the project"),
        (".mlinfra/logs", None, Invalid, "own state"),
        (".dvc", None, Invalid, "own state"),
        (".", None, Invalid, "own state"),
        ("link.csv", None, Invalid, "is a link"),
        ("a.csv", "Flights!", Invalid, "no name"),
        ("a.csv", "flights@2", Invalid, "no name"),
        ("mlinfra.toml", None, Conflict, "git keeps"),
        ("a.csv", "taken", Conflict, "is b.csv, not a.csv"),
        ("b.csv", "other", Conflict, "“taken” already"),
    ],
)
def test_bad_requests(
    project: Project, path: str, name: str | None, error: type[Exception], match: str
) -> None:
    for file in ("a.csv", "b.csv", "../outside.csv"):
        (project.root / file).write_text("x\n1\n")
    (project.root / "link.csv").symlink_to("a.csv")
    snapshot(project, "b.csv", "taken")
    with pytest.raises(error, match=match):
        project.data.snapshot(path, name)
    assert project.tasks.list() == []
