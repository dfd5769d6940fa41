"""The tutorial from its first cell to its last, and what other tools read of what it made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import end
from support import outputs

from mlinfra_lab.project import Project

pytestmark = pytest.mark.slow
MLINFRA = str(Path(sys.executable).with_name("mlinfra"))


def command(*words: str, cwd: Path) -> str:
    """What a command prints; it must succeed."""
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, env=env, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A fresh folder in which a person has run the tutorial, by papermill's own command."""
    folder = tmp_path_factory.mktemp("tutorial")
    command(MLINFRA, "init", "--tutorial", cwd=folder)
    project = Project(folder)
    try:
        notebook = folder / "notebooks" / "tutorials" / "01-first-model.ipynb"
        words = [str(notebook), str(folder / "out.ipynb"), "--cwd", str(folder), "--no-progress-bar"]
        command(sys.executable, "-m", "papermill", *words, cwd=folder)
        yield project
    finally:
        end(project)


def test_the_tutorial_ends_with_a_prediction_traced_as_a_picture(lived: Project) -> None:
    out = lived.root / "out.ipynb"
    cells = json.loads(out.read_text())["cells"]
    shown = [
        output["data"]
        for cell in cells
        for output in cell.get("outputs", [])
        if "%lineage show" in "".join(cell["source"]) and "data" in output
    ]
    assert any("<svg" in "".join(data.get("text/html", data.get("image/svg+xml", ""))) for data in shown)
    assert "flights@1" in outputs(out)


def test_dvc_reads_the_data(lived: Project) -> None:
    assert "up to date" in command(sys.executable, "-m", "dvc", "status", cwd=lived.root)
    listed = command(sys.executable, "-m", "dvc", "list", ".", "data/flights", cwd=lived.root)
    assert {"2013-01.parquet", "2013-02.parquet"} <= set(listed.split())


def test_git_has_one_commit_a_version_and_nothing_else_changed(lived: Project) -> None:
    subjects = command("git", "log", "--reverse", "--format=%s", cwd=lived.root).splitlines()
    assert len(subjects) == 3
    assert "flights@1" in subjects[1]
    assert "weather@1" in subjects[2]
    assert command("git", "status", "--porcelain", cwd=lived.root).split() == ["??", "out.ipynb"]


def test_mlflow_reads_runs_and_models(lived: Project) -> None:
    script = (
        "import mlflow; client = mlflow.MlflowClient(); "
        "version = client.get_model_version_by_alias('flights-delay', 'champion'); "
        "run = client.get_run(version.run_id); "
        "model = mlflow.pyfunc.load_model('models:/flights-delay@champion'); "
        "print(run.data.params['flights'], run.data.tags['mlinfra.job'], round(run.data.metrics['auc'], 2), "
        "len(model.metadata.signature.inputs))"
    )
    env = lived.runs.environment()
    words = ["env", *(f"{name}={value}" for name, value in env.items()), sys.executable, "-c", script]
    dataset, job, auc, columns = command(*words, cwd=lived.root).split()
    assert dataset == "flights@1"
    assert lived.jobs.get(job).state == "succeeded"
    assert 0.66 < float(auc) < 0.72  # FINDINGS: a straight model finds 0.69 in it
    assert int(columns) > 10


def test_a_prediction_leads_back_to_everything(lived: Project) -> None:
    prediction = lived.endpoints.predictions("delay", 1)[0]
    trace = lived.lineage.show(prediction.id)
    by_kind = {node.kind: node for node in trace.nodes}
    assert {node.kind for node in trace.nodes if node.missing} == set()
    assert set(by_kind) == {
        *("prediction", "revision", "model", "run", "cell", "job"),
        *("notebook", "dataset", "commit", "environment", "cluster"),
    }
    assert "log_model" in by_kind["cell"].facts["source"]
    assert by_kind["job"].facts["parameters"]["C"] in (1.0, 0.001)
    rows = {node.id: node.facts["rows"] for node in trace.nodes if node.kind == "dataset"}
    assert rows == {"flights@1": 51_955, "weather@1": 26_115}
    assert by_kind["prediction"].facts["request"]["carrier"]
    said = json.loads(command(MLINFRA, "lineage", "show", prediction.id, "--json", cwd=lived.root))
    assert len(said["nodes"]) == len(trace.nodes)


def test_what_the_page_of_the_shell_says(lived: Project) -> None:
    said = json.loads(command(MLINFRA, "status", "--json", cwd=lived.root))
    lines = {(line["kind"], line["name"]): line for line in said["lines"]}
    assert lines["endpoint", "delay"]["actual"] == "revision 1"
    assert lines["cluster", "local"]["actual"] == "up"


def test_asking_again_with_the_printed_curl_line(lived: Project) -> None:
    """Pasted into a fresh shell in the folder, as the shell printed it."""
    words = [MLINFRA, "endpoint", "show", "delay"]
    shown = command("env", "FORCE_COLOR=1", "NO_COLOR=1", *words, cwd=lived.root)
    (line,) = [line for line in shown.splitlines() if line.startswith("curl")]
    answer = json.loads(command("bash", "-c", line, cwd=lived.root))
    assert len(answer["predictions"]) == len(answer["prediction_ids"])
