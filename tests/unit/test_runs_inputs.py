"""Dataset versions as inputs of MLflow runs."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import mlflow
import pytest

from mlinfra_lab.errors import Conflict
from mlinfra_lab.project import Project
from mlinfra_lab.schema.common import now
from mlinfra_lab.schema.data import DatasetVersion

AT_ONCE = 4


def version(number: int) -> DatasetVersion:
    return DatasetVersion(
        dataset="flights", version=number, path="data/flights", md5=f"{number:032x}", commit="c" * 40,
        files=1, size=1, rows=1, columns=(), message=None, created=now(), created_by="me",
    )  # fmt: skip


def test_first_runs_at_once_name_the_same_version(project: Project) -> None:
    project.runs.prepare().wait(120)
    os.environ.update(project.runs.environment())
    together = threading.Barrier(AT_ONCE)

    def one(number: int) -> str:
        with mlflow.start_run() as run:
            together.wait(60)
            project.runs.log_input(version(number))
        return str(run.info.run_id)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for number in range(1, 8):
            for run_id in list(pool.map(one, [number] * AT_ONCE)):
                (given,) = mlflow.get_run(run_id).inputs.dataset_inputs
                assert given.dataset.name == f"flights@{number}"
                assert given.dataset.digest == f"{number:032x}"
                assert given.tags[0].value == "training"


def test_without_a_run_it_is_said(project: Project) -> None:
    with pytest.raises(Conflict, match="No MLflow run is active"):
        project.runs.log_input(version(1))
