"""How wrong a version's answers are: sums by row, so that windows merge by adding.

Log loss is the mean of ``-ln p(truth)`` (Good, "Rational decisions", 1952), the Brier score the mean squared
distance of the probabilities from the truth (Brier 1950; for two classes that of the positive one).
While truth is on its way, `estimate` says what it will probably be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlinfra_lab.monitoring.cells import Coded, Floats, Values, numbers, text
from mlinfra_lab.schema.monitoring import Baseline, Counts

__all__ = ["FIELDS", "Answers", "auc", "estimate", "figures", "held_out", "metric"]

FIELDS = ("n", "loss", "brier", "correct", "score", "truth")
"""What is summed, see `Answers.losses`."""

_LEAST = 1e-15  # a probability below is taken for this, or one wrong answer would be infinitely wrong
_ABSURD = 1e9
"""So many times the largest number that the model was seen to say is no prediction and no truth. Sums are
kept by adding and taking off again: beside a far larger number all others would be rounded away, and stay
away when that one is put right."""
_LARGEST = 1e140  # the sum of its square stays finite however many rows there are


class Answers:
    """Reads a version's predictions, and truths, as its baseline says they are to be read.

    Parameters
    ----------
    baseline
        Its problem, classes and positive class; a prediction that is a list holds one probability for
        each class, a bare number is the positive class's probability (binary) or the predicted number.
    """

    def __init__(self, baseline: Baseline) -> None:
        self._problem = baseline.problem
        self._classes = baseline.classes
        self._place = {name: place for place, name in enumerate(baseline.classes)}
        self._spelled = {text(name): place for place, name in enumerate(baseline.classes)}
        self._named = baseline.prediction.kind == "category"
        self._probabilities = baseline.probabilities
        self._score = baseline.score
        self._most = _most(baseline)
        self._positive = self._class_of(baseline.positive) if baseline.positive is not None else -1

    # -- scores -----------------------------------------------------------------------------------

    def scores(self, predictions: Sequence[Any]) -> Values:
        """What is counted into the baseline's prediction cells.

        Returns
        -------
        Values
            The positive class's probability or the predicted number, NaN where a prediction cannot be
            read; for several classes the most probable one's name.
        """
        if self._problem == "regression":
            return self._numbers(predictions)
        if not self._named:
            return self._probability(predictions)
        if self._probabilities:
            table = self._table(predictions)
            best = np.where(np.isnan(table).any(axis=1), -1, _best(table))
            return Coded(best, [text(name) for name in self._classes])
        return [self._only(value) for value in predictions]

    def _numbers(self, predictions: Sequence[Any]) -> Floats:
        return numbers([self._only(value) for value in predictions])

    def _probability(self, predictions: Sequence[Any]) -> Floats:
        """The positive class's probability, by row."""
        if self._score is not None and self._has_probabilities(predictions):
            table = self._table(predictions)
            return table[:, self._score] if self._score < table.shape[1] else table[:, :1] * np.nan
        return self._numbers(predictions)

    def _has_probabilities(self, predictions: Sequence[Any]) -> bool:
        if isinstance(predictions, np.ndarray):
            return predictions.ndim == 2 and predictions.shape[1] > 1
        return any(isinstance(value, list | tuple | dict) and len(value) > 1 for value in predictions)

    def _table(self, predictions: Sequence[Any]) -> Floats:
        """Probabilities by row and class; a row that is none is NaN throughout."""
        width = len(self._classes)
        try:
            table = np.asarray(predictions, dtype=np.float64)
            if table.ndim == 2 and table.shape[1] == width:
                return table
        except (TypeError, ValueError):
            pass
        table = np.full((len(predictions), width), np.nan)
        for row, value in enumerate(predictions):
            given = [value.get(text(name)) for name in self._classes] if isinstance(value, dict) else value
            if isinstance(given, list | tuple) and len(given) == width:
                table[row] = numbers(given)
        return table

    @staticmethod
    def _only(value: Any) -> Any:
        """What a row's prediction is when it is one thing, also where it stands in a list or record."""
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list | tuple):
            return value[0] if len(value) == 1 else None
        return value

    # -- losses -----------------------------------------------------------------------------------

    def losses(self, predictions: Sequence[Any], truths: Sequence[Any]) -> Floats:
        """What each row adds to the sums; take it off again when a later truth replaces it.

        Parameters
        ----------
        predictions, truths
            As they were captured, one each a row.

        Returns
        -------
        array of shape (rows, 6)
            `FIELDS`: 1; log loss, or 1 for a wrong class where there are no probabilities, or absolute
            error; Brier score or squared error; 1 for a right class; the score; 1 for a positive truth, or
            the true number. All 0 where prediction or truth cannot be read (a class the model does not
            know, say, or a number that is beyond reason, see `_ABSURD`).
        """
        if self._problem == "regression":
            predicted, true = self._numbers(predictions), self._numbers(truths)
            known = self._sane(predicted) & self._sane(true)
            predicted, true = np.where(known, predicted, 0.0), np.where(known, true, 0.0)
            wrong = predicted - true
            return _rows(known, np.abs(wrong), wrong**2, 0.0 * wrong, predicted, true)
        if not self._probabilities:
            return self._labels(predictions, truths)
        places = np.array([self._class_of(value) for value in truths], dtype=np.intp)
        if self._named:
            return self._multiclass(self._table(predictions), places)
        score = self._probability(predictions)
        known = self._sane(score) & (places >= 0)
        score = np.where(known, score, 0.0)
        positive = (places == self._positive).astype(np.float64)
        right = np.where(positive == 1, score, 1 - score)
        correct = (score > 0.5) == (positive == 1)
        return _rows(known, _log(right), (score - positive) ** 2, correct, score, positive)

    def _sane(self, values: Floats) -> npt.NDArray[np.bool_]:
        sane: npt.NDArray[np.bool_] = np.abs(values) <= self._most  # not so for NaN either
        return sane

    def _multiclass(self, table: Floats, places: npt.NDArray[np.intp]) -> Floats:
        known = self._sane(table).all(axis=1) & (places >= 0)
        table = np.where(known[:, None], table, 0.0)
        rows, best = np.arange(len(table)), _best(table)
        right = table[rows, places]
        brier = (table**2).sum(axis=1) - 2 * right + 1
        correct = best == places
        return _rows(known, _log(right), brier, correct, table[rows, best], correct)

    def _labels(self, predictions: Sequence[Any], truths: Sequence[Any]) -> Floats:
        predicted, true = (
            [self._only(value) for value in predictions],
            [self._only(value) for value in truths],
        )
        known = np.array(
            [a is not None and b is not None for a, b in zip(predicted, true, strict=True)], dtype=bool
        )
        names = [[text(value) for value in side] for side in (predicted, true)]
        correct = np.array([a == b for a, b in zip(*names, strict=True)], dtype=bool)
        positive = [
            np.array(
                [self._positive >= 0 and self._spelled.get(name) == self._positive for name in side], bool
            )
            for side in names
        ]
        return _rows(known, ~correct, ~correct, correct, positive[0], positive[1])

    def _class_of(self, value: Any) -> int:
        value = self._only(value)
        try:
            place = self._place.get(value)
        except TypeError:
            return -1
        if place is None:
            place = -1 if value is None else self._spelled.get(text(value), -1)
        return place


