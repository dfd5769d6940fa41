"""The second tutorial from its first cell to its last, and what the project knows after it."""

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

from mlinfra_lab.demo import flights, traffic
from mlinfra_lab.initialise import initialise
from mlinfra_lab.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TEMPLATE = "notebooks/templates/train_flight_delay.ipynb"
TUTORIAL = "notebooks/tutorials/02-closed-loop.ipynb"


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project as the first tutorial leaves it, in which a person has run the second, by papermill."""
    folder = tmp_path_factory.mktemp("loop")
    initialise(folder, tutorial=True)
    project = Project(folder)
    try:
        flights.write(folder, [1, 2])
        for path in ("data/flights", "data/weather"):
            project.data.snapshot(path).wait(timeout=180)
        project.clusters.start("local").wait(timeout=60)
        (run,) = project.jobs.submit(folder / TEMPLATE, {"C": 1.0}).wait(timeout=300).job.runs
        project.models.register(run, "flights-delay", "champion").wait(timeout=180)
        url = project.endpoints.publish("flights-delay@champion", "delay").wait(180).url
        assert url is not None
        traffic.send(url, project.endpoints.token("delay"), [3], limit=100)

        words = [TUTORIAL, "out.ipynb", "--cwd", str(folder), "--no-progress-bar"]
        env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(
            [sys.executable, "-m", "papermill", *words],
            cwd=folder, capture_output=True, text=True, env=env, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        yield project
    finally:
        end(project)


def said(project: Project, cell: str) -> str:
    """What a cell of the tutorial showed, as text."""
    cells = json.loads((project.root / "out.ipynb").read_text())["cells"]
    (found,) = [one for one in cells if one["id"] == cell]
    texts = [one.get("text", one.get("data", {}).get("text/plain", "")) for one in found["outputs"]]
    return "\n".join("".join(text) for text in texts)


def test_every_step_said_what_it_should(lived: Project) -> None:
    assert "/mlinfra/open?" in said(lived, "open")
    assert "Predictions moved since 26 March" in said(lived, "alert-ack")
    assert "acknowledged" in said(lived, "alert-ack")
    assert "flights@2" in said(lived, "snapshot")
    assert "flights-delay/2" in said(lived, "act")
    history = said(lived, "history")
    for words in ("flights-delay/2 is tried", "20 %", "50 %", "promoted", "truths"):
        assert words in history
    assert "rolled back" in said(lived, "rolled-back")
    assert "identical" in said(lived, "reproduce")
    assert "differs" not in said(lived, "reproduce")
    assert "Traceback" not in outputs(lived.root / "out.ipynb")


def test_the_alert_was_answered_by_the_same_notebook_on_newer_data(lived: Project) -> None:
    (alert,) = lived.monitoring.alerts("delay")
    assert alert.state in ("answered", "closed")
    assert (alert.rule, alert.revision, alert.model) == ("prediction_drift", 1, "flights-delay/2")
    assert alert.since.isoformat() == "2013-03-26T00:00:00+00:00"
    assert alert.job is not None
    job = lived.jobs.get(alert.job)
    assert job.notebook == TEMPLATE
    assert job.parameters["flights"] == "flights@2"
    assert job.parameters["C"] == 1.0


def test_who_answers_in_the_end(lived: Project) -> None:
    endpoint = lived.endpoints.get("delay")
    assert endpoint.rollout is None
    # By hand back to version 1, and the alias with it.
    assert endpoint.revision is not None
    assert (endpoint.revision.number, endpoint.revision.version) == (1, 1)
    kinds = [entry.kind for entry in lived.endpoints.history("delay", 50)][::-1]
    assert [kind for kind in kinds if kind in ("published", "promoted", "rolled_back")] == [
        "published", "promoted", "rolled_back", "rolled_back",
    ]  # fmt: skip
    assert lived.models.get("flights-delay@champion").version == 1


def test_quality_is_known_of_both_versions(lived: Project) -> None:
    view = lived.monitoring.view("delay")
    assert {one.label for one in view.quality.series} >= {"v1", "v2"}
    assert view.missed == 0
