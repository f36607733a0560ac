"""Significance against scipy, hand-computed numbers and the tests' own guarantees."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from inranker.evaluation.significance import bootstrap_interval, compare, holm, paired_t_test, randomisation_test

A = np.array([0.9, 0.4, 0.7, 1.0, 0.2, 0.55, 0.8, 0.63])
B = np.array([0.6, 0.5, 0.3, 0.9, 0.1, 0.35, 0.8, 0.41])
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_t_test_is_scipys_and_the_textbooks() -> None:
    difference = A - B
    t = difference.mean() / (difference.std(ddof=1) / np.sqrt(len(A)))
    assert paired_t_test(A, B) == pytest.approx(2 * stats.t.sf(abs(t), df=len(A) - 1))
    assert paired_t_test(A, B) == pytest.approx(stats.ttest_rel(A, B).pvalue)


def test_t_test_without_variance() -> None:
    assert paired_t_test(A, A) == 1
    assert paired_t_test(np.array([1.0, 1.0]), np.array([0.5, 0.5])) == 0


def test_randomisation_is_exact_where_all_exchanges_can_be_tried() -> None:
    observed = abs((A - B).mean())
    means = [abs((np.array(signs) * (A - B)).mean()) for signs in product((1, -1), repeat=len(A))]
    exact = np.mean([mean >= observed - 1e-12 for mean in means])
    assert randomisation_test(A, B, seed=0) == pytest.approx(exact)


def test_randomisation_by_sampling_is_near_the_exact_one_and_fixed_by_its_seed() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(0.08, 0.3, 60), np.zeros(60)
    p = randomisation_test(a, b, seed=1)
    assert p == randomisation_test(a, b, seed=1)
    assert p == pytest.approx(paired_t_test(a, b), abs=0.02)
    assert p > 0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(p_values=P_VALUES)
def test_holm_never_lowers_keeps_order_and_lies_between_none_and_bonferroni(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for p, corrected in zip(p_values, adjusted, strict=True):
        assert p <= corrected <= min(1.0, p * len(p_values)) + 1e-12
    by_p = sorted(zip(p_values, adjusted, strict=True))
    assert [corrected for _, corrected in by_p] == sorted(adjusted)
    assert min(adjusted) == pytest.approx(min(1.0, min(p_values) * len(p_values)))


def test_bootstrap_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for seed in range(200):
        low, high = bootstrap_interval(rng.normal(0.5, 0.2, 80), seed, resamples=500)
        covered += low <= 0.5 <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_bootstrap_agrees_with_the_normal_interval() -> None:
    values = np.random.default_rng(0).normal(0.3, 0.1, 400)
    low, high = bootstrap_interval(values, seed=0)
    half = 1.96 * values.std(ddof=1) / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=1e-3)
    assert bootstrap_interval(np.full(5, 0.25), seed=0) == (0.25, 0.25)


def test_comparison_of_several_systems() -> None:
    ids = [f"q{number}" for number in range(len(A))]
    baseline = dict(zip(ids, B.tolist(), strict=True))
    shuffled = dict(reversed(list(zip(ids, A.tolist(), strict=True))))
    found = compare(baseline, {"better": shuffled, "same": baseline}, seed=0)
    assert found["better"]["difference"] == pytest.approx((A - B).mean())
    assert found["better"]["low"] < (A - B).mean() < found["better"]["high"]
    assert found["better"]["p_t_test"] == pytest.approx(stats.ttest_rel(A, B).pvalue)
    assert found["better"]["p_t_test_holm"] == pytest.approx(2 * found["better"]["p_t_test"])
    assert found["same"]["difference"] == 0 and found["same"]["p_randomisation"] == 1
    assert (found["same"]["low"], found["same"]["high"]) == (0, 0)
