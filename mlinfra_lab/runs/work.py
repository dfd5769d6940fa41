"""What needs MLflow itself: making its store, asking stores that only its client can read."""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from mlinfra_lab.errors import Conflict, Failed, Invalid, NotFound, Unavailable
from mlinfra_lab.runs.service import FILE, MARK, Found, Prepared, RunsService
from mlinfra_lab.runs.store import JOB_TAG, moment
from mlinfra_lab.schema.common import JSON
from mlinfra_lab.schema.data import DatasetVersion
from mlinfra_lab.schema.runs import LoggedModel, Run
from mlinfra_lab.tasks import Report

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

    from mlinfra_lab.project import Project

_PREFIX_PAGE = 1000


@contextmanager
def translated() -> Iterator[None]:
    """MLflow's errors as ours."""
    from mlflow.exceptions import MlflowException

    kinds = {
        "RESOURCE_DOES_NOT_EXIST": NotFound,
        "INVALID_PARAMETER_VALUE": Invalid,
        "RESOURCE_ALREADY_EXISTS": Conflict,
        "TEMPORARILY_UNAVAILABLE": Unavailable,
    }
    try:
        yield
    except MlflowException as error:
        raise kinds.get(error.error_code, Failed)(f"MLflow: {error.message}") from error


def client(runs: RunsService) -> MlflowClient:
    """MLflow's client for the project's store; plain MLflow code in this process uses it from now on."""
    os.environ.update(runs.environment())
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=runs.tracking_uri, registry_uri=runs.registry_uri)


def log_input(version: DatasetVersion, context: str) -> None:
    """See `RunsService.log_input`."""
    import mlflow
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.exceptions import MlflowException

    if mlflow.active_run() is None:
        raise Conflict("No MLflow run is active.", "Call it in `with mlflow.start_run():`.")
    source = CodeDatasetSource({"path": version.path, "commit": version.commit})
    dataset = MetaDataset(source, name=version.ref, digest=version.md5)
    try:
        mlflow.log_input(dataset, context=context)
    except MlflowException as error:
        # MLflow looks whether it knows the dataset and then inserts it: somebody else was in between,
        # and now it is known.
        if "datasets.digest" not in str(error) and "dataset_pk" not in str(error):
            raise
        mlflow.log_input(dataset, context=context)


# -- making the store -------------------------------------------------------------------------------


def prepare_store(project: Project, args: JSON, report: Report) -> Prepared:
    """Make the project's store and experiment where they are not; see `RunsService.prepare`."""
    runs = project.runs
    # Several processes may come here at once; MLflow's migrations do not expect that.
    with FileLock(project.state / "mlflow.lock"), translated():
        report("MLflow's store")
        if runs.is_own:
            _make(project.state / FILE, runs)
        _make_experiment(client(runs), runs)
        if runs.is_own:
            _analyze(project.state / FILE)
        (project.state / MARK).write_text(runs.mark(), encoding="utf-8")
    return Prepared(tracking_uri=runs.tracking_uri, experiment=runs.experiment)


def _make(path: Path, runs: RunsService) -> None:
    os.environ.update(runs.environment())
    if path.exists():
        _upgrade(path)
        return
    # Made beside and then put in place: nobody ever reads a store whose tables are half there.
    beside = path.with_name(f"{path.name}.new")
    _remove(beside)
    _initialise(f"sqlite:///{beside}", str(runs.artifacts))
    connection = sqlite3.connect(beside)
    try:
        # Readers (our tables) and writers (notebooks) do not wait for one another.
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()
    # Where somebody's MLflow made it meanwhile, what it wrote counts.
    with suppress(FileExistsError):
        os.link(beside, path)
    _remove(beside)


def _initialise(uri: str, artifacts: str) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # Told the artifact root, MLflow gives the experiment “Default” a place there and not in ./mlruns.
    SqlAlchemyStore(uri, artifacts).engine.dispose()


def _upgrade(path: Path) -> None:
    """Bring the project's own store to the schema of the installed MLflow, keeping a copy."""
    from mlflow.store.db import utils

    engine = utils.create_sqlalchemy_engine(f"sqlite:///{path}")
    try:
        revision = utils._get_schema_version(engine)
        if revision == utils._get_latest_schema_revision():
            return
        copy = path.with_name(f"{path.name}.{revision}")
        _remove(copy)
        connection = sqlite3.connect(path)
        try:
            connection.execute("VACUUM INTO ?", (str(copy),))
        finally:
            connection.close()
        utils._upgrade_db(engine)
    finally:
        engine.dispose()


