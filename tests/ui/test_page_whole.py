"""From a request to its place on the page: a real endpoint, monitor, page server and browser."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from support import kill, process

from mlinfra_lab.project import Project
from mlinfra_lab.server.handlers.page import _BUNDLE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not _BUNDLE.exists(), reason="the widgets are not built: make setup"),
]

# In a process of its own, as a notebook would: a model of one number.
LOGGING = """
import mlflow, numpy as np, pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema
from sklearn.linear_model import LogisticRegression

random = np.random.default_rng(0)
table = pd.DataFrame({"temp": random.normal(15, 9, 500)})
model = LogisticRegression().fit(table, table.temp + random.normal(0, 5, 500) > 15)
with mlflow.start_run():
    mlflow.sklearn.log_model(
        model, name="model", signature=ModelSignature(Schema([ColSpec("double", "temp")])),
        registered_model_name="late", pyfunc_predict_fn="predict_proba", pip_requirements=["scikit-learn"],
    )
"""


class Asking:
    """Sends rows to an endpoint."""

    def __init__(self, project: Project, name: str) -> None:
        url = project.endpoints.get(name).url
        assert url is not None
        self._url, self._token = url, project.endpoints.token(name)

    def __call__(self, *temps: float) -> None:
        rows = [{"temp": temp} for temp in temps]
        request = urllib.request.Request(
            self._url, data=json.dumps({"dataframe_records": rows}).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 200


def test_a_request_finds_its_place_on_the_page(
    project: Project, open_tab: Callable[..., Page], pictures: Path
) -> None:
    environment = os.environ | project.runs.environment()
    subprocess.run([sys.executable, "-c", LOGGING], check=True, env=environment)
    project.endpoints.publish("late", "late").wait(240)
    ask = Asking(project, "late")
    ask(*(place % 40 for place in range(1200)))  # what a baseline is made of where the model brought none
    link = project.pages.open("late")
    tab = open_tab()
    tab.goto(link.url)
    tab.wait_for_selector("html[data-drawn]", timeout=30_000)
    recent = tab.locator(".mlm-slot-predictions")
    expect(recent).to_contain_text("1,200 captured", timeout=30_000)
    tab.evaluate("window.same = true")
    begun = time.monotonic()
    ask(41.5)
    expect(recent).to_contain_text("41.5", timeout=20_000)
    assert time.monotonic() - begun < 10  # 0.2 s on a quiet machine; see tests/bench
    kill(process(project, "pages"))
    expect(tab.get_by_text("Connection lost").first).to_be_visible(timeout=10_000)
    ask(42.5)
    expect(recent).to_contain_text("42.5", timeout=60_000)
    expect(tab.get_by_text("Connection lost").first).to_be_hidden()
    assert tab.evaluate("window.same") is True
    tab.get_by_text("Trace").first.click()
    expect(tab.locator("dialog")).to_contain_text("late/1", timeout=10_000)
    tab.screenshot(path=pictures / "page-trace.png")
    tab.keyboard.press("Escape")

    # The notebook that came with us, run by a kernel, shows the same and stays live.
    tab.get_by_text("Run the notebook").click()
    tab.wait_for_selector("html[data-joined]", timeout=120_000)
    expect(tab.get_by_role("heading", name="late")).to_be_visible(timeout=20_000)
    ask(43.5)
    expect(tab.get_by_text("43.5").first).to_be_visible(timeout=20_000)
    expect(tab.get_by_text("javascript error")).to_have_count(0)
    tab.screenshot(path=pictures / "page-joined.png", full_page=True)
