"""Reading dataset versions: opened, listed, compared; damaged, missing, unknown."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import pandas as pd
import pytest
from dataset_support import add_remote, edges, frame, objects, put, quiet, run, snapshot

from mlinfra_lab.data import cache, work
from mlinfra_lab.errors import Conflict, Failed, Invalid, NotFound, Unavailable
from mlinfra_lab.project import Project


def test_opening_gives_links_that_cannot_be_written(project: Project) -> None:
    put(project, "data/flights.parquet")
    snapshot(project, "data/flights.parquet")
    put(project, "data/flights.parquet", 20)
    snapshot(project, "data/flights.parquet")
    assert project.data.open("flights").version.ref == "flights@2"
    opened = project.data.open("flights@1")
    assert opened.path == project.state / "data" / "flights@1" / "flights.parquet"
    assert opened.files == [opened.path]
    assert opened.path.is_symlink()
    assert opened.path.stat().st_mode & 0o222 == 0
    pd.testing.assert_frame_equal(opened.to_pandas(), pd.read_parquet(opened.path))
    assert len(opened.to_dask()) == 10


def test_a_folder_of_many_formats_opens_as_one_table(project: Project) -> None:
    folder = put(project, "raw/a.parquet", 2).parent
    frame(4, 2).to_csv(folder / "b.csv", index=False)
    frame(6, 6).to_csv(folder / "c.csv.gz", index=False)
    frame(8, 12).to_feather(folder / "d.feather")
    (folder / "about.txt").write_text("about")
    version = snapshot(project, "raw", "raw")
    opened = project.data.open("raw")
    assert opened.path.is_dir()
    assert [file.name for file in opened.files] == [
        "a.parquet",
        "about.txt",
        "b.csv",
        "c.csv.gz",
        "d.feather",
    ]
    assert opened.to_pandas()["flight"].tolist() == list(range(20))
    assert opened.to_dask()["flight"].sum().compute() == 190
    assert version.rows == 20
    assert version.columns[0].mean == 9.5


def test_no_table_says_so(project: Project) -> None:
    (project.root / "model.bin").write_bytes(b"x")
    snapshot(project, "model.bin", "model")
    with pytest.raises(Invalid, match="is a table"):
        project.data.open("model").to_pandas()


def test_opening_again_mends_what_is_missing(project: Project) -> None:
    put(project, "raw/a.parquet")
    put(project, "raw/b.parquet", 20)
    snapshot(project, "raw", "raw")
    opened = project.data.open("raw@1")
    opened.files[0].unlink()
    # As a process leaves it that was killed while it made the links.
    (project.state / "data/.raw@1.new/half").mkdir(parents=True)
    assert len(project.data.open("raw@1").to_pandas()) == 30
    assert sorted(path.name for path in (project.state / "data").iterdir()) == [".raw@1.lock", "raw@1"]


def test_a_copied_project_reads_its_own_cache(project: Project, tmp_path: Path) -> None:
    put(project, "flights.parquet")
    snapshot(project, "flights.parquet")
    project.data.open("flights")
    shutil.copytree(project.root, tmp_path / "copy", symlinks=True)
    copied = Project(tmp_path / "copy")
    place = copied.data.open("flights").path
    assert place.resolve().is_relative_to(tmp_path / "copy")
    copied.close()


@pytest.mark.slow
def test_a_cache_elsewhere_is_found(project: Project, tmp_path: Path) -> None:
    elsewhere = tmp_path / "shared cache"
    local = project.root / ".dvc/config.local"
    local.write_text(f"[cache]\n    dir = {elsewhere}\n")
    put(project, "flights.parquet")
    snapshot(project, "flights.parquet")
    assert cache.cache_folder(project.root) == elsewhere == Path(run(project.root, "dvc", "cache", "dir"))
    assert project.data.open("flights").path.resolve().is_relative_to(elsewhere)
    local.write_text("[cache]\n    dir = ../sub/cache\n")
    assert cache.cache_folder(project.root) == Path(run(project.root, "dvc", "cache", "dir"))


def test_a_damaged_object_is_named(project: Project) -> None:
    put(project, "raw/a.parquet")
    put(project, "raw/b.parquet", 20)
    version = snapshot(project, "raw", "raw")
    (victim,) = (file for file in objects(project) if file.stat().st_size == _size(project, "raw/b.parquet"))
    victim.chmod(0o644)
    victim.write_bytes(victim.read_bytes()[:-1])
    victim.chmod(0o444)
    with pytest.raises(Failed, match=r"b\.parquet of raw@1 is damaged") as failed:
        project.data.open("raw@1")
    assert str(victim) in failed.value.message
    (listing,) = (file for file in objects(project) if file.name.endswith(".dir"))
    listing.chmod(0o644)
    listing.write_bytes(b"[]")
    with pytest.raises(Failed, match="list of the files in raw"):
        project.data.open(version.ref)


def _size(project: Project, name: str) -> int:
    return (project.root / name).stat().st_size


def test_a_damaged_object_is_not_taken_for_new_data(project: Project) -> None:
    put(project, "flights.parquet", 10)
    snapshot(project, "flights.parquet")
    (victim,) = objects(project)
    victim.chmod(0o644)
    victim.write_bytes(b"cut")
    victim.chmod(0o444)
    put(project, "flights.parquet", 20)
    snapshot(project, "flights.parquet")
    put(project, "flights.parquet", 10)
    with pytest.raises((Failed, Conflict)):
        snapshot(project, "flights.parquet")
    assert len(project.data.log("flights")) == 2


@pytest.mark.slow
def test_missing_objects_come_from_the_remote_or_are_named(project: Project, tmp_path: Path) -> None:
    put(project, "raw/a.parquet")
    put(project, "raw/b.parquet", 20)
    first = snapshot(project, "raw", "raw")
    shutil.rmtree(project.root / ".dvc/cache/files")
    report = quiet(project)
    with pytest.raises(Unavailable, match="raw@1"):
        work.fetch(project, {"name": "raw", "version": 1}, report)
    run(project.root, "dvc", "add", "-q", "raw")
    add_remote(project.root, tmp_path / "remote")
    run(project.root, "dvc", "push", "-q")
    put(project, "raw/b.parquet", 30)
    snapshot(project, "raw", "raw")
    shutil.rmtree(project.root / ".dvc/cache/files")
    assert work.fetch(project, {"name": "raw", "version": 1}, report) == first
    assert len(project.data.open("raw@1").to_pandas()) == 30
    with pytest.raises(Unavailable, match="raw@2"):
        work.fetch(project, {"name": "raw", "version": 2}, report)


def test_reading_in_a_job_is_recorded_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    put(project, "flights.parquet")
    version = snapshot(project, "flights.parquet")
    project.data.open("flights")
    monkeypatch.setenv("MLINFRA_JOB", "j1")
    project.data.open("flights")
    project.data.open("flights@1")
    assert edges(project, version)[1:] == [("dataset", "flights@1", "j1")]


def test_versions_are_listed_and_compared(project: Project) -> None:
    put(project, "flights.parquet", 10)
    snapshot(project, "flights.parquet")
    frame(20).assign(late=True).drop(columns="carrier").to_parquet(project.root / "flights.parquet")
    snapshot(project, "flights.parquet")
    put(project, "weather.parquet")
    snapshot(project, "weather.parquet", "weather")
    flights, weather = project.data.list()
    assert (flights.name, flights.versions, flights.latest.ref) == ("flights", 2, "flights@2")
    assert (weather.name, weather.versions) == ("weather", 1)
    assert [version.version for version in project.data.log("flights")] == [2, 1]
    diff = project.data.diff("flights@1", "flights")
    assert diff.rows == 10
    assert diff.size == diff.after.size - diff.before.size
    changed = {column.name: (column.before is None, column.after is None) for column in diff.columns}
    assert changed == {"flight": (False, False), "carrier": (False, True), "late": (True, False)}


def test_what_is_unknown_is_answered_with_what_is_near(project: Project) -> None:
    with pytest.raises(NotFound) as nothing:
        project.data.get("flights")
    assert "mlinfra data snapshot" in (nothing.value.hint or "")
    put(project, "flights.parquet")
    snapshot(project, "flights.parquet")
    with pytest.raises(NotFound) as near:
        project.data.log("fligths")
    assert near.value.hint == "Did you mean “flights”?"
    with pytest.raises(NotFound, match="no version 7") as newest:
        project.data.open("flights@7")
    assert "flights@1" in (newest.value.hint or "")
    for bad in ("flights@", "flights@0", "flights@x", "Flights", "a/b"):
        with pytest.raises(Invalid, match="no dataset version"):
            project.data.get(bad)


@pytest.mark.slow
def test_the_shell_and_notebooks_go_through_a_worker(project: Project, tmp_path: Path) -> None:
    put(project, "data/Flights 2013.parquet")
    version = project.data.snapshot("data/Flights 2013.parquet", message="January").wait(120)
    assert version.ref == "flights-2013@1"
    assert version.message == "January"
    assert version.created <= dt.datetime.now(dt.UTC)
    assert project.data.snapshot("data/Flights 2013.parquet").wait(120) == version
    add_remote(project.root, tmp_path / "remote")
    run(project.root, "dvc", "push", "-q")
    shutil.rmtree(project.root / ".dvc/cache/files")
    assert len(project.data.open("flights-2013").to_pandas()) == 10
