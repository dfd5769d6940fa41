"""Endpoints as a whole: a real front, real model processes, models that MLflow logged."""

from __future__ import annotations

import concurrent.futures
import datetime as dt
import http.client
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from endpoint_support import Client
from support import eventually, process, processes_of

from mlinfra_lab.endpoints import store
from mlinfra_lab.errors import Conflict, Failed, Invalid, NotFound
from mlinfra_lab.project import Project
from mlinfra_lab.schema.endpoints import Endpoint

pytestmark = pytest.mark.slow

LIMIT = 300_000
ROW = {"temp": 20.5, "n": 3, "who": "x"}
NAMES = list(ROW)
VALUES = list(ROW.values())
PATIENCE = 240

# Logs, in a process of its own as a notebook would: two versions of a scikit-learn model, one written
# with cloudpickle, and one that does what its rows say.
LOGGING = """
import os, sys
from pathlib import Path
import mlflow, numpy as np, pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

random = np.random.default_rng(0)
table = pd.DataFrame(
    {"temp": random.normal(15, 9, 300), "n": np.arange(300) % 7, "who": ["x", "y", "z"] * 100}
)
late = table.temp + random.normal(0, 2, 300) > 15
columns = [ColSpec("double", "temp"), ColSpec("long", "n"), ColSpec("string", "who")]

def log(name, C=1.0, written="skops", **more):
    features = make_column_transformer((StandardScaler(), ["temp", "n"]), (OneHotEncoder(), ["who"]))
    model = make_pipeline(features, LogisticRegression(C=C)).fit(table, late)
    with mlflow.start_run():
        info = mlflow.sklearn.log_model(
            model, name="model", signature=ModelSignature(Schema(columns)), registered_model_name=name,
            serialization_format=written, pyfunc_predict_fn="predict_proba",
            pip_requirements=["scikit-learn"], **more,
        )
    return Path(info.artifact_path.removeprefix("file://"))

log("flights", input_example=table.head(8))
log("flights", 0.01)
log("pickled", written="cloudpickle")
broken = log("broken") / "model.skops"
os.truncate(broken, broken.stat().st_size // 2)
described = log("moduleless") / "MLmodel"
described.write_text(described.read_text().replace("module: mlflow.sklearn", "module: nobody_has_this"))
for name, script in zip(("obedient", "deadly"), sys.argv[1:]):
    with mlflow.start_run():
        mlflow.pyfunc.log_model(
            name="model", python_model=script, registered_model_name=name,
            signature=ModelSignature(Schema([ColSpec("string", "word")])), pip_requirements=["mlflow"],
        )
"""
OBEDIENT = """
import os, sys, time
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

class Obedient(PythonModel):
    def predict(self, context, model_input, params=None):
        words = list(model_input["word"])
        if "die" in words:
            os.kill(os.getpid(), 9)
        if "fail" in words:
            raise ValueError("that went wrong")
        if "slow" in words:
            time.sleep(0.5)
        return words

set_model(Obedient())
"""
DEADLY = (
    OBEDIENT
    + """
if sys.argv[0].endswith("model_process.py"):
    os.kill(os.getpid(), 9)
"""
)


