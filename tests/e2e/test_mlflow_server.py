"""A project whose runs are in somebody's MLflow server: everything goes through MLflow's own client."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support import eventually, write_notebook

from mlinfra_lab.errors import Failed
from mlinfra_lab.project import Project

pytestmark = pytest.mark.slow

TRAIN = """
import mlflow, pandas as pd
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression
table = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0]})
model = LogisticRegression().fit(table, table.x > 1)
with mlflow.start_run(run_name="by hand"):
    mlflow.log_metric("auc", 0.75)
    mlflow.sklearn.log_model(
        model, name="model", signature=infer_signature(table), serialization_format="cloudpickle",
        pip_requirements=["scikit-learn"],
    )
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real MLflow tracking server."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words, *stores],
            stdout=log, stderr=log, env=os.environ | quiet, cwd=folder,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    try:
        eventually(answers, 120)
        yield url
    finally:
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        for one in family:
            one.kill()
        process.wait()


def test_the_loop_through_a_server_with_one_worker(server: str, make_project: Callable[..., Project]) -> None:
    toml = f'\n[mlflow]\ntracking_uri = "{server}"\n\n[tasks]\nworkers = 1\n'
    project = make_project(toml=toml)
    job = project.jobs.submit(write_notebook(project.root / "train.ipynb", [TRAIN])).wait(180)
    assert job.job.state == "succeeded", job.job.error
    assert job.metrics == {"auc": 0.75}
    (run,) = [one for one in project.runs.list() if one.job == job.job.id]
    assert (run.name, run.status) == ("by hand", "FINISHED")
    version = project.models.register(run.id, "line", "champion").wait(120)
    assert version.aliases == ("champion",)
    # Pickled: it is loaded because one of this project's jobs made it, by the project's own rows.
    endpoint = project.endpoints.publish("line@champion", "line").wait(180)
    assert endpoint.serving == 1
    assert not Path(project.state / "mlflow.db").exists()
    kinds = {node.kind for node in project.lineage.show("line/1").nodes}
    assert kinds >= {"model", "run", "job", "cell", "notebook", "environment"}


def test_somebody_else_s_pickle_is_refused(server: str, make_project: Callable[..., Project]) -> None:
    """Another project of the same server wrote it: loading it would run their code as this user."""
    toml = f'\n[mlflow]\ntracking_uri = "{server}"\n'
    theirs, mine = make_project("theirs", toml), make_project("mine", toml)
    job = theirs.jobs.submit(write_notebook(theirs.root / "train.ipynb", [TRAIN])).wait(180)
    theirs.models.register(job.job.runs[0], "foreign").wait(120)
    with pytest.raises(Failed, match="pickle") as error:
        mine.endpoints.publish("foreign/1", "foreign").wait(180)
    assert error.value.message
