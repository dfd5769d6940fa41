"""Quality as sums, estimated quality, what explains a move, and baselines of every kind of model."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.strategies as st
import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from sklearn import metrics

from mlinfra_lab.monitoring import explain, loss
from mlinfra_lab.monitoring.cells import column, merge
from mlinfra_lab.monitoring.loss import FIELDS, Answers
from mlinfra_lab.monitoring.profile import make_baseline
from mlinfra_lab.schema.monitoring import Baseline, Counts


def features(rows: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"x": rng.normal(size=rows), "c": rng.choice(["a", "b"], rows)})


def binary(rows: int = 4000, seed: int = 0, **more: Any) -> Baseline:
    held_out = features(rows, seed)
    p = 1 / (1 + np.exp(-held_out["x"].to_numpy()))
    truth = (np.random.default_rng(seed + 1).random(rows) < p).astype(int)
    return make_baseline(features(rows, seed + 2), held_out, np.column_stack([1 - p, p]), truth, **more)


def sums(table: np.ndarray[Any, Any]) -> dict[str, float]:
    return dict(zip(FIELDS, table.sum(axis=0).tolist(), strict=True))


def figures(baseline: Baseline, predictions: Any, truths: Any) -> dict[str, float]:
    return loss.figures(baseline, sums(Answers(baseline).losses(predictions, truths)))


# -- losses ---------------------------------------------------------------------------------------


def test_two_classes_by_hand() -> None:
    baseline = binary()
    table = Answers(baseline).losses([[0.2, 0.8], [0.6, 0.4], [0.9, 0.1]], [1, 1, 0])
    assert table[0].tolist() == pytest.approx([1, -math.log(0.8), 0.04, 1, 0.8, 1])
    assert table[1].tolist() == pytest.approx([1, -math.log(0.4), 0.36, 0, 0.4, 1])
    assert table[2].tolist() == pytest.approx([1, -math.log(0.9), 0.01, 1, 0.1, 0])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(2, 60), cut=st.integers(0, 60))
def test_as_scikit_learn_says_and_by_parts(seed: int, rows: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.random(rows)
    truth = np.append([0, 1], rng.integers(0, 2, rows))[:rows]
    baseline = BINARY
    predictions = np.column_stack([1 - p, p]).tolist()
    found = figures(baseline, predictions, truth.tolist())
    assert found["log_loss"] == pytest.approx(metrics.log_loss(truth, p, labels=[0, 1]))
    assert found["brier"] == pytest.approx(metrics.brier_score_loss(truth, p))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, p > 0.5))
    answers = Answers(baseline)
    parts = [
        sums(answers.losses(predictions[part], truth[part].tolist()))
        for part in (slice(None, cut), slice(cut, None))
    ]
    both = {name: parts[0][name] + parts[1][name] for name in FIELDS}
    assert loss.figures(baseline, both) == pytest.approx(found)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(2, 60))
def test_area_under_the_curve(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    scores, truth = rng.integers(0, 8, rows) / 8, rng.random(rows) < 0.5
    found = loss.auc(scores, truth)
    if truth.all() or not truth.any():
        assert found is None
    else:
        assert found == pytest.approx(metrics.roc_auc_score(truth, scores))


def test_several_classes() -> None:
    rng = np.random.default_rng(0)
    table = rng.dirichlet([1, 1, 1], 300)
    names = np.array(["cat", "dog", "fox"])
    truth = names[[rng.choice(3, p=row) for row in table]]
    baseline = make_baseline(features(300), features(300, 1), table, truth)
    assert (baseline.problem, baseline.classes, baseline.positive) == (
        "multiclass",
        ("cat", "dog", "fox"),
        None,
    )
    assert loss.metric(baseline) == "log_loss"
    assert baseline.quality["log_loss"] == pytest.approx(metrics.log_loss(truth, table))
    assert baseline.quality["accuracy"] == pytest.approx((names[table.argmax(axis=1)] == truth).mean())
    assert baseline.quality["brier"] == pytest.approx(
        ((table - (truth[:, None] == names)) ** 2).sum(axis=1).mean()
    )
    # Watched is which class is predicted.
    assert set(baseline.prediction.categories) == {"cat", "dog", "fox"}
    assert sum(baseline.predicted.cells) == 300
    one = make_baseline(features(300), features(300, 1), table, truth, positive="dog")
    assert (one.prediction.kind, one.score) == ("number", 1)


def test_classes_without_probabilities() -> None:
    truth = ["yes", "no", "no", "yes"] * 10
    said = ["yes", "yes", "no", "yes"] * 10
    baseline = make_baseline(features(40), features(40), np.array(said), pd.Series(truth), positive="yes")
    assert (baseline.problem, baseline.probabilities, loss.metric(baseline)) == (
        "binary",
        False,
        "error_rate",
    )
    assert baseline.quality == {"error_rate": 0.25, "accuracy": 0.75}
    assert loss.held_out(baseline) == 0.25
    assert baseline.prediction.categories == ("yes", "no")
    table = Answers(baseline).losses(["yes", "never heard of", None], ["yes", "yes", "no"])
    assert table[:, 0].tolist() == [1, 1, 0]
    assert table[0].tolist() == [1, 0, 0, 1, 1, 1]


def test_numbers() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(10, 3, 200)
    said = truth + rng.normal(size=200)
    baseline = make_baseline(features(200), features(200), said, truth)
    assert (baseline.problem, loss.metric(baseline)) == ("regression", "mae")
    assert baseline.quality["mae"] == pytest.approx(metrics.mean_absolute_error(truth, said))
    assert baseline.quality["rmse"] == pytest.approx(metrics.root_mean_squared_error(truth, said))
    table = Answers(baseline).losses([1.5, 1.0, None, [2.0]], [2.0, "x", 1.0, 3])
    assert table[:, 0].tolist() == [1, 0, 0, 1]
    assert table[0].tolist() == [1, 0.5, 0.25, 0, 1.5, 2]


def test_a_number_beyond_reason_is_not_read() -> None:
    rng = np.random.default_rng(0)
    for scale in (1.0, 1e-200, 1e200, 0.0):
        truth = rng.normal(10, 3, 200) * scale
        answers = Answers(make_baseline(features(200), features(200), truth, truth))
        absurd = [1e200, -1e200, 1.7e308, math.inf, math.nan, 10**400] if scale < 1e100 else [math.inf, 1e308]
        assert not answers.losses([scale] * len(absurd), absurd).any()
        assert not answers.losses(absurd, absurd).any()
        table = answers.losses([scale * 8, scale * 8], [scale * 10, 1e9 * max(scale, 1) * 10])
        assert np.isfinite(table).all()
        # Whatever is believed, all else is still there when it is taken off again.
        if table[1, 0] and scale == 1:
            assert (table.sum(axis=0) - table[1])[1] == pytest.approx(2)
    assert not Answers(BINARY).losses([[0, 1e200], [1e200, 1e200]], [0, 1]).any()


def test_what_cannot_be_read_adds_nothing() -> None:
    predictions = [[0.2, 0.8], [0.2, 0.8], None, [0.5], "late", [0.2, 0.8], {"0": 0.2, "1": 0.8}, [0.2, None]]
    truths = [1, 2, 1, 1, 1, [1, 2], True, 1]
    table = Answers(BINARY).losses(predictions, truths)
    assert table[:, 0].tolist() == [1, 0, 0, 0, 0, 0, 1, 0]
    assert (table[table[:, 0] == 0] == 0).all()
    assert Answers(BINARY).losses([], []).shape == (0, 6)


@pytest.mark.parametrize("truth", [1, 1.0, True, "1", [1]])
def test_truth_in_other_spellings(truth: Any) -> None:
    assert Answers(BINARY).losses([[0.2, 0.8]], [truth])[0, 5] == 1


def test_a_wrong_certainty_is_finite() -> None:
    assert figures(BINARY, [[1.0, 0.0]], [1])["log_loss"] == pytest.approx(-math.log(1e-15))


# -- estimated ------------------------------------------------------------------------------------


def counts_of(baseline: Baseline, p: np.ndarray[Any, Any]) -> Counts:
    return column(baseline.prediction).count(p)


def test_the_estimate_is_exact_on_the_held_out_rows() -> None:
    found = loss.estimate(BINARY, BINARY.predicted)
    assert found == pytest.approx({name: BINARY.quality[name] for name in found})
    assert set(found) == {"log_loss", "brier", "accuracy"}


def test_the_estimate_sees_a_changed_mix_of_rows() -> None:
    rng = np.random.default_rng(5)
    baseline = binary(20_000)
    for shift in (-1.5, 0.0, 2.0):
        p = 1 / (1 + np.exp(-rng.normal(shift, 1, 50_000)))
        truth = rng.random(50_000) < p
        found = loss.estimate(baseline, counts_of(baseline, p))
        assert found["log_loss"] == pytest.approx(metrics.log_loss(truth, p), abs=0.02)
        assert found["accuracy"] == pytest.approx(((p > 0.5) == truth).mean(), abs=0.02)


def test_nothing_is_estimated_from_nothing() -> None:
    assert (
        loss.estimate(
            BINARY, Counts(cells=(0,) * BINARY.prediction.size, sums=(0.0,) * BINARY.prediction.size)
        )
        == {}
    )
    without = msgspec.structs.replace(BINARY, truths=(), quality={})
    assert loss.estimate(without, BINARY.predicted) == {}
    regression = make_baseline(features(9), features(9), np.arange(9) / 2)
    assert loss.estimate(regression, regression.predicted) == {}
    assert loss.held_out(regression) is None
    assert loss.figures(BINARY, {}) == {}


# -- explained ------------------------------------------------------------------------------------


def two_features() -> Baseline:
    held_out = pd.DataFrame({"a": ["p"] * 50 + ["q"] * 50, "b": ["u", "v"] * 50})
    predictions = np.where(held_out["a"] == "p", 0.2, 0.6) + np.where(held_out["b"] == "u", 0.0, 0.1)
    return make_baseline(held_out, held_out, predictions, problem="regression")


def test_shares_by_hand() -> None:
    baseline = two_features()
    assert [cells.categories for cells in baseline.columns] == [("p", "q"), ("u", "v")]
    assert baseline.effects[0] == pytest.approx((0.25, 0.65, None, None))
    assert baseline.effects[1] == pytest.approx((0.4, 0.5, None, None))
    # From half to all: 0.5 * (0.65 - 0.25) and, the other way, 0.5 * (0.4 - 0.5).
    moved = [Counts(cells=(0, 10, 0)), Counts(cells=(10, 0, 0))]
    assert explain.moves(baseline, moved) == pytest.approx([0.2, -0.05])
    assert explain.shares(baseline, moved) == pytest.approx([0.8, 0.2])
    assert explain.top(baseline, moved) == [("a", pytest.approx(0.8)), ("b", pytest.approx(0.2))]
    # A category without an effect is predicted like the mean.
    other = [Counts(cells=(0, 0, 10)), Counts(cells=(5, 5, 0))]
    assert explain.moves(baseline, other) == pytest.approx([0.0, 0.0])
    assert explain.shares(baseline, list(baseline.counts)) == [0.0, 0.0]
    assert explain.top(baseline, [Counts(cells=(0, 0, 0))] * 2) == []


def test_a_number_beyond_the_baseline_is_predicted_like_its_end() -> None:
    held_out = pd.DataFrame({"x": np.arange(1000) / 1000})
    baseline = make_baseline(held_out, held_out, np.arange(1000) / 1000, problem="regression")
    above = column(baseline.columns[0]).count(np.full(50, 7.0))
    assert above.cells[-1] == 50
    (move,) = explain.moves(baseline, [above])
    assert move == pytest.approx(0.47, abs=0.01)


def test_without_effects_the_features_that_moved_explain() -> None:
    truth = ["yes", "no"] * 20
    baseline = make_baseline(features(40), features(40), truth, truth)
    assert all(move is None for move in explain.moves(baseline, list(baseline.counts)))
    x = column(baseline.columns[0]).count([9.0] * 40)
    assert explain.shares(baseline, [x, baseline.counts[1]]) == [1.0, 0.0]


def test_merged_windows_give_the_same_baseline_figures() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.random(size) for size in (3, 500, 0, 41)]
    merged = counts_of(BINARY, parts[0])
    for part in parts[1:]:
        merged = merge(merged, counts_of(BINARY, part))
    whole = counts_of(BINARY, np.concatenate(parts))
    assert merged.cells == whole.cells
    assert merged.sums == pytest.approx(whole.sums)
    assert loss.estimate(BINARY, merged) == pytest.approx(loss.estimate(BINARY, whole))


BINARY = binary()
