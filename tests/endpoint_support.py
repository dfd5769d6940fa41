"""A person's view of an endpoint, models that do what they are called, and traffic."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

from support import eventually

from mlinfra_lab.project import Project
from mlinfra_lab.schema.endpoints import Endpoint, Rollout

PATIENCE = 240
ROW = {"word": "hello"}
# Versions of a model that says which it is, fails at, dies of, or dawdles over a word.
SCRIPT = """
import os, time
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel
VERSION = {version!r}

class Talker(PythonModel):
    def predict(self, context, model_input, params=None):
        words = list(model_input["word"])
        if VERSION == "failing":
            raise ValueError("that went wrong")
        if VERSION == "slow":
            time.sleep(0.3)
        if VERSION == "deadly" and "die" in words:
            os.kill(os.getpid(), 9)
        return [VERSION + ":" + word for word in words]

set_model(Talker())
"""
LOGGING = """
import sys
import mlflow
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema
columns = {"wide": [ColSpec("string", "word"), ColSpec("string", "more")]}
for script in sys.argv[1:]:
    name = script.rpartition("/")[2].removesuffix(".py")
    with mlflow.start_run():
        mlflow.pyfunc.log_model(
            name="model", python_model=script, registered_model_name="talker", pip_requirements=["mlflow"],
            signature=ModelSignature(Schema(columns.get(name, [ColSpec("string", "word")]))),
        )
mlflow.MlflowClient().set_registered_model_alias("talker", "champion", "1")
"""
VERSIONS = ["one", "two", "failing", "slow", "deadly", "wide"]


class Client:
    """A person's view of one endpoint; ``keep`` asks over one connection."""

    def __init__(self, endpoint: Endpoint, token: str, keep: bool = False) -> None:
        assert endpoint.url is not None
        parts = urlsplit(endpoint.url)
        assert parts.hostname
        self.host, self.port, self.path = parts.hostname, parts.port, parts.path
        self._endpoint = endpoint
        self.name = endpoint.name
        self.token = token
        self._keep = keep
        self._connection = http.client.HTTPConnection(self.host, self.port, timeout=120)

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], Any]:
        sent = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"} | (headers or {})
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        if not self._keep:
            self._connection.close()
        try:
            self._connection.request(method, path, data, {key: value for key, value in sent.items() if value})
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        found = {key.lower(): value for key, value in answer.headers.items()}
        return answer.status, found, json.loads(content)

    def post(self, body: Any, **headers: str) -> tuple[int, Any]:
        status, _, answer = self.ask(
            "POST", self.path, body, {key.replace("_", "-"): value for key, value in headers.items()}
        )
        return status, answer

    def again(self) -> Client:
        """The same person at another connection, which is kept."""
        return Client(self._endpoint, self.token, keep=True)

    def truths(self, body: Any) -> tuple[int, Any]:
        """Say what came true."""
        status, _, answer = self.ask("POST", f"/{self.name}/ground-truth", body)
        return status, answer

    def rows(self, *rows: dict[str, Any]) -> Any:
        status, answer = self.post({"dataframe_records": list(rows)})
        assert status == 200, answer
        return answer


def ref(version: str) -> str:
    return f"talker/{VERSIONS.index(version) + 1}"


def log_talkers(project: Project) -> None:
    """Register them all as versions of ``talker``, the first as its champion."""
    scripts = []
    for version in VERSIONS:
        scripts.append(project.root / f"{version}.py")
        scripts[-1].write_text(SCRIPT.format(version=version))
    logged = subprocess.run(
        [sys.executable, "-c", LOGGING, *map(str, scripts)],
        check=False,
        env=os.environ | project.runs.environment(),
        capture_output=True,
        text=True,
        cwd=project.root,
    )
    assert logged.returncode == 0, logged.stderr


def published(project: Project, name: str, model: str = "talker/1") -> Client:
    endpoint = project.endpoints.publish(model, name).wait(PATIENCE)
    return Client(endpoint, project.endpoints.token(name))


class Traffic:
    """Requests one after the other, for as long as the block lasts; one that was cut off has the status 0."""

    def __init__(self, client: Client, row: dict[str, Any] | None = None) -> None:
        self.answers: list[tuple[int, Any]] = []
        self._row = row or ROW
        self._client = client.again()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.answers.append(self._client.post({"dataframe_records": [self._row]}))
            except (OSError, http.client.HTTPException):
                self.answers.append((0, None))
                self._stop.wait(0.05)
            self._stop.wait(0.005)

    def more(self, count: int) -> None:
        """Wait until so many more were answered well."""
        before = self.statuses[200]
        eventually(lambda: self.statuses[200] >= before + count, 120)

    @property
    def statuses(self) -> Counter[int]:
        return Counter(status for status, _ in list(self.answers))

    @property
    def ids(self) -> list[str]:
        return [answer["prediction_ids"][0] for status, answer in list(self.answers) if status == 200]

    @property
    def revisions(self) -> Counter[int]:
        return Counter(int(id.split(".")[1]) for id in self.ids)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def kinds(project: Project, name: str) -> list[str]:
    return [one.kind for one in reversed(project.endpoints.history(name))]


def running(project: Project, name: str) -> Rollout:
    def found() -> Rollout | None:
        one = project.endpoints.get(name).rollout
        return one if one is not None and one.state == "running" else None

    one = eventually(found, PATIENCE)
    assert one is not None
    return one
