"""Jobs that cannot be done again, or not alike: what is said of them, and when."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from conftest import end
from dataset_support import put, snapshot
from dataset_support import run as command
from support import write_notebook

from mlinfra_lab.cli.shell import run as shell
from mlinfra_lab.errors import Conflict, NotFound
from mlinfra_lab.jobs import JobRef
from mlinfra_lab.project import Project
from mlinfra_lab.schema.lineage import ReproduceReport, Reproduction

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
LOG = "import mlflow\nwith mlflow.start_run(): mlflow.log_params({'n': n}); mlflow.log_metric('auc', value)"


@pytest.fixture(scope="module")
def project(initialised: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """One for all of them: each test has a folder of its own in it."""
    folder = tmp_path_factory.mktemp("refused") / "project"
    shutil.copytree(initialised, folder)
    project = Project(folder)
    try:
        yield project
    finally:
        end(project)


@pytest.fixture
def folder(project: Project, request: pytest.FixtureRequest) -> Path:
    """Where a test's notebook lies and runs."""
    made = project.root / request.node.name
    made.mkdir()
    return made


def ran(project: Project, folder: Path, *cells: str, **options: object) -> JobRef:
    notebook = write_notebook(folder / "a.ipynb", cells)
    job = project.jobs.submit(notebook, **options)  # type: ignore[arg-type]
    assert job.wait(240).job.state == "succeeded", job.log()
    return job


def only(report: ReproduceReport) -> Reproduction:
    (training,) = report.trainings
    return training


