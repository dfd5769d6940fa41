"""What is read from MLflow's files: signature, input example, and whether loading runs code."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from mlflow.types.schema import Array

from mlinfra_lab.endpoints import signature, work
from mlinfra_lab.endpoints.backends.pyfunc import Predictor
from mlinfra_lab.errors import Failed, Invalid, InvalidRequest
from mlinfra_lab.project import Project
from mlinfra_lab.schema.endpoints import InputColumn, Revision
from mlinfra_lab.schema.models import ModelVersion

pytestmark = pytest.mark.slow


def model(inputs: Any = None, flavors: dict[str, Any] | None = None) -> Model:
    found = Model(signature=None if inputs is None else ModelSignature(Schema(inputs)))
    found.flavors = flavors or {}
    return found


def test_columns() -> None:
    inputs = [ColSpec("double", "a"), ColSpec("datetime", "b", required=False)]
    assert work.inputs_of(model(inputs)) == (
        (InputColumn(name="a", type="double"), InputColumn(name="b", type="datetime", required=False)),
        None,
    )
    every = [ColSpec(kind, kind.name) for kind in DataType]
    columns, _ = work.inputs_of(model(every))
    signature.make(columns)


def test_tensors_and_nothing() -> None:
    assert work.inputs_of(model([TensorSpec(np.dtype("float32"), (-1, 3))])) == ((), ("float32", (-1, 3)))
    assert work.inputs_of(model()) == ((), None)


@pytest.mark.parametrize(
    ("inputs", "wanted"),
    [
        (
            [TensorSpec(np.dtype("float32"), (-1, 3), "a"), TensorSpec(np.dtype("float32"), (-1, 3), "b")],
            "several",
        ),
        ([ColSpec("double"), ColSpec("double")], "no names"),
        ([ColSpec(Array(DataType.double), "a")], "column `a` of type"),
        ([TensorSpec(np.dtype("float32"), (5, 3))], "fixed shape"),
    ],
)
def test_signatures_that_are_refused(inputs: Any, wanted: str) -> None:
    with pytest.raises(Invalid, match=wanted):
        signature.make(*work.inputs_of(model(inputs)))


SKLEARN = {"loader_module": "mlflow.sklearn"}


@pytest.mark.parametrize(
    ("pyfunc", "sklearn", "wanted"),
    [
        (SKLEARN, {"serialization_format": "skops", "skops_trusted_types": None, "code": None}, None),
        (SKLEARN, {"serialization_format": "skops", "skops_trusted_types": ["os.system"]}, "names types"),
        (SKLEARN, {"serialization_format": "skops", "code": "code"}, "code of its own"),
        (SKLEARN | {"code": "code"}, {"serialization_format": "skops"}, "code of its own"),
        (SKLEARN, {"serialization_format": "cloudpickle"}, "cloudpickle"),
        (SKLEARN, {"serialization_format": "pickle"}, "pickle"),
        (SKLEARN, {}, "pickle"),
        (SKLEARN, None, "pickle"),
        ({"loader_module": "mlflow.pyfunc.model"}, None, "mlflow.pyfunc.model"),
        ({"loader_module": "mlflow.pytorch"}, None, "mlflow.pytorch"),
        ({"loader_module": "their_loader"}, {"serialization_format": "skops"}, "their_loader"),
        ({}, {"serialization_format": "skops"}, "can run code"),
    ],
)
def test_what_can_run_code(pyfunc: dict[str, Any], sklearn: Any, wanted: str | None) -> None:
    flavors = {"python_function": pyfunc} | ({"sklearn": sklearn} if sklearn is not None else {})
    found = work.runs_code(model(flavors=flavors))
    assert (found is None) if wanted is None else (found is not None and wanted in found)


def test_examples(tmp_path: Path) -> None:
    columns = (InputColumn(name="a", type="double"),)
    file = tmp_path / "serving_input_example.json"

    def example(body: Any) -> Any:
        file.write_text(body if isinstance(body, str) else json.dumps(body))
        return work.example_of(model(), tmp_path, columns, None)

    split = {"dataframe_split": {"columns": ["a"], "data": [[n] for n in range(9)]}}
    assert example(split) == {"dataframe_split": {"columns": ["a"], "data": [[0], [1], [2], [3], [4]]}}
    assert example({"inputs": {"a": list(range(9))}}) == {"inputs": {"a": [0, 1, 2, 3, 4]}}
    assert example({"dataframe_records": [{"a": 1}] * 9}) == {"dataframe_records": [{"a": 1}] * 5}
    assert example({"dataframe_split": {"columns": ["b"], "data": [[1]]}}) is None, (
        "not what the signature says"
    )
    assert example("no JSON") is None
    assert example("[1]") is None
    optional = (InputColumn(name="a", type="double", required=False),)
    file.write_text('{"dataframe_split": {"columns": ["a"], "data": [[NaN], [1.5]]}}')  # as MLflow writes it
    found = work.example_of(model(), tmp_path, optional, None)
    assert found == {"dataframe_split": {"columns": ["a"], "data": [[None], [1.5]]}}
    file.unlink()
    assert work.example_of(model(), tmp_path, columns, None) is None


def test_a_tensor_model_from_its_files_to_its_predictions(tmp_path: Path) -> None:
    import mlflow
    from sklearn.linear_model import LinearRegression

    table = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 5.0]])
    fitted = LinearRegression().fit(table, table @ [[1.0, 0.0], [0.0, 2.0]])
    folder = tmp_path / "model"
    mlflow.sklearn.save_model(fitted, str(folder), input_example=table, pip_requirements=["scikit-learn"])
    read = Model.load(str(folder))
    columns, tensor = work.inputs_of(read)
    assert (columns, tensor) == ((), ("float64", (-1, 2)))
    body = work.example_of(read, folder, columns, tensor)
    batch = signature.make(columns, tensor).json(json.dumps(body).encode())
    predicted = Predictor(folder, revision(tensor=tensor)).predict(batch.rows, batch.columns)
    assert np.allclose(predicted, table * [1, 2])


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_a_model_without_a_signature_takes_names_or_arrays(tmp_path: Path) -> None:
    import mlflow
    from sklearn.linear_model import LinearRegression

    table = pd.DataFrame({"a": [0.0, 1.0, 2.0], "b": [1.0, 0.0, 5.0]})
    folder = tmp_path / "model"
    mlflow.sklearn.save_model(
        LinearRegression().fit(table, table.a), str(folder), pip_requirements=["scikit-learn"]
    )
    assert work.inputs_of(Model.load(str(folder))) == ((), None)
    predictor = Predictor(folder, revision())
    assert np.allclose(predictor.predict([[7, 1.5]], ("a", "b")), [7])
    assert np.allclose(predictor.predict([[7, 1.5]], None), [7])
    with pytest.raises(Failed, match="The model raised ValueError"):
        predictor.predict([["x", 1.5]], ("a", "b"))


def test_columns_reach_the_model_as_the_signature_says(tmp_path: Path) -> None:
    import mlflow
    from sklearn.linear_model import LinearRegression

    table = pd.DataFrame({"a": [0.0, 1.0, 2.0], "n": np.array([1, 0, 5], dtype="int32")})
    folder = tmp_path / "model"
    columns = [ColSpec("double", "a"), ColSpec("integer", "n")]
    mlflow.sklearn.save_model(
        LinearRegression().fit(table, table.a),
        str(folder),
        signature=ModelSignature(Schema(columns)),
        pip_requirements=["scikit-learn"],
    )
    found, _ = work.inputs_of(Model.load(str(folder)))
    batch = signature.make(found).json(b'{"instances": [{"n": 3.0, "a": 7}]}')
    assert np.allclose(Predictor(folder, revision(columns=found)).predict(batch.rows, None), [7])
    with pytest.raises(InvalidRequest):
        signature.make(found).json(b'{"instances": [{"n": 3.5, "a": 7}]}')


def revision(columns: Any = (), tensor: Any = None) -> Revision:
    return Revision(
        endpoint="e",
        number=1,
        model="m",
        version=1,
        run=None,
        alias=None,
        state="starting",
        columns=columns,
        tensor=tensor,
        created=dt.datetime.now(dt.UTC),
        created_by="me",
    )


def version(source: Path) -> ModelVersion:
    return ModelVersion(name="m/1 x", version=1, source=str(source), created=dt.datetime.now(dt.UTC))


def test_fetching_copies_once_and_leaves_nothing_half(project: Project, tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "MLmodel").write_text("flavors: {}")
    given = version(files)
    folder = work.fetch(project, given)
    assert folder.parent == project.state / "models"
    assert (folder / "MLmodel").read_text() == "flavors: {}"
    (files / "MLmodel").unlink()
    assert work.fetch(project, given) == folder, "what is there is not fetched again"
    with pytest.raises(Failed, match="cannot be fetched"):
        work.fetch(project, version(tmp_path / "nothing"))
    assert [path.name for path in (project.state / "models").iterdir()] == [folder.name]
