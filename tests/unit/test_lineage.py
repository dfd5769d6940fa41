"""The graph on its own: ids, walking, things that are gone, environment records."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlinfra_lab.errors import Invalid, NotFound
from mlinfra_lab.lineage import LineageService
from mlinfra_lab.lineage.environment import installed, interpreter_of
from mlinfra_lab.lineage.service import kind_of
from mlinfra_lab.project import Project
from mlinfra_lab.schema.common import now
from mlinfra_lab.schema.lineage import Edge, Node, NodeKind
from mlinfra_lab.storage.tables import alerts


@pytest.mark.parametrize(
    ("id", "kind"),
    [
        ("delay.1.1.17", "prediction"),
        ("my-end-point.12.3.0", "prediction"),
        ("delay.1", "revision"),
        ("flights@12", "dataset"),
        ("flights.v2@1", "dataset"),
        ("flights-delay/3", "model"),
        ("jabcdef23", "job"),
        ("0123456789abcdef0123456789abcdef", "run"),
    ],
)
def test_an_id_says_what_it_names(id: str, kind: str) -> None:
    assert kind_of(id) == kind


@pytest.mark.parametrize("id", ["", "what", "delay.1.1", "flights@", "a/b/c", "delay.1.1.17; rm -rf /"])
def test_what_is_no_id_is_answered_with_the_shapes(id: str) -> None:
    with pytest.raises(Invalid, match="no id") as error:
        kind_of(id)
    assert "delay.1.1.17" in str(error.value.hint)


def describe(kind: NodeKind, id: str) -> tuple[Node, list[Edge]]:
    missing = "It is gone." if id.startswith("jgone") else None
    return Node(kind=kind, id=id, title=id, missing=missing), []


def test_the_walk_visits_each_thing_once_and_ends_in_circles(project: Project) -> None:
    with project.storage.unit() as unit:
        unit.link("job", "jaaaaaaaa", "run", "r" * 32, "made")
        unit.link("dataset", "flights@1", "job", "jaaaaaaaa", "read")
        unit.link("job", "jaaaaaaaa", "dataset", "flights@1", "wrote")
        unit.link("job", "jgoneaaaa", "dataset", "flights@1", "wrote")
    trace = LineageService(project.storage, describe).show("jaaaaaaaa")
    assert trace.nodes[0].id == "jaaaaaaaa"
    assert sorted(node.id for node in trace.nodes) == ["flights@1", "jaaaaaaaa", "jgoneaaaa"]
    assert len(trace.edges) == 3
    (gone,) = [node for node in trace.nodes if node.missing]
    assert gone.id == "jgoneaaaa"


def test_the_thing_asked_for_must_exist(project: Project) -> None:
    with pytest.raises(NotFound, match="gone"):
        LineageService(project.storage, describe).show("jgoneaaaa")
    for id in ("jzzzzzzzz", "flights@1", "delay.1.1.1", "nothing/1", "f" * 32):
        with pytest.raises(NotFound):
            project.lineage.show(id)


def test_a_thing_is_found_by_what_other_commands_call_it(project: Project) -> None:
    names = {"flights@champion": "flights/2"}
    service = LineageService(project.storage, describe, lambda id: names.get(id, id))
    assert service.show("flights@champion").nodes[0].id == "flights/2"
    with pytest.raises(Invalid):
        service.show("nothing like it")


def test_an_environment_is_written_down_once(project: Project) -> None:
    first = project.lineage.record_environment("python3")
    assert first is not None
    assert project.lineage.record_environment("python3") == first
    record = project.lineage.environment(first)
    frozen = {line for line in installed() if line.startswith(("mlflow==", "dvc=="))}
    assert frozen <= set(record.packages)
    assert len(frozen) == 2
    with pytest.raises(NotFound):
        project.lineage.environment("0" * 16)


def test_another_interpreter_s_environment_is_its_own(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel of a bare environment: nothing of ours is installed there."""
    environment = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    spec = tmp_path / "kernels" / "bare"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(
        f'{{"argv": ["{python}", "-m", "ipykernel_launcher", "-f", "{{connection_file}}"], '
        '"display_name": "bare", "language": "python"}'
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert interpreter_of("bare") == str(python)
    hash = project.lineage.record_environment("bare")
    assert hash is not None
    assert project.lineage.environment(hash).packages == ()
    assert hash != project.lineage.record_environment("python3")
    assert project.lineage.record_environment("no-such-kernel") is None


def test_an_alert_stands_between_what_it_watched_and_what_it_asked_for(project: Project) -> None:
    alert = {
        "endpoint": "delay", "revision": 1, "rule": "quality", "state": "answered",
        "since": now(), "raised": now(),
        "value": 0.6, "limit": 0.5, "message": "Log loss is a fifth worse.", "explains": [["temp", 0.5]],
        "detail": {},
    }  # fmt: skip
    with project.storage.unit() as unit:
        unit.connection.execute(alerts.insert().values(number=7, **alert))
        unit.link("revision", "delay.1", "alert", "7", "raised")
        unit.link("alert", "7", "job", "jaaaaaaaa", "asked for")
    trace = project.lineage.show("alert:7")
    assert trace.nodes[0].facts["alert"] == "Log loss is a fifth worse."
    assert trace.nodes[0].facts["explained by"] == "temp 50%"
    assert [node.id for node in trace.nodes] == ["7", "delay.1"]
    with pytest.raises(NotFound):
        project.lineage.show("alert:8")
