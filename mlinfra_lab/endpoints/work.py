"""Preparing a revision: the model's files, its signature, and whether it may be loaded at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlinfra_lab.endpoints import signature, store
from mlinfra_lab.endpoints.capture import sync_folder
from mlinfra_lab.errors import Failed, Invalid, MLInfraError
from mlinfra_lab.schema.common import JSON
from mlinfra_lab.schema.endpoints import InputColumn, Revision
from mlinfra_lab.schema.models import ModelVersion
from mlinfra_lab.tasks import Report

if TYPE_CHECKING:
    from mlflow.models import Model

    from mlinfra_lab.project import Project

BASELINE = "mlinfra_lab.monitoring.work:baseline"
"""The task that follows: what the traffic is held against."""
_MOST_EXAMPLE_BYTES = 64 * 1024
_MOST_EXAMPLE_ROWS = 5


def prepare(project: Project, args: JSON, report: Report) -> Revision:
    """Make a revision ready to be served; whatever is wrong with its model fails it.

    Parameters
    ----------
    args
        ``endpoint``, ``number``, and the ``model`` version as it was when it was published.
    """
    name, number = args["endpoint"], args["number"]
    revision = project.endpoints.revision(name, number)
    if revision.state != "preparing":
        return revision
    try:
        _prepare(project, revision, msgspec.convert(args["model"], ModelVersion), report)
    except BaseException as error:
        # Also when the task is cancelled: what is not prepared cannot answer.
        reason = error.message if isinstance(error, MLInfraError) else f"{type(error).__name__}: {error}"
        with project.storage.unit(revision.created_by) as unit:
            store.fail(unit, name, number, reason)
        raise
    return project.endpoints.revision(name, number)


def _prepare(project: Project, revision: Revision, version: ModelVersion, report: Report) -> None:
    report(f"Fetching {version.ref}", 0, 2)
    folder = fetch(project, version)
    report("Reading the signature", 1, 2)
    model = _load(folder, version)
    if (how := runs_code(model)) and not project.models.is_own(version):
        raise Invalid(
            f"{version.ref} {how}, and no run of this project made it: loading it could run anything.",
            "Train it in this project, or have it logged with serialization_format='skops'.",
        )
    columns, tensor = inputs_of(model)
    signature.make(columns, tensor)  # complains about what requests cannot be checked against
    where = folder.relative_to(project.state) if folder.is_relative_to(project.state) else folder
    with project.storage.unit(revision.created_by) as unit:
        store.update_revision(
            unit,
            revision.endpoint,
            revision.number,
            "preparing",
            state="starting",
            model_path=str(where),
            columns=msgspec.to_builtins(columns),
            tensor=tensor,
            example=example_of(model, folder, columns, tensor),
        )
        who = {"endpoint": revision.endpoint, "number": revision.number}
        unit.task(BASELINE, f"endpoint:{revision.endpoint}", who)


def fetch(project: Project, version: ModelVersion) -> Path:
    """A copy of a version's files that nothing but this project can take away.

    Built beside and renamed, so that a folder with the right name is whole.
    """
    slug = re.sub(r"[^A-Za-z0-9._-]", "_", version.name)
    # The same name and version can come again in a registry that was emptied; its files do not.
    key = hashlib.sha256(f"{version.source} {version.created.isoformat()}".encode()).hexdigest()[:8]
    models = project.state / "models"
    folder = models / f"{slug}-{version.version}-{key}"
    if folder.is_dir():
        return folder
    # What libraries read from the environment they read late, so it has to stand there.
    os.environ.update(project.runs.environment() | {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"})
    from mlflow import artifacts

    beside = Path(tempfile.mkdtemp(prefix=".new-", dir=models))
    try:
        try:
            got = Path(artifacts.download_artifacts(artifact_uri=version.source, dst_path=str(beside)))
        except Exception as error:
            raise Failed(
                f"The files of {version.ref} cannot be fetched from {version.source}: {error}",
                "Look whether the run's artifacts are still there.",
            ) from error
        _rename(got, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def _rename(got: Path, folder: Path) -> None:
    for path in (got, *got.rglob("*")):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    try:
        got.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise  # else another endpoint of the same model was faster
    sync_folder(folder.parent)


def _load(folder: Path, version: ModelVersion) -> Model:
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model

    try:
        model: Model = Model.load(str(folder))
    except (MlflowException, OSError, ValueError, TypeError, KeyError) as error:
        raise Failed(f"{version.ref} is no MLflow model: {error}") from error
    if "python_function" not in (model.flavors or {}):
        flavors = ", ".join(model.flavors or {}) or "none"
        raise Invalid(
            f"{version.ref} cannot be asked for predictions (its flavors: {flavors}).",
            "Log it with a flavor that has python_function.",
        )
    return model


def runs_code(model: Model) -> str | None:
    """How loading a model can run code that came with it; ``None`` when it cannot.

    Only what is known to hold nothing but data passes: scikit-learn written with skops, whose loader
    refuses unknown types as long as the model itself does not name any to be trusted. Everything else
    unpickles, or imports code of its own.
    """
    pyfunc: dict[str, Any] = model.flavors["python_function"]
    if pyfunc.get("code"):
        return "brings code of its own"
    sklearn: dict[str, Any] = model.flavors.get("sklearn") or {}
    if pyfunc.get("loader_module") != "mlflow.sklearn":
        return f"is loaded by {pyfunc.get('loader_module')}, which can run code"
    if sklearn.get("code"):
        return "brings code of its own"
    written = sklearn.get("serialization_format", "pickle")
    if written != "skops":
        return f"was written with {written}"
    if sklearn.get("skops_trusted_types"):
        return "names types that are to be trusted"
    return None


def inputs_of(model: Model) -> tuple[tuple[InputColumn, ...], tuple[str, tuple[int, ...]] | None]:
    """Columns, or type and shape of the tensor, of a model's signature; nothing of either without one.

    Raises
    ------
    Invalid
        For a signature that requests cannot be checked against.
    """
    schema = model.signature.inputs if model.signature is not None else None
    if schema is None or not schema.inputs:
        return (), None
    if schema.is_tensor_spec():
        if schema.has_input_names():
            raise Invalid(
                f"The model takes several tensors ({', '.join(schema.input_names())}).",
                "An endpoint takes one tensor, or columns.",
            )
        spec = schema.inputs[0]
        return (), (str(spec.type), tuple(int(length) for length in spec.shape))
    if not schema.has_input_names():
        raise Invalid("The signature's columns have no names.", "Log the model with a DataFrame's signature.")
    return tuple(
        InputColumn(name=str(spec.name), type=_type(spec.type), required=bool(spec.required))
        for spec in schema.inputs
    ), None


def _type(kind: Any) -> str:
    name = getattr(kind, "name", None)
    return name if isinstance(name, str) else str(kind)


def example_of(
    model: Model,
    folder: Path,
    columns: tuple[InputColumn, ...],
    tensor: tuple[str, tuple[int, ...]] | None,
) -> JSON | None:
    """The model's input example as the body of a request, its first rows; ``None`` without a usable one."""
    info = model.saved_input_example_info or {}
    path = folder / str(info.get("serving_input_path") or "serving_input_example.json")
    try:
        # MLflow writes a missing number as NaN, which is no JSON and which no endpoint takes.
        text = path.read_text(encoding="utf-8")
        body = msgspec.json.encode(json.loads(text, parse_constant=lambda _: None))
        example = msgspec.json.decode(body, type=dict[str, Any])
        signature.make(columns, tensor).json(body)
    except (OSError, ValueError, MLInfraError):
        return None
    short = {form: _head(value) for form, value in example.items()}
    return short if len(msgspec.json.encode(short)) <= _MOST_EXAMPLE_BYTES else None


def _head(value: Any) -> Any:
    if isinstance(value, list):
        return value[:_MOST_EXAMPLE_ROWS]
    if isinstance(value, dict) and "data" in value and "columns" in value:
        return {"columns": value["columns"], "data": value["data"][:_MOST_EXAMPLE_ROWS]}
    if isinstance(value, dict):
        return {
            name: one[:_MOST_EXAMPLE_ROWS] if isinstance(one, list) else one for name, one in value.items()
        }
    return value
