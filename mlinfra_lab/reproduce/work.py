"""Asking reproduced models, which needs MLflow and whatever they were made with."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlinfra_lab.endpoints import signature
from mlinfra_lab.endpoints import work as serving
from mlinfra_lab.endpoints.backends.pyfunc import Predictor
from mlinfra_lab.errors import Conflict, Failed, NotFound
from mlinfra_lab.reproduce import compare
from mlinfra_lab.reproduce.service import Question
from mlinfra_lab.schema.common import JSON, now
from mlinfra_lab.schema.endpoints import Prediction, Revision
from mlinfra_lab.schema.lineage import Compared
from mlinfra_lab.schema.models import ModelVersion
from mlinfra_lab.tasks import Report

if TYPE_CHECKING:
    from mlinfra_lab.project import Project

_MOST_ROWS = 10_000


def answers(project: Project, args: JSON, report: Report) -> list[Compared]:
    """What reproduced models answer, beside what the originals answered.

    Parameters
    ----------
    args
        ``job``, the reproduction, and ``questions``, each a `Question`.
    """
    questions = msgspec.convert(args["questions"], list[Question])
    made = {one.id for run in project.jobs.get(args["job"]).runs for one in project.runs.logged_models(run)}
    found: list[Compared] = []
    for question in questions:
        if question.logged not in made:
            # Loading a model can run whatever it holds.
            raise Conflict(f"The model {question.logged} was not made by job {args['job']}.")
        report(f"loading what {question.model} became")
        with tempfile.TemporaryDirectory(prefix="mlinfra-") as folder:
            copy = _fetch(project, question.logged, Path(folder))
            if question.predictions:
                found += _predictions(project, question, copy, report)
            else:
                found.append(_example(project, question, copy))
    return found


def _fetch(project: Project, logged: str, folder: Path) -> Path:
    os.environ.update(project.runs.environment() | {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"})
    from mlflow import artifacts

    try:
        return Path(artifacts.download_artifacts(artifact_uri=f"models:/{logged}", dst_path=str(folder)))
    except Exception as error:
        raise Failed(
            f"The files of the reproduced model {logged} cannot be fetched: {error}",
            "Look whether its run's artifacts are still there, or reproduce it with --again.",
        ) from error


# -- captured rows ------------------------------------------------------------------------------------


class _Asked:
    """A model that is asked captured rows, typed as its endpoint types them."""

    def __init__(self, folder: Path, revision: Revision) -> None:
        self._predictor = Predictor(folder, revision)
        self._names = [column.name for column in revision.columns]

    def __call__(self, rows: Sequence[Any]) -> list[Any]:
        first = rows[0]
        if self._names:
            return self._predictor.predict([[row[name] for name in self._names] for row in rows], None)
        if isinstance(first, dict):
            return self._predictor.predict([list(row.values()) for row in rows], list(first))
        return self._predictor.predict(rows, None)


def _predictions(project: Project, question: Question, copy: Path, report: Report) -> list[Compared]:
    models: dict[int, _Asked] = {}
    originals: dict[int, _Asked] = {}
    found = []
    for number, id in enumerate(question.predictions):
        report(f"asking for {id}", number, len(question.predictions))
        captured = project.endpoints.prediction(id)
        revision = project.endpoints.revision(captured.endpoint, captured.revision)
        asked = models.setdefault(revision.number, _Asked(copy, revision))
        one = compare.value("prediction", id, captured.prediction, asked([captured.row])[0])
        if not one.same:
            one = _beside(project, captured, asked, one)
        if not one.same:
            if revision.number not in originals:
                originals[revision.number] = _Asked(
                    serving.fetch(project, project.models.get(question.model)), revision
                )
            alone = originals[revision.number]([captured.row])[0]
            if compare.value("prediction", id, alone, one.now).same:
                note = (
                    "asked for this row alone, the original answers just this: it was answered among others"
                )
                one = msgspec.structs.replace(one, note=note)
        found.append(one)
    return found


def _beside(project: Project, captured: Prediction, asked: _Asked, alone: Compared) -> Compared:
    """The row asked for among those of its request: libraries add up many rows in another order than one."""
    rows, place = _request(project, captured)
    if len(rows) == 1:
        return alone
    one = compare.value("prediction", captured.id, captured.prediction, asked(rows)[place])
    return one if one.same else alone


def _request(project: Project, captured: Prediction) -> tuple[list[Any], int]:
    """The rows of the request that a row came with, and its place among them."""
    stem, _, last = captured.id.rpartition(".")

    def near(step: int) -> list[Any]:
        rows: list[Any] = []
        number = int(last) + step
        while number >= 0 and len(rows) < _MOST_ROWS:
            try:
                other = project.endpoints.prediction(f"{stem}.{number}")
            except NotFound:
                break
            if other.request != captured.request or other.at != captured.at:
                break
            rows.append(other.row)
            number += step
        return rows

    before = near(-1)[::-1]
    return [*before, captured.row, *near(1)], len(before)


# -- no prediction was named --------------------------------------------------------------------------


def _example(project: Project, question: Question, copy: Path) -> Compared:
    """Both models asked the rows of the original's input example."""
    version = project.models.get(question.model)
    original = serving.fetch(project, version)
    from mlflow.models import Model

    model = Model.load(str(original))
    columns, tensor = serving.inputs_of(model)
    body = serving.example_of(model, original, columns, tensor)
    if body is None:
        return Compared(
            kind="model",
            name=question.model,
            same=True,
            counts=False,
            note="it was logged without an example",
        )
    revision = _revision(version, columns, tensor)
    batch = signature.make(columns, tensor).json(msgspec.json.encode(body))
    then, now_ = (
        Predictor(folder, revision).predict(batch.rows, batch.columns) for folder in (original, copy)
    )
    return compare.value("model", f"{question.model} asked its input example", then, now_)


def _revision(version: ModelVersion, columns: Any, tensor: Any) -> Revision:
    return Revision(
        endpoint="none",
        number=0,
        model=version.name,
        version=version.version,
        run=version.run,
        alias=None,
        state="up",
        columns=columns,
        tensor=tensor,
        created=now(),
        created_by="",
    )
