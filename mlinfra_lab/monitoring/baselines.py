"""Baselines: described from columns and answers, and as files."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from mlinfra_lab.errors import Invalid, TooLarge
from mlinfra_lab.monitoring import cells, loss
from mlinfra_lab.monitoring.cells import Floats, Values
from mlinfra_lab.schema.monitoring import Baseline, Cells, ColumnKind, Counts, Problem

__all__ = ["ARTIFACT", "FIRST", "LARGEST", "check", "decode", "describe", "encode", "from_rows", "shape_of"]

ARTIFACT = "mlinfra/baseline.json"
"""Where it lies among a run's artifacts."""
LARGEST = 16 * 2**20
"""Bytes that a baseline may have."""
FIRST = 1000
"""Rows of traffic that make a baseline where a model brought none."""
SCORE_CELLS = 10
"""Cells of the score: deciles, as the limits that PSI is read by (0.1, 0.25) were found with."""

_NUMERIC = ("integer", "long", "float", "double", "datetime")
_CLASSES = 100  # different whole numbers that can still be names of classes


def from_rows(
    columns: Sequence[str], types: Sequence[str], rows: Sequence[Sequence[Any]], predictions: Sequence[Any]
) -> Baseline:
    """A baseline from the first captured rows, for a model that brought none.

    There is no truth in it: quality has nothing to be held against, and lists of two values are taken for
    the probabilities of two classes, lists of more for those of several.

    Parameters
    ----------
    columns, types
        A segment's; a column of a type that is no number is a category.
    rows, predictions
        As they were captured.
    """
    named = cells.columns_of(rows, columns)
    kinds: dict[str, ColumnKind] = {
        name: "number" if kind in _NUMERIC else "category" for name, kind in zip(columns, types, strict=False)
    }
    answers = list(predictions)
    shape = shape_of(answers, None, None, None, None)
    return describe(shape, named, len(rows), named, answers, None, kinds=kinds, source="first rows")


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """How predictions are to be read; the fields are `Baseline`'s."""

    problem: Problem
    classes: tuple[Any, ...] = ()
    positive: Any = None
    score: int | None = None
    probabilities: bool = False


def shape_of(
    answers: Sequence[Any], true: Sequence[Any] | None, positive: Any, problem: Problem | None, classes: Any
) -> Shape:
    """How predictions are to be read; see `profile.make_baseline` for what is told from what."""
    width = len(answers[0]) if len(answers) and isinstance(answers[0], list | tuple) else 1
    seen = (
        sorted({_hashed(value) for value in true if not cells.is_missing(value)}, key=_order) if true else []
    )
    known = tuple(map(plain_item, classes)) if classes is not None else tuple(seen)
    table = width > 1
    if problem is None:
        problem = _problem(answers, true, known, width)
    if problem == "regression":
        return Shape(problem=problem)
    if table and len(known) != width:
        if known:
            raise Invalid(
                f"The predictions have {width} columns for {len(known)} classes.",
                "Say the classes in the order of the columns: classes=model.classes_.",
            )
        known = tuple(range(width))
    if not table and not known:
        found = {_hashed(value) for value in answers if not cells.is_missing(value)}
        known = (0, 1) if problem == "binary" and _fractions(answers) else tuple(sorted(found, key=_order))
    positive = plain_item(positive)
    if positive is None and problem == "binary" and known:
        positive = known[-1]
    if positive is not None and positive not in known:
        names = ", ".join(map(repr, known[:10]))
        raise Invalid(f"The positive class {positive!r} is none of the classes ({names}).")
    return Shape(
        problem=problem,
        classes=known,
        positive=positive,
        score=known.index(positive) if table and positive is not None else None,
        probabilities=table or (problem == "binary" and _fractions(answers) and not _labels(answers, known)),
    )


def _problem(
    answers: Sequence[Any], true: Sequence[Any] | None, known: tuple[Any, ...], width: int
) -> Problem:
    if width > 1:
        return "binary" if width == 2 else "multiclass"
    present = [value for value in answers if not cells.is_missing(value)]
    if cells.kind_of(present) == "category":
        return "binary" if len({_hashed(value) for value in present} | set(known)) == 2 else "multiclass"
    if true is None or not known:
        return "regression"
    if len(known) == 2 and _fractions(present):
        return "binary"
    if all(isinstance(value, int) for value in (*present, *known)) and len(known) <= _CLASSES:
        return "binary" if len(known) == 2 else "multiclass"
    return "regression"


def _fractions(answers: Sequence[Any]) -> bool:
    found = cells.numbers(answers) if cells.kind_of(answers) == "number" else np.array([np.nan])
    found = found[~np.isnan(found)]
    return bool(len(found)) and bool(((found >= 0) & (found <= 1)).all())


def _labels(answers: Sequence[Any], known: tuple[Any, ...]) -> bool:
    """Whether bare numbers are names of classes: whole ones all of them, and typed so."""
    return all(isinstance(value, int) for value in answers) and {*answers} <= {*known}


