"""Counts and the figures of drift, held against scipy, numpy and values worked out by hand."""

from __future__ import annotations

import datetime as dt
import itertools
import math
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.spatial.distance
import scipy.special
import scipy.stats
from hypothesis import given, settings

from mlinfra_lab.monitoring import cells, drift
from mlinfra_lab.monitoring.cells import Coded, Counter, column, make, merge, total, zero
from mlinfra_lab.schema.monitoring import Baseline, Cells, Counts

NUMBER = Cells(name="x", kind="number", edges=(0.0, 1.0, 2.0))
CATEGORY = Cells(name="c", kind="category", categories=("a", "b"))


def counted(*rows: int, missing: int = 0) -> Counts:
    return Counts(cells=rows, missing=missing)


# -- choosing cells -------------------------------------------------------------------------------


def test_a_number_is_cut_at_its_quantiles_and_has_open_ends() -> None:
    values = np.random.default_rng(0).normal(size=16_000)
    made = make("x", values)
    assert (made.kind, made.size) == ("number", 18)
    assert made.edges[0] == values.min()
    assert made.edges[-1] > values.max()
    counts = column(made).count(values).cells
    assert counts[0] == counts[-1] == 0
    assert all(abs(rows - 1000) <= 1 for rows in counts[1:-1])


def test_a_value_that_nearly_all_have_gets_a_cell_of_its_own() -> None:
    # What `precip` looks like: no deciles, but 0 and what it rained when it did.
    rng = np.random.default_rng(1)
    values = np.where(rng.random(10_000) < 0.93, 0.0, np.round(rng.exponential(0.05, 10_000) + 0.01, 2))
    made = make("precip", values)
    counts = column(made).count(values).cells
    assert made.edges[0] == 0.0
    assert made.edges[1] == values[values > 0].min()
    assert counts[1] == (values == 0).sum()
    rained = counts[2:-1]
    assert len(rained) >= 3
    assert sum(rained) == (values > 0).sum()


def test_heavy_values_in_the_middle_stand_alone() -> None:
    rng = np.random.default_rng(2)
    values = np.concatenate([rng.random(500), np.full(400, 0.5), rng.random(100) + 2])
    made = make("x", values)
    place = made.edges.index(0.5)
    assert column(made).count(values).cells[place + 1] == 400


@pytest.mark.parametrize(
    ("values", "edges"),
    [
        ([5, 6, 6, 9], (5.0, 6.0, 9.0, 10.0)),
        ([3, 3, 3], (3.0, 4.0)),
        ([], ()),
        ([None, math.nan, math.inf], ()),
        ([0.5, 0.5], (0.5, float(np.nextafter(0.5, 1)))),
        ([1e300, 1e300], (1e300, float(np.nextafter(1e300, np.inf)))),
    ],
)
def test_few_values_have_a_cell_each(values: list[Any], edges: tuple[float, ...]) -> None:
    made = make("x", values, "number")
    assert made.edges == edges
    if len(set(values)) > 1 and edges:
        assert all(rows == values.count(edge) for rows, edge in zip(
            column(made).count(values).cells[1:-1], edges, strict=False))  # fmt: skip


def test_categories_by_frequency_with_the_rest_in_one() -> None:
    values = [f"v{number:03}" for number in range(80) for _ in range(number + 1)]
    made = make("c", values)
    assert made.categories[:2] == ("v079", "v078")
    assert len(made.categories) == 50
    assert column(made).count(values).cells[-1] == sum(range(1, 31))
    assert make("id", [str(number) for number in range(1000)]).categories == ()
    assert make("text", ["x" * 1000] * 3).categories == ()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([True, False, None], "category"),
        ([1, 2.5, None], "number"),
        (["1", "2"], "category"),
        ([None, None], "number"),
        ([1, "a"], "category"),
        (np.array([1, 2]), "number"),
        (np.array([True]), "category"),
        (np.array(["a"]), "category"),
        (np.array(["2013-01-01"], "M8[ns]"), "number"),
        ([dt.datetime(2013, 1, 1, tzinfo=dt.UTC)], "number"),
        ([[1, 2]], "category"),
    ],
)
def test_kinds(values: Any, kind: str) -> None:
    assert make("x", values).kind == kind


# -- counting -------------------------------------------------------------------------------------


def test_edges_belong_to_the_cell_above() -> None:
    found = column(NUMBER).count([-1, 0, 0.5, 1, 1.5, 2, 7, None, math.nan])
    assert found == Counts(cells=(1, 2, 2, 2), missing=2, sums=(-1.0, 0.5, 2.5, 9.0))


