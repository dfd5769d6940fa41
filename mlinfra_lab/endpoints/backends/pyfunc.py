"""Rows to what a pyfunc takes, and what it gives to plain JSON values."""

from __future__ import annotations

import datetime as dt
import decimal
import importlib
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from mlinfra_lab.endpoints import explain
from mlinfra_lab.errors import Failed, MissingDependency
from mlinfra_lab.schema.endpoints import InputColumn, Revision

_NUMPY = {"boolean": "bool", "integer": "int32", "long": "int64", "float": "float32", "double": "float64"}


def import_libraries() -> None:
    """Import what loading any model needs, which takes longer than the loading."""
    import pandas  # noqa: F401
    from mlflow import pyfunc  # noqa: F401


class _Absent:
    """A finder that finds nothing for one module, as if it was not installed.

    A ``None`` in ``sys.modules`` would do the same to an import, but scipy looks there by itself.
    """

    def __init__(self, module: str) -> None:
        self._module = module

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == self._module:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def _import_skops(folder: Path) -> None:
    """Import what reads a model that skops wrote, and no more than that.

    skops imports every module that scikit-learn has, one of which imports torch where it is installed:
    two seconds and 200 MB that no scikit-learn model needs.
    """
    if "serialization_format: skops" not in (folder / "MLmodel").read_text(encoding="utf-8"):
        return
    absent = _Absent("torch")
    sys.meta_path.insert(0, absent)
    try:
        importlib.import_module("skops.io")
    finally:
        sys.meta_path.remove(absent)


class Predictor:
    """An MLflow model, loaded.

    Parameters
    ----------
    folder
        MLflow's model.
    revision
        Its columns say how values are typed.

    Raises
    ------
    MissingDependency
        Naming a module that the model needs and that is not installed.
    Failed
        When it cannot be loaded for any other reason.
    """

    def __init__(self, folder: Path, revision: Revision) -> None:
        from mlflow import pyfunc

        try:
            _import_skops(folder)
            # What it would warn of, versions that differ, takes it a second to find out.
            self._model = pyfunc.load_model(str(folder), suppress_warnings=True)
        except ModuleNotFoundError as error:
            raise MissingDependency(
                f"The model needs the module “{error.name}”, which is not installed.",
                f"See {folder / 'requirements.txt'} for what it was trained with.",
            ) from error
        except Exception as error:
            raise Failed(f"The model cannot be loaded: {type(error).__name__}: {_short(error)}") from error
        self._columns = revision.columns
        self._tensor = revision.tensor

    def predict(self, rows: Sequence[Any], columns: Sequence[str] | None) -> list[Any]:
        """One plain value a row.

        Raises
        ------
        InvalidRequest
            When the values cannot be given to the model.
        Failed
            When it raised something, or gave what is no JSON.
        """
        data = self._data(rows, columns)
        try:
            result = self._model.predict(data)
        except Exception as error:
            raise Failed(f"The model raised {type(error).__name__}: {_short(error)}") from error
        return plain(result, len(rows))

    def _data(self, rows: Sequence[Any], columns: Sequence[str] | None) -> Any:
        import numpy as np
        import pandas as pd

        if self._columns:
            return frame(rows, self._columns)
        if columns is not None:
            return pd.DataFrame(list(rows), columns=list(columns))
        return np.asarray(rows, dtype=self._tensor[0] if self._tensor else None)


def frame(rows: Sequence[Sequence[Any]], columns: Sequence[InputColumn]) -> Any:
    """A DataFrame whose columns have exactly the signature's types, whatever the values look like.

    An optional column without any value is left out where its type knows no missing value.
    """
    import numpy as np
    import pandas as pd

    # What pandas itself makes of text, so that a model sees the same as when it was trained.
    text = "str" if int(pd.__version__.partition(".")[0]) >= 3 else object
    made: dict[str, Any] = {}
    for column, values in zip(columns, zip(*rows, strict=True), strict=True):
        if column.type in ("float", "double"):
            made[column.name] = np.array(values, dtype=_NUMPY[column.type])
        elif column.type == "string":
            made[column.name] = pd.Series(list(values), dtype=text)
        elif column.type == "datetime":
            naive = [None if value is None else value.replace(tzinfo=None) for value in values]
            made[column.name] = np.array(naive, dtype="datetime64[ns]")
        elif column.type == "binary":
            made[column.name] = pd.Series(list(values), dtype=object)
        elif None not in values:
            made[column.name] = np.array(values, dtype=_NUMPY[column.type])
        elif any(value is not None for value in values):
            raise explain.cell(
                values.index(None), column.name, f"{column.type} knows no missing value beside others"
            )
    return pd.DataFrame(made, copy=False)


def plain(result: Any, n: int) -> list[Any]:
    """What a model gave, as one JSON value a row; what is not a finite number is ``None``.

    Raises
    ------
    Failed
        When there is not one prediction a row, or a value that JSON does not have.
    """
    import numpy as np
    import pandas as pd

    if isinstance(result, pd.DataFrame):
        values = [_array(result[name].to_numpy()) for name in result.columns]
        names = [str(name) for name in result.columns]
        found: list[Any] = [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
    elif isinstance(result, dict) and result and all(hasattr(value, "__len__") for value in result.values()):
        return plain(pd.DataFrame({name: list(value) for name, value in result.items()}), n)
    else:
        if hasattr(result, "toarray"):
            result = result.toarray()
        elif hasattr(result, "detach"):
            result = result.detach().cpu().numpy()
        if isinstance(result, (pd.Series, pd.Index)):
            result = result.to_numpy()
        if isinstance(result, np.ndarray):
            result = _array(result.reshape(1) if result.ndim == 0 else result)
        elif isinstance(result, (list, tuple)):
            result = [_value(value) for value in result]
        else:
            raise Failed(f"The model gave a {type(result).__name__}; an endpoint needs one prediction a row.")
        found = result
    if len(found) != n:
        raise Failed(f"The model gave {len(found)} predictions for {n} rows; an endpoint needs one a row.")
    return found


def form(prediction: Any) -> Literal["value", "array", "record"]:
    """What one row's prediction is."""
    return "array" if isinstance(prediction, list) else "record" if isinstance(prediction, dict) else "value"


def _array(array: Any) -> list[Any]:
    import numpy as np

    kind = array.dtype.kind
    if kind == "f" and not np.isfinite(array).all():
        array = np.where(np.isfinite(array), array, None)
    elif kind == "M":
        text = np.datetime_as_string(array, unit="us", timezone="UTC").astype(object)
        array = np.where(np.isnat(array), None, text)
    elif kind in "biufU":
        return list(array.tolist())
    return [_value(value) for value in array.tolist()]


def _value(value: Any) -> Any:
    # numpy's scalars are subclasses of Python's, but no encoder takes them for such.
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, (list, tuple)):
        return [_value(inner) for inner in value]
    if isinstance(value, dict):
        return {str(key): _value(inner) for key, inner in value.items()}
    if isinstance(value, decimal.Decimal):
        return _value(float(value))
    if isinstance(value, (dt.datetime, dt.date)):
        text = value.isoformat()
        return None if text == "NaT" else text
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return _value(value.tolist())
    if type(value).__name__ == "NAType":
        return None
    raise Failed(f"The model gave a {type(value).__name__}, which cannot be written as JSON.")


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines() or ["no reason given"]
    return lines[0][:500]