def plain_item(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _hashed(value: Any) -> Any:
    value = plain_item(value)
    return value if isinstance(value, bool | int | float | str) else cells.text(value)


def _order(value: Any) -> tuple[bool, Any]:
    return isinstance(value, str), value


# -- describing -----------------------------------------------------------------------------------


def describe(
    shape: Shape,
    columns: Mapping[str, Values],
    rows: int,
    beside: Mapping[str, Values],
    answers: Sequence[Any],
    true: Sequence[Any] | None,
    *,
    kinds: Mapping[str, ColumnKind] | None = None,
    source: str = "",
    first: dt.datetime | None = None,
    last: dt.datetime | None = None,
) -> Baseline:
    """Make cells and count into them.

    Parameters
    ----------
    columns, rows
        What the model was trained on.
    beside, answers, true
        What it was not trained on, how it answered, and what came true.
    kinds
        Which columns are numbers, where that is known.
    """
    made = [cells.make(name, values, (kinds or {}).get(name)) for name, values in columns.items()]
    numeric = shape.problem == "regression" or (shape.probabilities and (shape.positive is not None))
    start = Baseline(
        problem=shape.problem,
        columns=tuple(made),
        counts=tuple(
            cells.column(one).count(values) for one, values in zip(made, columns.values(), strict=True)
        ),
        effects=(),
        prediction=Cells(name="prediction", kind="number" if numeric else "category"),
        predicted=Counts(cells=(0,)),
        classes=shape.classes,
        positive=shape.positive,
        score=shape.score,
        probabilities=shape.probabilities,
        rows=rows,
        held_out=len(answers),
        source=source,
        first=first,
        last=last,
    )
    reader = loss.Answers(start)
    scores = reader.scores(answers)
    prediction = cells.make("prediction", scores, start.prediction.kind, SCORE_CELLS)
    known = msgspec.structs.replace(
        start,
        prediction=prediction,
        predicted=cells.column(prediction).count(scores),
        effects=tuple(_effects(one, beside[one.name], scores if numeric else None) for one in made),
    )
    return known if true is None else _judged(known, answers, true, scores)


def _effects(one: Cells, values: Values, scores: Values | None) -> tuple[float | None, ...]:
    size = one.size + 1
    if scores is None:
        return (None,) * size
    found = cells.numbers(scores)
    here = np.isfinite(found)
    places = cells.column(one).places(values)[here]
    rows = np.bincount(places, minlength=size)
    sums = np.bincount(places, weights=found[here], minlength=size)
    return tuple(
        total / n if n and np.isfinite(total) else None
        for n, total in zip(rows.tolist(), sums.tolist(), strict=True)
    )


def _judged(baseline: Baseline, answers: Sequence[Any], true: Sequence[Any], scores: Values) -> Baseline:
    table = loss.Answers(baseline).losses(answers, true)
    sums = dict(zip(loss.FIELDS, table.sum(axis=0).tolist(), strict=True))
    quality = loss.figures(baseline, sums)
    truths: tuple[int, ...] = ()
    if baseline.problem == "binary" and baseline.probabilities:
        known = table[:, 0] == 1
        positive = table[known, 5] == 1
        found: Floats = cells.numbers(scores)
        area = loss.auc(found[known], positive)
        quality |= {} if area is None else {"auc": area}
        places = cells.column(baseline.prediction).places(found)[known]
        size = baseline.prediction.size
        ones = np.bincount(places[positive], minlength=size + 1)[:size]
        # `estimate` divides by all rows of a cell; where some truths are missing, as many more are positive.
        judged = np.bincount(places, minlength=size + 1)[:size]
        factor = np.array(baseline.predicted.cells) / np.maximum(judged, 1)
        truths = tuple(np.rint(ones * factor).astype(int).tolist())
    return msgspec.structs.replace(
        baseline,
        truths=truths,
        quality={name: value for name, value in quality.items() if np.isfinite(value)},
    )


# -- files ----------------------------------------------------------------------------------------


def encode(baseline: Baseline) -> bytes:
    """A baseline's file.

    Raises
    ------
    TooLarge
        For one that nobody would take back.
    """
    data = msgspec.json.encode(baseline)
    if len(data) > LARGEST:
        raise TooLarge(
            f"The baseline has {len(data):,} bytes; at most {LARGEST:,} are taken.", "Profile fewer columns."
        )
    return data


def decode(data: bytes) -> Baseline:
    """A baseline from its file.

    Raises
    ------
    Invalid
        For anything that is none, or does not fit together.
    """
    if len(data) > LARGEST:
        raise Invalid(f"It has {len(data):,} bytes; a baseline has at most {LARGEST:,}.")
    try:
        baseline = msgspec.json.decode(data, type=Baseline)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"It is no baseline: {error}.") from error
    check(baseline)
    return baseline


def check(baseline: Baseline) -> None:
    """Complain about a baseline whose parts do not fit together.

    Raises
    ------
    Invalid
        Which part is wrong.
    """
    size = len(baseline.columns)
    if (len(baseline.counts), len(baseline.effects)) != (size, size):
        raise Invalid(f"It is no baseline: counts or effects are not those of its {size} columns.")
    if len({one.name for one in baseline.columns}) != size:
        raise Invalid("It is no baseline: two of its columns have the same name.")
    for one, counts in (
        *zip(baseline.columns, baseline.counts, strict=True),
        (baseline.prediction, baseline.predicted),
    ):
        sums = one.size if one.kind == "number" else 0
        if len(counts.cells) != one.size or len(counts.sums) != sums:
            raise Invalid(f"It is no baseline: the counts of “{one.name}” are not of its cells.")
        if min(*counts.cells, counts.missing, 0) < 0:
            raise Invalid(f"It is no baseline: “{one.name}” counts fewer than no rows.")
        if any(low >= high for low, high in itertools.pairwise(one.edges)):
            raise Invalid(f"It is no baseline: the edges of “{one.name}” do not ascend.")
    for one, effects in zip(baseline.columns, baseline.effects, strict=True):
        if len(effects) != one.size + 1:
            raise Invalid(f"It is no baseline: the effects of “{one.name}” are not of its cells.")
    if baseline.truths and len(baseline.truths) != baseline.prediction.size:
        raise Invalid("It is no baseline: its truths are not of the prediction's cells.")
    if baseline.score is not None and not 0 <= baseline.score < max(len(baseline.classes), 1):
        raise Invalid("It is no baseline: its score is the probability of none of its classes.")
