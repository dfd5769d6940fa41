"""Fetching a revision's baseline from the run that logged its model."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import msgspec

from mlinfra_lab.errors import Failed, Invalid, NotFound
from mlinfra_lab.monitoring import store
from mlinfra_lab.monitoring.baselines import ARTIFACT, LARGEST, decode
from mlinfra_lab.schema.common import JSON
from mlinfra_lab.schema.endpoints import Revision
from mlinfra_lab.schema.monitoring import Baseline
from mlinfra_lab.tasks import Report

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mlinfra_lab.project import Project

_HINT = (
    "Until then the endpoint is held against its first rows; log it again with project.monitoring.profile."
)


def baseline(project: Project, args: JSON, report: Report) -> JSON:
    """Keep what a revision was trained on, so that its traffic can be held against it.

    Parameters
    ----------
    args
        ``endpoint`` and ``number`` of the revision.

    Returns
    -------
    JSON
        ``source``: where it came from, ``None`` when the model brought none.

    Raises
    ------
    Invalid
        There is a file, and it is no baseline, or one of another model.
    Failed
        MLflow does not give it out.

    Notes
    -----
    Done again it changes nothing: rows may be counted into the cells of the one that is there.
    """
    name, number = args["endpoint"], args["number"]
    revision = project.endpoints.revision(name, number)
    with project.storage.read() as connection:
        known = store.baseline_of(connection, name, number)
    if known is not None:
        return {"source": known.source}
    report("Looking for the baseline")
    run, data = _fetch(project, revision)
    if data is None:
        return {"source": None}
    try:
        found = fitting(decode(data), [column.name for column in revision.columns])
    except Invalid as error:
        raise Invalid(f"{ARTIFACT} of run {run} cannot be used. {error.message}", _HINT) from error
    found = msgspec.structs.replace(found, source=f"run:{run}")
    with project.storage.unit(revision.created_by) as unit:
        store.put_baseline(unit, name, number, found)
    return {"source": found.source}


def fitting(found: Baseline, columns: Collection[str]) -> Baseline:
    """A baseline with nothing but columns that the model is asked with; as it is when those are not known.

    Raises
    ------
    Invalid
        It has none of them, so it is of another model.
    """
    if not columns or not found.columns:
        return found
    here = [place for place, cells in enumerate(found.columns) if cells.name in columns]
    if not here:
        theirs = ", ".join(cells.name for cells in found.columns[:5])
        raise Invalid(f"It has none of the model's columns (but {theirs}).")
    return msgspec.structs.replace(
        found,
        columns=tuple(found.columns[place] for place in here),
        counts=tuple(found.counts[place] for place in here),
        effects=tuple(found.effects[place] for place in here),
    )


def _fetch(project: Project, revision: Revision) -> tuple[str | None, bytes | None]:
    """The run that made a revision's model, and its baseline's file; ``None`` for what there is not."""
    # What libraries read from the environment they read late, so it has to stand there.
    os.environ.update(project.runs.environment() | {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"})
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    mlflow = MlflowClient(tracking_uri=project.runs.tracking_uri, registry_uri=project.runs.registry_uri)
    try:
        run = _run(project, mlflow, revision)
        if run is None:
            return None, None
        folder = str(PurePosixPath(ARTIFACT).parent)
        file = next((one for one in mlflow.list_artifacts(run, folder) if one.path == ARTIFACT), None)
        if file is None or file.is_dir:
            return run, None
        if (file.file_size or 0) > LARGEST:
            raise Invalid(
                f"{ARTIFACT} of run {run} has {file.file_size:,} bytes; at most {LARGEST:,}.", _HINT
            )
        with tempfile.TemporaryDirectory(prefix="baseline-", dir=project.state / "run") as place:
            got = Path(mlflow.download_artifacts(run, ARTIFACT, place))
            if got.stat().st_size > LARGEST:
                raise Invalid(f"{ARTIFACT} of run {run} is too large; at most {LARGEST:,} bytes.", _HINT)
            return run, got.read_bytes()
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None, None  # the run was deleted, its model was not
        raise Failed(f"MLflow does not give out {ARTIFACT}: {error.message}", _HINT) from error
    except OSError as error:
        raise Failed(f"{ARTIFACT} cannot be fetched: {error}.", _HINT) from error


def _run(project: Project, mlflow: MlflowClient, revision: Revision) -> str | None:
    if revision.run is not None:
        return revision.run
    try:
        source = project.models.get(f"{revision.model}/{revision.version}").source
    except NotFound:
        return None  # deleted since
    if not source.startswith("models:/m-"):
        return None
    found: str | None = mlflow.get_logged_model(source.removeprefix("models:/")).source_run_id
    return found