def _most(baseline: Baseline) -> float:
    """How large a number can be that is believed."""
    edges = baseline.prediction.edges if baseline.problem == "regression" else ()
    largest = max((abs(edge) for edge in edges if math.isfinite(edge)), default=1.0)
    return min(_ABSURD * max(largest, 1.0), _LARGEST)


def _best(table: Floats) -> npt.NDArray[np.intp]:
    best: npt.NDArray[np.intp] = np.argmax(np.where(np.isnan(table), -1, table), axis=1)
    return best


def _log(right: Floats) -> Floats:
    return -np.log(np.clip(right, _LEAST, 1.0))


def _rows(known: npt.NDArray[np.bool_], *columns: npt.NDArray[Any]) -> Floats:
    table = np.column_stack([known, *columns]).astype(np.float64)
    table[~known] = 0.0
    return table


# -- figures --------------------------------------------------------------------------------------


def metric(baseline: Baseline) -> str:
    """Which figure the loss is: ``log_loss``, ``error_rate`` (classes without probabilities) or ``mae``."""
    if baseline.problem == "regression":
        return "mae"
    return "log_loss" if baseline.probabilities else "error_rate"


def figures(baseline: Baseline, sums: Mapping[str, float]) -> dict[str, float]:
    """Figures of some rows from their sums; nothing when there are no rows.

    Returns
    -------
    dict
        ``log_loss``, ``brier``, ``accuracy`` (or ``error_rate`` and ``accuracy``), or ``mae`` and ``rmse``.
    """
    n = sums.get("n", 0)
    if not n:
        return {}
    loss, brier = sums["loss"] / n, max(sums["brier"], 0.0) / n
    name = metric(baseline)
    if name == "mae":
        return {"mae": loss, "rmse": math.sqrt(brier)}
    found = {name: loss, "accuracy": sums["correct"] / n}
    return found | {"brier": brier} if name == "log_loss" else found