def test_what_is_not_deterministic_is_named_with_both_values(
    project: Project, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = ran(project, folder, "import random; n, value = 5, random.random()", LOG)
    # One that is on its way already is waited for, and no other is begun.
    going = project.jobs.repeat(job.id, cause=f"reproduce:{job.id}", conditions=job.job.conditions)
    report = project.reproduce(job.id)
    assert (only(report).reused, only(report).reproduction) == (True, going.id)
    assert report.verdict == "different"
    first = only(report).first
    assert first is not None
    assert (first.kind, first.name) == ("metric", "auc")
    said = f"metric auc: {first.then!r} then, {first.now!r} now ({first.apart:.1e} apart)"
    assert report.text == f"{said} (reproduced before)"
    assert shell(["lineage", "reproduce", job.id, "--project", str(project.root)]) == 1
    assert repr(first.then) in capsys.readouterr().out
    # Nearly alike is alike, if one says how near.
    assert project.reproduce(job.id, within=0.99).verdict == "equal"


def test_a_parameter_that_a_run_noted_tells_why(project: Project, folder: Path) -> None:
    """Files that were read past the dataset versions are read as they are now; that is said before."""
    table = folder / "table.csv"
    table.write_text("1\n2\n3\n")
    job = ran(
        project,
        folder,
        "lines = open('table.csv').read().split()\nn, value = len(lines), 1 / len(lines)",
        LOG,
    )
    table.write_text("1\n2\n3\n4\n")
    report = project.reproduce(job.id)
    assert report.text == "parameter n: 3 then, 4 now"
    assert any("as they are now" in note for note in only(report).notes)


def test_a_job_that_fails_this_time_is_different(project: Project, folder: Path) -> None:
    marker = folder / "there"
    marker.touch()
    job = ran(
        project, folder, "import os; n, value = 1, 0.5", LOG, "assert os.path.exists('there'), 'it is gone'"
    )
    marker.unlink()
    report = project.reproduce(job.id)
    assert report.verdict == "different"
    assert report.text.startswith(
        "job: succeeded then, failed: Cell 3 failed: AssertionError: it is gone now"
    )
    # What failed is not reused.
    marker.touch()
    again = project.reproduce(job.id)
    assert not only(again).reused
    assert again.verdict == "identical"
    assert project.lineage.show(job.id).nodes[0].facts["done again"].count("; ") == 1


def test_what_was_given_by_name_must_be_given_again(
    project: Project, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = ("import os; n, value = 1, float(os.environ['FACTOR_X'])", LOG)
    job = ran(project, folder, *cells, env={"FACTOR_X": "0.25", "OMP_NUM_THREADS": "1"})
    conditions = job.job.conditions
    assert conditions is not None
    assert conditions.given == ("FACTOR_X",)
    assert conditions.variables["OMP_NUM_THREADS"] == "1"
    with pytest.raises(Conflict, match="FACTOR_X") as error:
        project.reproduce(job.id)
    assert "--env FACTOR_X" in str(error.value.hint)
    monkeypatch.setenv("FACTOR_X", "0.25")
    root = str(project.root)
    assert shell(["lineage", "reproduce", job.id, "--env", "FACTOR_X", "--project", root]) == 0
    assert "identical" in capsys.readouterr().out
    (again,) = project.jobs.caused(f"reproduce:{job.id}")
    assert again.conditions is not None
    assert again.conditions.variables == conditions.variables
    # It is there now, so nothing is needed any more.
    assert only(project.reproduce(job.id)).reused


def test_a_notebook_that_does_more_than_train_is_asked_about(project: Project, folder: Path) -> None:
    sums = "n, value = 5, 0.0\nwords = {f'w{i}' for i in range(500)}\n"
    sums += "for i, word in enumerate(words): value += 0.1 * int(word[1:]) ** (1 + i % 3)"
    job = ran(project, folder, sums, LOG, "def later(): mlflow.register_model('x', 'y')")
    with pytest.raises(Conflict, match=r"cell 3 \(register_model\)") as error:
        project.reproduce(job.id)
    assert "--with-effects" in str(error.value.hint)
    # The set is gone through in the same order again, so that the sum is the same.
    assert project.reproduce(job.id, effects=True).verdict == "identical"


def test_nothing_to_compare_is_not_called_identical(project: Project, folder: Path) -> None:
    job = ran(project, folder, "print('done')")
    report = project.reproduce(job.id)
    assert report.verdict == "nothing"
    assert shell(["lineage", "reproduce", job.id, "--json", "--project", str(project.root)]) == 1


def test_what_no_job_made_cannot_be_made_again(project: Project) -> None:
    project.runs.prepare().wait(120)
    mlflow.set_tracking_uri(project.runs.tracking_uri)
    mlflow.set_experiment(project.runs.experiment)
    with mlflow.start_run() as run:
        mlflow.log_metric("auc", 1.0)
    with pytest.raises(NotFound, match="no job of this project") as error:
        project.reproduce(run.info.run_id)
    assert "mlinfra job run" in str(error.value.hint)


def test_a_file_of_code_and_a_cluster_that_are_not_as_they_were(project: Project, folder: Path) -> None:
    helper = folder / "helper.py"
    helper.write_text("value = 0.5\n")
    snapshot(project, str(put(project, "data.parquet").relative_to(project.root)))
    command(project.root, "git", "add", str(helper))
    command(project.root, "git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "helper")
    job = ran(project, folder, "from helper import value; n = 1", LOG)
    helper.write_text("value = 0.25\n")
    with project.storage.unit() as unit:
        unit.link("cluster", "gone", "job", job.id, "computed on", {"workers": 2})
        unit.link("dataset", "flights@7", "job", job.id, "read")
    plan = only(project.reproduce(job.id, dry_run=True))
    assert [(one.kind, one.name) for one in plan.differs] == [("code", f"{folder.name}/helper.py")]
    assert sorted(one.message for one in plan.problems) == [
        "The dataset “flights” has no version 7.",
        "There is no cluster “gone”.",
    ]
    with pytest.raises(NotFound) as error:
        project.reproduce(job.id)
    assert "1 more" in str(error.value.hint)
    assert len(json.loads(json.dumps(error.value.detail))["problems"]) == 2