def test_what_is_no_number_is_missing_and_infinity_is_far_out() -> None:
    assert column(NUMBER).count(["a", [1], {}, 10**400, True]).cells == (0, 0, 1, 1)
    found = column(NUMBER).count([math.inf, -math.inf, 1.5, 3.0])
    assert found.cells == (1, 0, 1, 2)
    assert found.sums == (0.0, 0.0, 1.5, 5.0)
    assert all(map(math.isfinite, column(NUMBER).count([1e308] * 10).sums))


def test_equal_categories_are_one_however_they_came() -> None:
    made = make("c", [True, False, True])
    assert made.categories == ("true", "false")
    assert column(made).count([True, "true", False, None, math.nan, "maybe"]).cells == (2, 1, 1)
    numbers = Cells(name="c", kind="category", categories=("3",))
    assert column(numbers).count([3, 3.0, "3", np.int64(3), [3]]).cells == (4, 1)
    assert column(CATEGORY).count([["a"], {"b": 1}, "b"]).cells == (0, 1, 2)


def test_moments_are_counted_as_seconds() -> None:
    days = np.array(["2013-01-01", "2013-01-02", "NaT"], "M8[ns]")
    assert cells.numbers(days)[:2].tolist() == [1356998400.0, 1357084800.0]
    plain = [dt.datetime(2013, 1, 1, tzinfo=dt.UTC), "2013-01-02T00:00:00", None]
    assert cells.numbers(plain)[:2].tolist() == cells.numbers(days)[:2].tolist()
    assert column(make("t", days)).count(plain).missing == 1


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.none() | st.floats(-5, 5) | st.just(math.nan) | st.integers(-3, 3), max_size=30),
    repeat=st.sampled_from([1, 200]),
    edges=st.lists(st.floats(-4, 4), max_size=20, unique=True),
)
def test_counting_is_as_numpy_does_it(values: list[Any], repeat: int, edges: list[float]) -> None:
    # Repeated, so that both ways to find a cell are tried.
    values = values * repeat
    made = Cells(name="x", kind="number", edges=tuple(sorted(edges)))
    found = column(made).count(values)
    present = np.array([value for value in values if value is not None and not math.isnan(value)])
    bounds = np.array([-np.inf, *made.edges, np.inf])
    wanted = [int(((present >= low) & (present < high)).sum()) for low, high in itertools.pairwise(bounds)]
    assert list(found.cells) == wanted
    assert found.missing == len(values) - len(present)
    assert sum(found.sums) == pytest.approx(float(present.sum()))


@settings(max_examples=50, deadline=None)
@given(one=st.lists(st.none() | st.sampled_from("abcd")), other=st.lists(st.none() | st.sampled_from("abcd")))
def test_merging_is_counting_together(one: list[Any], other: list[Any]) -> None:
    counter = column(CATEGORY)
    both = counter.count(one + other)
    assert merge(counter.count(one), counter.count(other)) == both
    assert total(both) == len(one) + len(other)
    names = [*dict.fromkeys(value for value in one + other if value is not None)]
    codes = np.array([names.index(value) if value is not None else -1 for value in one + other], np.int8)
    assert counter.count(Coded(codes, names)) == both
    assert counter.count(np.array(one + other, object)) == both


def test_merging_numbers() -> None:
    counter = column(NUMBER)
    assert merge(counter.count([0.5, None]), counter.count([0.25, 9])) == counter.count([0.5, None, 0.25, 9])
    assert merge(zero(NUMBER), counter.count([1.0])) == counter.count([1.0])
    with pytest.raises(ValueError, match=r"argument|shorter|longer"):
        merge(zero(NUMBER), zero(CATEGORY))


def test_a_counter_counts_rows_by_their_names() -> None:
    baseline = Baseline(
        problem="regression",
        columns=(NUMBER, CATEGORY),
        counts=(zero(NUMBER), zero(CATEGORY)),
        effects=((None,) * 5, (None,) * 4),
        prediction=NUMBER,
        predicted=zero(NUMBER),
        rows=0,
    )
    counter = Counter(baseline)
    rows = [["a", 0.5, 9], [None, 1.5, 9], ["z", None, 9]]
    number, category = counter.count_rows(rows, ["c", "x", "unknown"])
    assert (number.cells, number.missing) == ((0, 1, 1, 0), 1)
    assert (category.cells, category.missing) == ((1, 0, 1), 1)
    vanished = counter.count_rows([["a"]] * 3, ["c"])[0]
    assert vanished == Counts(cells=(0,) * 4, missing=3, sums=(0.0,) * 4)
    assert counter.count_rows([], ["c", "x"]) == [zero(NUMBER), zero(CATEGORY)]
    assert counter.predicted([0.5]).cells == (0, 1, 0, 0)


# -- figures --------------------------------------------------------------------------------------

