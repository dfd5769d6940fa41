"""A torch model from the job that trained it to its answers over HTTP."""

from __future__ import annotations

import json
import urllib.request

import pytest
from support import write_notebook

from mlinfra_lab.project import Project

pytestmark = pytest.mark.slow

TRAIN = """
import mlflow, numpy as np, torch
from mlflow.models import infer_signature
torch.manual_seed(0)
x = torch.linspace(-1, 1, 64).reshape(-1, 1)
model = torch.nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
for _ in range(200):
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(model(x), 3 * x + 1)
    loss.backward()
    optimizer.step()
with mlflow.start_run():
    mlflow.log_metric("loss", float(loss))
    signature = infer_signature(x.numpy(), model(x).detach().numpy())
    mlflow.pytorch.log_model(
        model, name="model", signature=signature,
        serialization_format="pickle", pip_requirements=["torch"],
    )
"""


def test_a_torch_model_is_trained_published_and_asked(project: Project) -> None:
    job = project.jobs.submit(write_notebook(project.root / "train.ipynb", [TRAIN])).wait(180)
    assert job.job.state == "succeeded", job.job.error
    assert job.metrics["loss"] < 1e-6
    project.models.register(job.job.runs[0], "line", "champion").wait(120)
    endpoint = project.endpoints.publish("line@champion", "line").wait(180)
    assert endpoint.url is not None
    headers = {
        "Content-Type": "application/json",
        "Authorization": f"Bearer {project.endpoints.token('line')}",
    }
    body = json.dumps({"inputs": [[0.0], [0.5]]}).encode()
    with urllib.request.urlopen(urllib.request.Request(endpoint.url, body, headers), timeout=60) as answer:
        said = json.load(answer)
    assert [row[0] for row in said["predictions"]] == pytest.approx([1.0, 2.5], abs=1e-2)
    assert project.endpoints.prediction(said["prediction_ids"][1]).row == [0.5]
