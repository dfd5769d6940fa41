"""The magics inside of a job: a real kernel under papermill."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from support import write_notebook

pytestmark = pytest.mark.slow


def cells_of(project, job):
    """The code cells' outputs of an executed notebook, by their first line."""
    notebook = json.loads(project.jobs.path_of(job.output).read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return {"".join(cell["source"]).split("\n")[0]: cell["outputs"] for cell in code}


def test_results_are_kept_in_the_notebook_and_an_error_stops_the_job(project):
    (project.root / "rows.csv").write_text("a,b\n1,2\n")
    write_notebook(
        project.root / "magics.ipynb",
        [
            "%load_ext mlinfra_lab",
            "%data snapshot rows.csv --name rows -m 'first'",
            "kept = %data show rows",
            "print(kept.ref, kept.rows)",
            "%job show jnope",
            "print('never')",
        ],
    )
    done = project.jobs.submit(project.root / "magics.ipynb").wait(timeout=240).job
    cells = cells_of(project, done)
    assert (done.state, done.exit_code) == ("failed", 1), done.error

    progress, card = cells["%data snapshot rows.csv --name rows -m 'first'"]
    assert progress["output_type"] == "display_data"
    assert "".join(progress["data"]["text/plain"]).startswith("✓ snapshot of rows.csv")
    assert card["output_type"] == "execute_result"
    assert "rows@1" in "".join(card["data"]["text/html"])
    assert "".join(card["data"]["text/plain"]).startswith("Dataset version rows@1  first")

    assert cells["kept = %data show rows"] == []
    assert "rows@1 1" in "".join(cells["print(kept.ref, kept.rows)"][0]["text"])

    (error,) = cells["%job show jnope"]
    assert error["output_type"] == "error"
    assert (error["ename"], error["evalue"]) == ("NotFound", "There is no job jnope.")
    assert error["traceback"][1:] == ["hint: See `mlinfra job list`."]
    assert done.error is not None and "There is no job jnope." in done.error.message
    assert cells["print('never')"] == []


def test_mlflow_in_an_open_notebook_logs_into_the_project(project):
    """Not a job: a person's own kernel, here started by papermill's command."""
    notebook = write_notebook(
        project.root / "open.ipynb",
        [
            "%load_ext mlinfra_lab",
            "import mlflow",
            "with mlflow.start_run(run_name='by hand'):\n    mlflow.log_metric('auc', 0.5)",
        ],
    )
    words = [str(notebook), str(project.root / "out.ipynb"), "--cwd", str(project.root), "--no-progress-bar"]
    subprocess.run([sys.executable, "-m", "papermill", *words], check=True, capture_output=True, timeout=240)
    (run,) = project.runs.list()
    assert (run.name, run.metrics, run.job) == ("by hand", {"auc": 0.5}, None)
    assert run.tags["mlinfra.project"] == project.id
    assert not (project.root / "mlruns").exists()


def test_a_job_that_is_waited_for_and_fails_fails_the_cell(project):
    write_notebook(project.root / "inner.ipynb", ["1 / 0"])
    write_notebook(
        project.root / "outer.ipynb",
        ["%load_ext mlinfra_lab", "job = %job run inner.ipynb --wait", "print('never')"],
    )
    done = project.jobs.submit(project.root / "outer.ipynb").wait(timeout=240).job
    assert done.state == "failed"
    progress, card, error = cells_of(project, done)["job = %job run inner.ipynb --wait"]
    assert "".join(progress["data"]["text/plain"]).startswith("✗ inner")
    assert "The cell that failed" in "".join(card["data"]["text/html"])
    assert error["output_type"] == "error" and "ZeroDivisionError" in error["evalue"]