rows = st.lists(st.integers(0, 500), min_size=2, max_size=20)
pairs = st.integers(2, 20).flatmap(
    lambda size: st.tuples(*[st.lists(st.integers(0, 500), min_size=size, max_size=size)] * 2)
)


def test_psi_by_hand() -> None:
    # (0.2 - 0.5) ln(0.2 / 0.5) + (0.8 - 0.5) ln(0.8 / 0.5)
    assert drift.psi(counted(50, 50), counted(2, 8)) == pytest.approx(0.415888, abs=1e-6)
    # An empty cell is half a row: (0.05 - 0.5) ln 0.1 + (1 - 0.5) ln 2; one empty on both sides is nothing.
    assert drift.psi(counted(5, 5, 0), counted(0, 10, 0)) == pytest.approx(1.382737, abs=1e-6)
    assert drift.psi(counted(50, missing=50), counted(2, missing=8)) == pytest.approx(0.415888, abs=1e-6)
    assert drift.psi(counted(0, 0), counted(1, 2)) == 0.0


@settings(max_examples=200, deadline=None)
@given(pair=pairs, missing=st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_divergences_are_as_scipy_says(pair: tuple[list[int], list[int]], missing: tuple[int, int]) -> None:
    one, other = (Counts(cells=tuple(side), missing=none) for side, none in zip(pair, missing, strict=True))
    if not total(one) or not total(other):
        assert drift.psi(one, other) == drift.jensen_shannon(one, other) == 0.0
        return
    p, q = (np.array([*side.cells, side.missing]) / total(side) for side in (one, other))
    wanted = scipy.spatial.distance.jensenshannon(p, q, base=2)
    assert drift.jensen_shannon(one, other) == pytest.approx(0 if math.isnan(wanted) else wanted, abs=1e-7)
    both = (p > 0) | (q > 0)
    p = np.where(p > 0, p, 0.5 / total(one))[both]
    q = np.where(q > 0, q, 0.5 / total(other))[both]
    assert drift.psi(one, other) == pytest.approx(
        float(np.sum(scipy.special.rel_entr(p, q) + scipy.special.rel_entr(q, p))), abs=1e-9
    )


@settings(max_examples=100, deadline=None)
@given(pair=pairs, factor=st.integers(1, 5))
def test_symmetric_and_zero_for_equal(pair: tuple[list[int], list[int]], factor: int) -> None:
    one, other = (Counts(cells=tuple(side), sums=tuple(map(float, side))) for side in pair)
    for metric, figure in drift.METRICS.items():
        assert figure(one, other) == pytest.approx(figure(other, one)), metric
        assert figure(one, one) == pytest.approx(0, abs=1e-9), metric
    same = Counts(cells=tuple(rows * factor for rows in one.cells))
    assert drift.psi(one, same) == pytest.approx(0, abs=1e-9)
    assert drift.kolmogorov_smirnov(one, same)[0] == pytest.approx(0, abs=1e-9)


@settings(max_examples=200, deadline=None)
@given(pair=pairs)
def test_chi_square_is_as_scipy_says(pair: tuple[list[int], list[int]]) -> None:
    one, other = (Counts(cells=tuple(side)) for side in pair)
    table = np.array(pair)[:, np.array(pair).sum(axis=0) > 0]
    value, p = drift.chi_square(one, other, pool=False)
    if not total(one) or not total(other):
        assert (value, p) == (0.0, 1.0)
        return
    wanted = scipy.stats.chi2_contingency(table, correction=False)
    assert value == pytest.approx(wanted.statistic, abs=1e-9)
    assert p == pytest.approx(wanted.pvalue, abs=1e-12)


def test_chi_square_by_hand_and_pooled() -> None:
    value, p = drift.chi_square(counted(30, 70), counted(50, 50))
    assert value == pytest.approx(25 / 3)  # 2 * 10² / 40 + 2 * 10² / 60
    assert p == pytest.approx(0.003892, abs=1e-6)
    # Three cells of which 0.5 to 2 rows are expected become one; the large ones stay.
    one, other = counted(1000, 1000, 10, 20, 30), counted(50, 50, 3, 0, 0)
    pooled = drift.chi_square(one, other)
    assert pooled[0] == pytest.approx(
        scipy.stats.chi2_contingency([[1000, 1000, 60], [50, 50, 3]], correction=False).statistic
    )
    assert drift.chi_square(counted(1000, 1), counted(2, 1)) == (0.0, 1.0)  # nothing left to compare


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 17, 50, 51])
def test_chi_squares_tail(freedom: int) -> None:
    for value in (0.0, 1e-9, 0.5, 3.84, 20.0, 100.0, 1e5):
        wanted = scipy.stats.chi2.sf(value, freedom)
        assert drift._chi_square_p(value, freedom) == pytest.approx(wanted, rel=1e-9, abs=1e-300)