def held_out(baseline: Baseline) -> float | None:
    """The loss on held-out rows; ``None`` where the baseline has no truth."""
    return baseline.quality.get(metric(baseline))


def estimate(baseline: Baseline, counts: Counts) -> dict[str, float]:
    """Quality of a window whose truth is not known, from how its scores are spread over the cells.

    Confidence-based performance estimation: where the score is ``s``, rows are positive at the rate ``r``, so
    that one is expected to lose ``-r ln s - (1 - r) ln(1 - s)``. Source: NannyML's CBPE; Bialek et al.,
    "Estimating Model Performance Under Covariate Shift Without Labels" (2024, arXiv:2401.08348). Here ``s``
    is the mean score of the window's rows in a cell, and ``r`` is ``s`` put right by as much as held-out
    rows of that cell were positive more often than they scored. The estimate is then moved so that it is
    exact on the held-out rows themselves.

    It sees a changed mix of rows. It cannot see that the same rows come true otherwise than they did (the
    concept drifted): for that there is truth.

    Returns
    -------
    dict
        ``log_loss``, ``brier`` and ``accuracy``; empty for other problems than binary ones with
        probabilities, without truth on the held-out rows, and without rows.
    """
    if baseline.problem != "binary" or metric(baseline) != "log_loss" or not any(baseline.predicted.cells):
        return {}
    if len(baseline.truths) != baseline.prediction.size or not any(counts.cells):
        return {}
    now, then = _expected(baseline, counts), _expected(baseline, baseline.predicted)
    found = {}
    for name, value in now.items():
        if name in baseline.quality:
            moved = value + baseline.quality[name] - then[name]
            found[name] = min(max(moved, 0.0), 1.0 if name != "log_loss" else math.inf)
    return found


def _expected(baseline: Baseline, counts: Counts) -> dict[str, float]:
    rows = np.array(counts.cells, dtype=np.float64)
    score = np.clip(np.array(counts.sums) / np.maximum(rows, 1), _LEAST, 1 - _LEAST)
    known = np.array(baseline.predicted.cells, dtype=np.float64)
    then = np.array(baseline.predicted.sums) / np.maximum(known, 1)
    # Where the baseline has no rows the model is taken at its word.
    wrong = np.where(known > 0, np.array(baseline.truths) / np.maximum(known, 1) - then, 0.0)
    rate = np.clip(score + wrong, 0.0, 1.0)
    share = rows / rows.sum()
    return {
        "log_loss": float(share @ -(rate * np.log(score) + (1 - rate) * np.log1p(-score))),
        "brier": float(share @ (rate * (1 - score) ** 2 + (1 - rate) * score**2)),
        "accuracy": float(share @ np.where(score > 0.5, rate, 1 - rate)),
    }


def auc(scores: Floats, positive: npt.NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve: how often a positive row scores above a negative one, ties half.

    Source: Mann and Whitney (1947); ``None`` when there is only one class.
    """
    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m:
        return None
    unique, places = np.unique(scores, return_inverse=True)
    ones = np.bincount(places[positive], minlength=len(unique))
    below = np.cumsum(zeros := np.bincount(places[~positive], minlength=len(unique))) - zeros
    return float(np.sum(ones * (below + zeros / 2)) / (n * m))
