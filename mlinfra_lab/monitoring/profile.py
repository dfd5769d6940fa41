"""What a training notebook calls to describe what its model was trained on, and how it answered."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mlinfra_lab.errors import Invalid
from mlinfra_lab.monitoring import cells
from mlinfra_lab.monitoring.baselines import ARTIFACT, describe, encode, shape_of
from mlinfra_lab.monitoring.cells import Coded, Values
from mlinfra_lab.schema.monitoring import Baseline, Problem

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["log", "make_baseline"]


def make_baseline(
    inputs: pd.DataFrame,
    held_out: pd.DataFrame,
    predictions: Any,
    truth: Any = None,
    positive: Any = None,
    times: Any = None,
    *,
    problem: Problem | None = None,
    classes: Sequence[Any] | None = None,
) -> Baseline:
    """Describe a model's training data, and its answers on rows that it has not seen.

    Parameters
    ----------
    inputs
        The training rows, columns named as in the model's signature.
    held_out
        Rows with the same columns that the model was not trained on.
    predictions
        The model's answers to them: probabilities of shape (rows, classes), or one value each.
    truth
        What came true of them; without it there is no quality to hold later answers against.
    positive
        The class whose probability is watched; of two classes the greater one when it is not said. Of
        several classes none: then it is watched which of them is predicted.
    times
        When each training row happened; first and last are kept.
    problem
        ``"binary"``, ``"multiclass"`` or ``"regression"``; told from predictions and truth when it is not
        said: a table of probabilities, text and booleans are of classes; single whole numbers are classes
        when the truth is whole, too, and has few values; single fractions are of two classes when they lie
        within 0 … 1 and the truth has two values; everything else is a regression.
    classes
        The classes in the order of the table's columns (an estimator's ``classes_``); the sorted values of
        the truth when it is not said.

    Raises
    ------
    Invalid
        When these do not belong together.
    """
    if list(inputs.columns) != list(held_out.columns):
        odd = sorted(set(map(str, inputs.columns)) ^ set(map(str, held_out.columns)))
        raise Invalid(
            "Training and held-out rows have different columns"
            + (f" ({', '.join(odd)})." if odd else ", or in another order."),
            "Give both the model's features: train[FEATURES], held_out[FEATURES].",
        )
    answers = _answers(predictions, len(held_out))
    true = None if truth is None else _plain(truth)
    if true is not None and len(true) != len(held_out):
        raise Invalid(f"There are {len(true)} truths for {len(held_out)} held-out rows.")
    shape = shape_of(answers, true, positive, problem, classes)
    columns = {str(name): _values(inputs[name]) for name in inputs.columns}
    beside = {str(name): _values(held_out[name]) for name in held_out.columns}
    first, last = _ends(times)
    return describe(shape, columns, len(inputs), beside, answers, true, first=first, last=last)


def log(
    inputs: pd.DataFrame,
    held_out: pd.DataFrame,
    predictions: Any,
    truth: Any = None,
    positive: Any = None,
    times: Any = None,
    *,
    problem: Problem | None = None,
    classes: Sequence[Any] | None = None,
) -> Baseline:
    """Write a baseline into MLflow's active run, where publishing the run's model finds it.

    Parameters are those of `make_baseline`. A second call replaces the first one's file.

    Raises
    ------
    Invalid
        No run is active, or what was given does not belong together.
    """
    import mlflow

    run = mlflow.active_run()
    if run is None:
        raise Invalid(
            "There is no active run to write the baseline into.",
            "Call it where the model is logged: with mlflow.start_run(): …",
        )
    baseline = make_baseline(
        inputs, held_out, predictions, truth, positive, times, problem=problem, classes=classes
    )
    baseline = msgspec.structs.replace(baseline, source=f"run:{run.info.run_id}")
    mlflow.log_text(encode(baseline).decode(), ARTIFACT)
    return baseline


# -- what comes in --------------------------------------------------------------------------------


def _answers(predictions: Any, rows: int) -> list[Any]:
    """Predictions as they are captured: a value a row, or a list of values."""
    plain = _plain(predictions)
    if len(plain) != rows:
        raise Invalid(
            f"There are {len(plain)} predictions for {rows} held-out rows.",
            "Give the model's answers to exactly these rows: model.predict_proba(held_out[FEATURES]).",
        )
    if not rows:
        raise Invalid("There are no held-out rows.", "Keep some rows back from training.")
    if isinstance(plain[0], list) and len(plain[0]) == 1:
        return [value[0] for value in plain]
    return plain


def _plain(values: Any) -> list[Any]:
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    found: list[Any] = values.tolist() if hasattr(values, "tolist") else list(values)
    return found


def _values(column: Any) -> Values:
    """One of a DataFrame's columns, as it can be counted."""
    if hasattr(column, "columns"):
        raise Invalid("Two columns have the same name.", "Give each feature once.")
    kind = column.dtype
    if hasattr(kind, "categories") and hasattr(column, "cat"):
        return Coded(column.cat.codes.to_numpy(), kind.categories.tolist())
    letter = getattr(kind, "kind", "O")
    if letter in "iuf":
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    if letter in "mM":
        if getattr(kind, "tz", None) is not None:
            column = column.dt.tz_convert("UTC").dt.tz_localize(None)
        return np.asarray(column.to_numpy())
    plain = np.asarray(column.to_numpy(dtype=object))
    if cells.kind_of(plain) == "number":
        return cells.numbers(plain)
    try:
        codes, names = column.factorize()
    except TypeError:  # lists and objects have no hash
        return plain
    return Coded(np.asarray(codes), names.tolist())


def _ends(times: Any) -> tuple[dt.datetime | None, dt.datetime | None]:
    if times is None:
        return None, None
    found = cells.numbers(_values(times) if hasattr(times, "dtype") and hasattr(times, "to_numpy") else times)
    found = found[np.isfinite(found)]
    if not len(found):
        return None, None
    return tuple(dt.datetime.fromtimestamp(float(end), dt.UTC) for end in (found.min(), found.max()))  # type: ignore[return-value]