def test_kolmogorov_smirnov() -> None:
    value, p = drift.kolmogorov_smirnov(counted(50, 30, 20), counted(20, 30, 50, missing=5))
    assert value == pytest.approx(0.3)
    assert p == pytest.approx(float(scipy.special.kolmogorov(0.3 * math.sqrt(50))))
    for x in (0.0, 0.1, 0.3, 0.5, 1.0, 2.0, 10.0):
        assert drift._kolmogorov(x) == pytest.approx(float(scipy.special.kolmogorov(x)), abs=1e-11)


def test_from_counts_nearly_what_the_rows_themselves_say() -> None:
    rng = np.random.default_rng(3)
    before, after = rng.normal(size=10_000), rng.normal(0.3, 1.2, size=10_000)
    made = make("x", before)
    one, other = column(made).count(before), column(made).count(after)
    exact = scipy.stats.ks_2samp(before, after).statistic
    assert exact - 0.02 < drift.kolmogorov_smirnov(one, other)[0] <= exact + 1e-12
    assert drift.wasserstein(one, other) == pytest.approx(
        scipy.stats.wasserstein_distance(before, after), abs=0.02
    )
    far = column(made).count(after + 100)  # all of it in the open end
    assert drift.wasserstein(one, far) == pytest.approx(
        scipy.stats.wasserstein_distance(before, after + 100), rel=1e-9
    )


@settings(max_examples=100, deadline=None)
@given(pair=st.tuples(*[st.lists(st.floats(-3, 5), min_size=1, max_size=40)] * 2))
def test_wasserstein_of_the_cells_means_is_as_scipy_says(pair: tuple[list[float], list[float]]) -> None:
    counter = column(NUMBER)
    one, other = (counter.count(side) for side in pair)
    sides = []
    for side in (one, other):
        known = [(total / n, n) for total, n in zip(side.sums, side.cells, strict=True) if n]
        sides.append(([place for place, _ in known], [n for _, n in known]))
    (u, us), (v, vs) = sides
    wanted = scipy.stats.wasserstein_distance(u, v, us, vs)
    assert drift.wasserstein(one, other) == pytest.approx(wanted, abs=1e-9)


@given(ps=st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_benjamini_and_hochberg(ps: list[float]) -> None:
    assert drift.adjusted(ps) == pytest.approx(scipy.stats.false_discovery_control(ps).tolist())
    assert drift.adjusted([]) == []


# -- drift ----------------------------------------------------------------------------------------


def test_the_default_by_type() -> None:
    one, other = counted(40, 60, 100, 200, missing=1), counted(20, 30, 50, 150)
    number, category = drift.drift(NUMBER, one, other), drift.drift(CATEGORY, one, other)
    assert number is not None
    assert category is not None
    assert number.metric == category.metric == "psi"
    assert number.value == category.value == drift.psi(one, other)
    assert category.p == drift.chi_square(one, other)[1]
    # Values and how many are missing are asked apart, and two questions want twice the evidence.
    assert number.p == pytest.approx(2 * drift.kolmogorov_smirnov(one, other)[1])


def test_where_nothing_can_be_said() -> None:
    some, none, empty = counted(1, 1, 1, 1), counted(0, 0, 0, 0, missing=4), counted(0, 0, 0, 0)
    assert drift.drift(NUMBER, some, empty) is None
    assert drift.drift(NUMBER, empty, some) is None
    assert drift.drift(NUMBER, some, some, least=5) is None
    assert drift.drift(NUMBER, some, none, "wasserstein") is None
    assert drift.drift(CATEGORY, counted(1, 1, 1), counted(1, 1, 1), "kolmogorov_smirnov") is None
    vanished = drift.drift(NUMBER, counted(50, 50, 50, 50), counted(0, 0, 0, 0, missing=200))
    assert vanished is not None
    assert vanished.value > 3
    assert vanished.p < 1e-10
    both = drift.drift(NUMBER, none, none)
    assert both is not None
    assert (both.value, both.p) == (0.0, 1.0)


def test_chance_alone_is_as_large_as_expected() -> None:
    rng = np.random.default_rng(4)
    share = np.full(12, 1 / 12)
    base = counted(*rng.multinomial(10_000, share).tolist())
    found = [drift.psi(base, counted(*rng.multinomial(200, share).tolist())) for _ in range(2000)]
    assert np.mean(found) == pytest.approx(drift.expected(12, 200, 10_000), rel=0.1)
    # Why 200 rows are the least: then 0.25 is out of chance's reach.
    assert max(found) < 0.25