def _make_experiment(mlflow: MlflowClient, runs: RunsService) -> None:
    there = mlflow.get_experiment_by_name(runs.experiment)
    if there is None:
        # One level below, where MLflow's own experiments have their numbers: a name may hold a slash.
        place = None
        if runs.artifacts is not None:
            place = str(runs.artifacts / _folder_name(runs.experiment))
        mlflow.create_experiment(runs.experiment, artifact_location=place)
    elif there.lifecycle_stage != "active":
        raise Conflict(
            f"The project's MLflow experiment “{runs.experiment}” was deleted.",
            f"Restore it (mlflow experiments restore --experiment-id {there.experiment_id}), or name another"
            " one as `experiment` under [mlflow] in mlinfra.toml.",
        )


def _folder_name(experiment: str) -> str:
    letters = (letter if letter.isalnum() or letter in "-_." else "_" for letter in experiment)
    return "".join(letters).strip(".") or "_"


def _analyze(path: Path) -> None:
    # Without statistics SQLite orders runs by a metric eighty times slower.
    connection = sqlite3.connect(path, timeout=30)
    try:
        connection.execute("ANALYZE")
        connection.commit()
    finally:
        connection.close()


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


# -- stores that are not SQLite files ---------------------------------------------------------------


def search(project: Project, args: JSON, report: Report) -> Found:
    """Runs by ``limit`` and ``experiment``, by ``job``, or by ``id`` (full or its beginning)."""
    mlflow = client(project.runs)
    with translated():
        report("Asking MLflow")
        if "id" in args:
            runs = _by_id(mlflow, args["id"])
        elif "job" in args:
            query = f"tags.`{JOB_TAG}` = '{args['job']}'"
            runs = mlflow.search_runs(_experiments(mlflow, None), query, order_by=["start_time ASC"])
        else:
            runs = mlflow.search_runs(_experiments(mlflow, args["experiment"]), max_results=args["limit"])
        names = {id: mlflow.get_experiment(id).name for id in {run.info.experiment_id for run in runs}}
    found = [_run(run, names[run.info.experiment_id]) for run in runs]
    nan = {run.id: [name for name, value in run.metrics.items() if math.isnan(value)] for run in found}
    return Found(runs=found, nan={id: metrics for id, metrics in nan.items() if metrics})


def logged_models(project: Project, args: JSON, report: Report) -> list[LoggedModel]:
    """The models that the run ``args["run"]`` logged, oldest first."""
    mlflow = client(project.runs)
    with translated():
        run = mlflow.get_run(args["run"])
        found = mlflow.search_logged_models(
            [run.info.experiment_id],
            filter_string=f"source_run_id = '{run.info.run_id}'",
            order_by=[{"field_name": "creation_time", "ascending": True}],
        )
    return [
        LoggedModel(
            id=model.model_id,
            name=model.name,
            created=moment(model.creation_timestamp),
            location=model.artifact_location,
            run=model.source_run_id,
        )
        for model in found
    ]


def close_runs(project: Project, args: JSON, report: Report) -> list[str]:
    """End the runs of a job that was lost, cancelled or ran out of time.

    A killed notebook leaves its runs ``RUNNING`` for ever. ``args``: ``job``, and ``status``, MLflow's word
    (``KILLED`` or ``FAILED``).

    Returns
    -------
    list of str
        Ids of the runs that were ended.
    """
    if project.runs.reads_directly:
        # Most such jobs left no run behind: that is seen without importing MLflow.
        left = [run.id for run in project.runs.of_job(args["job"]) if run.status == "RUNNING"]
        if not left:
            return []
    mlflow = client(project.runs)
    ended = []
    with translated():
        query = f"tags.`{JOB_TAG}` = '{args['job']}' AND attributes.status = 'RUNNING'"
        for run in mlflow.search_runs(_experiments(mlflow, None), query):
            mlflow.set_terminated(run.info.run_id, args.get("status", "KILLED"))
            ended.append(run.info.run_id)
    return ended


def _experiments(mlflow: MlflowClient, name: str | None) -> list[str]:
    if name is None:
        return [found.experiment_id for found in mlflow.search_experiments()]
    there = mlflow.get_experiment_by_name(name)
    return [] if there is None else [there.experiment_id]


def _by_id(mlflow: MlflowClient, id: str) -> list[MlflowRun]:
    from mlflow.exceptions import MlflowException

    try:
        return [mlflow.get_run(id)]
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
    # Not every kind of store can search ids by their beginning, so the newest are looked through.
    newest = mlflow.search_runs(_experiments(mlflow, None), max_results=_PREFIX_PAGE)
    return [run for run in newest if run.info.run_id.startswith(id)]


def _run(run: MlflowRun, experiment: str) -> Run:
    info, data = run.info, run.data
    return Run(
        id=info.run_id,
        name=info.run_name or "",
        experiment=experiment,
        status=info.status,
        started=None if info.start_time is None else moment(info.start_time),
        ended=None if info.end_time is None else moment(info.end_time),
        params=dict(sorted(data.params.items())),
        metrics=dict(sorted(data.metrics.items())),
        tags=dict(sorted(data.tags.items())),
        job=data.tags.get(JOB_TAG),
    )