@pytest.fixture(scope="module")
def live(initialised: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("live") / "project"
    shutil.copytree(initialised, folder)
    with (folder / "mlinfra.toml").open("a") as file:
        file.write(f"\n[serving]\nmax_body = {LIMIT}\n\n[endpoints.switching]\nkeep_warm = false\n")
    project = Project(folder)
    scripts = {folder / "obedient.py": OBEDIENT, folder / "deadly.py": DEADLY}
    for path, text in scripts.items():
        path.write_text(text)
    logged = subprocess.run(
        [sys.executable, "-c", LOGGING, *map(str, scripts)],
        check=False,
        env=os.environ | project.runs.environment(),
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert logged.returncode == 0, logged.stderr
    yield project
    try:
        project.controller.down(timeout=60)
    finally:
        project.close()
        for left in processes_of(folder):
            left.kill()


def published(project: Project, model: str, name: str) -> Client:
    endpoint = project.endpoints.publish(model, name).wait(PATIENCE)
    return Client(endpoint, project.endpoints.token(name))


@pytest.fixture(scope="module")
def delay(live: Project) -> Client:
    return published(live, "flights/1", "delay")


@pytest.fixture(scope="module")
def obedient(live: Project) -> Client:
    return published(live, "obedient", "obedient")


# -- answers --------------------------------------------------------------------------------------


def test_one_row_and_what_was_kept_of_it(live: Project, delay: Client) -> None:
    answer = delay.rows(ROW | {"event_time": "2013-03-01T05:15:00-05:00"})
    assert list(answer) == ["predictions", "prediction_ids"]
    ((no, yes),) = answer["predictions"]
    assert no + yes == pytest.approx(1)
    kept = live.endpoints.prediction(answer["prediction_ids"][0])
    assert kept.row == ROW
    assert kept.prediction == [no, yes]
    assert kept.event_time == dt.datetime(2013, 3, 1, 10, 15, tzinfo=dt.UTC)
    assert 0 < kept.latency < 60
    assert live.endpoints.predictions("delay", 1) == [kept]
    assert answer["prediction_ids"][0].startswith("delay.1.")


def test_all_forms_agree(live: Project, delay: Client) -> None:
    wanted = delay.rows(ROW, ROW)["predictions"]
    for body in (
        {"instances": [ROW, ROW]},
        {"inputs": {name: [value, value] for name, value in ROW.items()}},
        {"dataframe_split": {"columns": NAMES[::-1], "data": [VALUES[::-1]] * 2, "index": [0, 1]}},
    ):
        status, answer = delay.post(body)
        assert (status, answer["predictions"]) == (200, wanted)
    csv = (",".join(NAMES) + "\n" + "\n".join([",".join(map(str, VALUES))] * 2)).encode()
    status, answer = delay.post(csv, Content_Type="text/csv; charset=utf-8")
    assert (status, answer["predictions"]) == (200, wanted)
    assert [live.endpoints.prediction(id).row for id in answer["prediction_ids"]] == [ROW, ROW]


def test_many_rows_are_as_one_by_one(delay: Client) -> None:
    rows = [{"temp": n / 7, "n": n, "who": "xyz"[n % 3]} for n in range(700)]
    together = delay.rows(*rows)
    assert len(set(together["prediction_ids"])) == 700
    for n in (0, 1, 350, 699):
        assert delay.rows(rows[n])["predictions"][0] == pytest.approx(together["predictions"][n], rel=1e-12)


def test_many_at_once_each_get_their_own(live: Project, delay: Client) -> None:
    def ask(n: int) -> tuple[float, str]:
        client = Client(live.endpoints.get("delay"), delay.token)
        (prediction,), (id,) = client.rows({"temp": float(n), "n": n, "who": "x"}).values()
        return prediction[1], id

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        found = list(pool.map(ask, range(64)))
    assert [one for one, _ in found] == sorted(one for one, _ in found), "the warmer, the later"
    assert len({id for _, id in found}) == 64
    for n, (prediction, id) in enumerate(found):
        kept = live.endpoints.prediction(id)
        assert (kept.row["temp"], kept.prediction[1]) == (n, prediction)


def test_mlflows_own_answer_is_the_same(live: Project, delay: Client) -> None:
    code = (
        "import mlflow, json, sys, pandas as pd\n"
        "model = mlflow.pyfunc.load_model('models:/flights/1')\n"
        "print('\\n' + json.dumps(model.predict(pd.DataFrame([json.loads(sys.argv[1])])).tolist()))"
    )
    given = subprocess.run(
        [sys.executable, "-c", code, json.dumps(ROW)],
        env=os.environ | live.runs.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert delay.rows(ROW)["predictions"] == json.loads(given.stdout.splitlines()[-1])


def test_request_ids(live: Project, delay: Client) -> None:
    _, headers, answer = delay.ask(
        "POST", delay.path, {"dataframe_records": [ROW]}, {"X-Request-Id": "mine-1"}
    )
    assert headers["x-request-id"] == "mine-1"
    assert live.endpoints.prediction(answer["prediction_ids"][0]).request == "mine-1"
    _, headers, _ = delay.ask("POST", delay.path, {"dataframe_records": [ROW]}, {"X-Request-Id": "y" * 65})
    assert headers["x-request-id"] != "y" * 65


def test_health_and_version(live: Project, delay: Client) -> None:
    status, _, answer = delay.ask("GET", "/delay/health", headers={"Authorization": ""})
    assert (status, answer) == (200, {"status": "up", "endpoint": "delay", "revision": 1})
    status, _, answer = delay.ask("GET", "/delay/version")
    version = live.models.get("flights/1")
    assert (status, answer["model"], answer["version"], answer["run"]) == (200, "flights", 1, version.run)
    assert delay.ask("GET", "/delay/version", headers={"Authorization": ""})[0] == 401


def test_a_skops_model_does_not_bring_torch_along(live: Project, delay: Client) -> None:
    serving = process(live, "model", "delay.1")
    assert serving is not None
    loaded = [one.path for one in serving.memory_maps()] if psutil.LINUX else []
    assert not any("torch" in path for path in loaded)


# -- bad input ------------------------------------------------------------------------------------


def records(**change: Any) -> dict[str, Any]:
    return {"dataframe_records": [ROW, {**ROW, **change}]}


BAD: dict[str, tuple[Any, int, str]] = {
    "missing column": ({"dataframe_records": [{"n": 1, "who": "x"}]}, 400, "row 0, column `temp`: missing"),
    "extra column": (records(tmep=1), 400, "row 1, column `tmep`"),
    "mistyped": (records(temp="warm"), 400, "row 1, column `temp`: expected a number, got a string"),
    "fraction": (records(n=1.5), 400, "row 1, column `n`: expected an integer, got 1.5"),
    "null": (records(who=None), 400, "row 1, column `who`: a value is required"),
    "NaN": (records(temp=float("nan")), 400, "row 1, column `temp`: NaN"),
    "Infinity": (records(temp=float("inf")), 400, "row 1, column `temp`: Infinity"),
    "short row": (
        {"dataframe_split": {"columns": NAMES, "data": [VALUES[:2]]}},
        400,
        "row 0: expected 3 values",
    ),
    "no rows": ({"dataframe_records": []}, 400, "no rows"),
    "no JSON": (b'{"dataframe_records": [}', 400, "not valid JSON: invalid character at byte 23"),
    "nothing": (b"", 400, "empty"),
    "deep": (b'{"params":' + b"[" * 100_000, 400, "nested too deeply"),
    "unknown key": ({"data": []}, 400, "Unknown key `data`"),
    "params": ({"instances": [ROW], "params": {}}, 400, "`params`"),
    "oversized": (b" " * (LIMIT + 1), 413, f"more than {LIMIT:,} bytes"),
    "much oversized": (b" " * (LIMIT * 20), 413, f"more than {LIMIT:,} bytes"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(live: Project, delay: Client, case: str) -> None:
    body, status, wanted = BAD[case]
    got, answer = delay.post(body)
    assert got == status
    assert wanted in answer["message"]
    assert answer["code"] == {400: "invalid_request", 413: "too_large"}[status]
    assert set(answer) == {"code", "message", "hint", "detail"}
    assert "Traceback" not in json.dumps(answer)
    keeping = Client(live.endpoints.get("delay"), delay.token, keep=True)
    assert keeping.post(body)[0] == status
    if status == 400:
        assert keeping.post({"dataframe_records": [ROW]})[0] == 200, "the connection goes on"


def test_oversized_without_saying_so_first(delay: Client) -> None:
    connection = http.client.HTTPConnection(delay.host, delay.port, timeout=60)
    chunks = (b"x" * 50_000 for _ in range(10))
    headers = {"Authorization": f"Bearer {delay.token}", "Content-Type": "application/json"}
    connection.request("POST", delay.path, chunks, headers, encode_chunked=True)
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (413, "too_large")
    connection.close()


def test_a_body_at_the_limit_is_taken(delay: Client) -> None:
    body = json.dumps({"dataframe_records": [ROW]}).encode()
    assert delay.post(body + b" " * (LIMIT - len(body)))[0] == 200


@pytest.mark.parametrize(
    ("headers", "status", "wanted"),
    [
        ({"Authorization": ""}, 401, "lacks its token"),
        ({"Authorization": "Bearer wrong"}, 401, "not this endpoint's"),
        ({"Authorization": "Basic abc"}, 401, "not this endpoint's"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 400, "application/x-www-form-urlencoded"),
        ({"Content-Encoding": "gzip"}, 400, "encoded as gzip"),
    ],
)
def test_bad_heads(delay: Client, headers: dict[str, str], status: int, wanted: str) -> None:
    got, found, answer = delay.ask("POST", delay.path, {"dataframe_records": [ROW]}, headers)
    assert (got, wanted in answer["message"]) == (status, True)
    assert ("www-authenticate" in found) == (status == 401)


def test_no_content_type_is_json_and_bearer_in_any_case(delay: Client) -> None:
    headers = {"Content-Type": "", "Authorization": f"bearer {delay.token}"}
    assert delay.ask("POST", delay.path, {"dataframe_records": [ROW]}, headers)[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/delay/invocations", 405),
        ("POST", "/delay/health", 405),
        ("GET", "/delay", 404),
        ("GET", "/delay/other", 404),
        ("GET", "/", 404),
        ("POST", "/nobody/invocations", 404),
        ("POST", "/delay/invocations/", 404),
        ("POST", "//invocations", 404),
        ("POST", "/delay%2finvocations", 404),
    ],
)
def test_what_is_not_there(delay: Client, method: str, path: str, status: int) -> None:
    got, headers, answer = delay.ask(method, path, b"" if method == "POST" else None)
    assert got == status
    assert answer["message"]
    assert ("allow" in headers) == (status == 405)


def test_half_a_request_and_a_hang_up_leave_the_front_well(delay: Client) -> None:
    with socket.create_connection((delay.host, delay.port)) as one:
        one.sendall(f"POST {delay.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n".encode())
        one.sendall(f"Authorization: Bearer {delay.token}\r\n\r\n{{".encode())
    assert delay.post({"dataframe_records": [ROW]})[0] == 200


# -- tokens, ports, names -------------------------------------------------------------------------


def test_the_token_is_a_private_file_and_in_no_row(live: Project, delay: Client) -> None:
    path = live.state / "secrets" / "endpoint-delay.token"
    assert path.read_text() == delay.token
    assert path.stat().st_mode & 0o777 == 0o600
    for file in live.state.glob("mlinfra.db*"):
        assert delay.token.encode() not in file.read_bytes()
    for log in (live.state / "logs").iterdir():
        assert delay.token not in log.read_text()


def test_only_loopback_listens(live: Project, delay: Client) -> None:
    front = process(live, "front")
    assert front is not None
    listening = [one.laddr.ip for one in front.net_connections() if one.status == psutil.CONN_LISTEN]
    assert listening == ["127.0.0.1"]


@pytest.mark.parametrize("name", ["Delay", "-x", "a.b", "a/b", "", "v2", "x" * 64])
def test_names_that_cannot_be(live: Project, name: str) -> None:
    with pytest.raises(Invalid, match="no name for an endpoint"):
        live.endpoints.publish("flights/1", name)


def test_what_does_not_exist(live: Project, delay: Client) -> None:
    with pytest.raises(NotFound, match="no model") as error:
        live.endpoints.publish("flight/1", "other")
    assert error.value.hint == "Did you mean “flights”?"
    with pytest.raises(NotFound) as error:
        live.endpoints.get("delai")
    assert error.value.hint == "Did you mean “delay”?"
    for ask in (live.endpoints.stop, live.endpoints.token, live.endpoints.predictions):
        with pytest.raises(NotFound):
            ask("nobody")
    with pytest.raises(NotFound):
        live.endpoints.revision("delay", 99)
    with pytest.raises(NotFound, match="There is no endpoint “delai”") as error:
        live.endpoints.prediction("delai.1.1.0")
    assert error.value.hint == "Did you mean “delay”?"
    with pytest.raises(NotFound, match="has no revision 99"):
        live.endpoints.prediction("delay.99.1.0")
    newest = delay.rows(ROW)["prediction_ids"][0]
    for id in ("delay.1.1.999999", "delay.1.999.0"):
        with pytest.raises(NotFound, match=id) as error:
            live.endpoints.prediction(id)
        assert newest in (error.value.hint or "")
        assert str(live.state) not in error.value.message


# -- revisions ------------------------------------------------------------------------------------


def test_a_switch_under_requests_loses_none(live: Project) -> None:
    client = published(live, "flights/1", "switching")
    first = client.rows(ROW)["predictions"][0]
    stop, failures, ids = threading.Event(), [], []

    def ask() -> None:
        mine = Client(live.endpoints.get("switching"), client.token, keep=True)
        while not stop.is_set():
            status, answer = mine.post({"dataframe_records": [ROW]})
            if status != 200:
                failures.append((status, answer))
            else:
                ids.append((answer["prediction_ids"][0], answer["predictions"][0]))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for one in threads:
        one.start()
    try:
        endpoint = live.endpoints.publish("flights/2", "switching").wait(PATIENCE)
        second = client.rows(ROW)["predictions"][0]
        eventually(lambda: process(live, "model", "switching.1") is None, 30)
    finally:
        stop.set()
        for one in threads:
            one.join()
    assert (endpoint.serving, endpoint.state) == (2, "up")
    assert not failures
    assert first != second
    assert {id.split(".")[1]: prediction for id, prediction in ids} == {"1": first, "2": second}
    assert live.endpoints.revision("switching", 1).state == "retired"
    assert live.endpoints.revision("switching", 2).state == "up"
    for id, prediction in ids[:: max(1, len(ids) // 50)]:
        assert live.endpoints.prediction(id).prediction == prediction


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        ("broken", "cannot be loaded"),
        ("moduleless", "needs the module “nobody_has_this”, which is not installed"),
    ],
)
def test_a_model_that_cannot_be_loaded_leaves_the_old_one(
    live: Project, delay: Client, model: str, wanted: str
) -> None:
    reference = live.endpoints.publish(model, "delay")
    with pytest.raises(Failed, match=wanted) as error:
        reference.wait(PATIENCE)
    assert error.value.hint == "Revision 1 goes on answering."
    found = live.endpoints.get("delay")
    assert (found.state, found.serving, found.wanted) == ("up", 1, reference.number)
    assert wanted in (found.reason or "")
    assert live.endpoints.revision("delay", reference.number).state == "failed"
    assert delay.rows(ROW)["prediction_ids"][0].startswith("delay.1.")
    eventually(lambda: process(live, "model", f"delay.{reference.number}") is None, 30)


@pytest.mark.faults
def test_a_first_revision_whose_process_dies_while_it_loads(live: Project) -> None:
    with pytest.raises(Failed, match="died 3 times while it loaded the model"):
        live.endpoints.publish("deadly", "hopeless").wait(PATIENCE)
    found = live.endpoints.get("hopeless")
    assert (found.state, found.serving) == ("failed", None)
    live.endpoints.stop("hopeless")


def test_a_pickled_model_of_this_project_is_taken_and_a_strangers_refused(live: Project) -> None:
    client = published(live, "pickled", "pickled")
    assert len(client.rows(ROW)["predictions"]) == 1
    live.endpoints.stop("pickled")
    strange = live.root / "from-somebody"
    source = next(path for path in (live.state / "models").iterdir() if path.name.startswith("pickled-"))
    shutil.copytree(source, strange)
    code = (
        "import mlflow, sys\n"
        "client = mlflow.MlflowClient()\n"
        "client.create_registered_model('strange')\n"
        "client.create_model_version('strange', sys.argv[1])"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(strange)],
        env=os.environ | live.runs.environment(),
        check=True,
        capture_output=True,
    )
    with pytest.raises(Failed, match="was written with cloudpickle, and no run of this project made it"):
        live.endpoints.publish("strange", "strange").wait(PATIENCE)
    live.endpoints.stop("strange")


def test_an_endpoint_outlives_its_runs_files(live: Project, delay: Client) -> None:
    files = live.state / live.endpoints.revision("delay", 1).model_path  # type: ignore[operator]
    assert files.is_relative_to(live.state / "models")
    assert (files / "MLmodel").exists()


def test_publishing_twice_in_a_row_and_stopping(live: Project) -> None:
    first = live.endpoints.publish("flights/1", "quick")
    second = live.endpoints.publish("flights/2", "quick")
    with pytest.raises(Conflict, match="replaced by revision 2"):
        first.wait(PATIENCE)
    client = Client(second.wait(PATIENCE), live.endpoints.token("quick"))
    assert client.rows(ROW)["prediction_ids"][0].startswith("quick.2.")
    stopped = live.endpoints.stop("quick")
    assert (stopped.state, stopped.serving, stopped.desired) == ("stopped", None, False)
    eventually(lambda: client.post({"dataframe_records": [ROW]})[0] == 404, 10)
    eventually(lambda: process(live, "model", "quick.2") is None, 30)
    token = client.token
    third = live.endpoints.publish("flights/1", "quick")
    assert third.number == 3
    assert third.wait(PATIENCE).serving == 3
    assert live.endpoints.token("quick") == token
    live.endpoints.stop("quick")
    with pytest.raises(Conflict, match="stopped"):
        third.wait(PATIENCE)


# -- kill -9 --------------------------------------------------------------------------------------


class Hammer:
    """Requests from several threads: what was acknowledged, and what else was said."""

    def __init__(self, live: Project, name: str, row: dict[str, Any]) -> None:
        self.ids: list[str] = []
        self.statuses: set[int] = set()
        self._stop = threading.Event()
        arguments = (live.endpoints.get(name), live.endpoints.token(name), row)
        self._threads = [threading.Thread(target=self._ask, args=arguments) for _ in range(3)]

    def _ask(self, endpoint: Endpoint, token: str, row: dict[str, Any]) -> None:
        client = Client(endpoint, token, keep=True)
        while not self._stop.is_set():
            try:
                status, answer = client.post({"dataframe_records": [row, row]})
            except (OSError, http.client.HTTPException):
                self._stop.wait(0.05)
                continue
            self.statuses.add(status)
            if status == 200:
                self.ids.extend(answer["prediction_ids"])

    def more(self, count: int) -> None:
        """Wait until so many more were acknowledged."""
        before = len(self.ids)
        eventually(lambda: len(self.ids) >= before + count, 120)

    def __enter__(self) -> Hammer:
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for one in self._threads:
            one.join()


@pytest.mark.faults
def test_the_model_process_is_killed_under_requests(live: Project, delay: Client) -> None:
    with Hammer(live, "delay", ROW) as hammer:
        hammer.more(20)
        victim = process(live, "model", "delay.1")
        assert victim is not None
        victim.kill()
        hammer.more(20)
    assert hammer.statuses <= {200, 503}
    assert len(set(hammer.ids)) == len(hammer.ids)
    for id in hammer.ids:
        assert live.endpoints.prediction(id).row == ROW
    again = process(live, "model", "delay.1")
    assert again is not None
    assert again.pid != victim.pid


@pytest.mark.faults
def test_the_front_is_killed_under_requests(live: Project, delay: Client) -> None:
    url = live.endpoints.get("delay").url
    model = process(live, "model", "delay.1")
    with Hammer(live, "delay", ROW) as hammer:
        hammer.more(20)
        victim = process(live, "front")
        assert victim is not None
        victim.kill()
        hammer.more(20)
    eventually(lambda: live.endpoints.get("delay").state == "up", 30)
    assert live.endpoints.get("delay").url == url, "the port is kept"
    assert process(live, "model", "delay.1") == model, "the model process was not the worse for it"
    assert len(set(hammer.ids)) == len(hammer.ids)
    for id in hammer.ids:
        assert live.endpoints.prediction(id).row == ROW
    assert len({id.split(".")[2] for id in hammer.ids}) == 2, "a new front begins a new segment"


@pytest.mark.faults
def test_a_request_that_kills_and_one_that_fails(live: Project, obedient: Client) -> None:
    status, headers, answer = obedient.ask(
        "POST", obedient.path, {"dataframe_records": [{"word": "die"}]}, None
    )
    assert (status, answer["code"]) == (503, "unavailable")
    assert int(headers["retry-after"]) > 0
    assert eventually(lambda: live.endpoints.get("obedient").reason or "", 30)
    status, answer = obedient.post({"dataframe_records": [{"word": "fail"}]})
    assert (status, answer["code"]) == (500, "failed")
    assert answer["message"] == "The model raised ValueError: that went wrong"
    assert obedient.rows({"word": "well"})["predictions"] == ["well"]


def test_the_front_ends_in_good_order(live: Project, obedient: Client) -> None:
    front = process(live, "front")
    assert front is not None
    mine = Client(live.endpoints.get("obedient"), obedient.token)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        slow = pool.submit(mine.rows, {"word": "slow"})
        eventually(slow.running, 5)
        busy = psutil.Process(front.pid)
        eventually(
            lambda: any(one.status == psutil.CONN_ESTABLISHED for one in busy.net_connections("tcp")), 5
        )
        front.terminate()
        answer = slow.result(60)
    assert answer["predictions"] == ["slow"]
    assert live.endpoints.prediction(answer["prediction_ids"][0]).prediction == "slow"
    eventually(lambda: not front.is_running() or front.status() == psutil.STATUS_ZOMBIE, 20)
    ended = eventually(lambda: outcome(live, front.pid), 20)
    assert ended == "exited"
    eventually(lambda: live.endpoints.get("obedient").state == "up", 60)


def outcome(live: Project, pid: int) -> str | None:
    """State of the launch of a process, once it is over."""
    with sqlite3.connect(live.state / "mlinfra.db") as connection:
        query = "SELECT state FROM launches WHERE pid = ? AND ended IS NOT NULL"
        row = connection.execute(query, (pid,)).fetchone()
    return None if row is None else str(row[0])


def test_rows_that_cannot_be_kept_are_answered_and_said_so(live: Project, obedient: Client) -> None:
    folder = live.state / "captures" / "quiet"
    client = published(live, "obedient", "quiet")
    folder.write_text("a file where the folder should be")
    answer = client.rows({"word": "well"})
    assert answer == {"predictions": ["well"], "prediction_ids": None, "captured": False}
    folder.unlink()
    assert client.rows({"word": "well"})["prediction_ids"] == ["quiet.1.1.0"]
    live.endpoints.stop("quiet")


def test_a_port_in_use_is_named_and_waited_for(make_project: Any, live: Project, delay: Client) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        project = make_project("busy", f"\n[serving]\nport = {port}\n")
        copy_of_models(live, project)
        reference = project.endpoints.publish("flights/1", "delay")
        with pytest.raises(Failed, match=f"port {port} of 127.0.0.1 .*process {os.getpid()}"):
            reference.wait(PATIENCE)
        assert project.endpoints.get("delay").state == "failed"
    found = eventually(lambda: (one := project.endpoints.get("delay")).state == "up" and one, PATIENCE)
    assert found.url == f"http://127.0.0.1:{port}/delay/invocations"
    client = Client(found, project.endpoints.token("delay"))
    assert client.post({"dataframe_records": [ROW]})[0] == 200


def copy_of_models(live: Project, project: Project) -> None:
    """The registry of one project in another; the files stay where they are."""
    with (
        sqlite3.connect(live.state / "mlflow.db") as there,
        sqlite3.connect(project.state / "mlflow.db") as here,
    ):
        there.backup(here)


def test_the_rows_hold_what_the_view_says(live: Project, delay: Client) -> None:
    view = store.view(live.storage)
    assert view.endpoints["delay"].serving == 1
    assert view.front is not None
    assert f"http://127.0.0.1:{view.front.info['port']}/delay/invocations" == view.endpoints["delay"].url
