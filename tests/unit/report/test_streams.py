"""Figures in bounded memory: they do not depend on how the values were cut, and they are those of the values."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inranker.report.streams import MOST_BINS, Extremes, Histogram, Sample, Tally


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1e20, 1e20, allow_subnormal=False), min_size=1, max_size=60),
    st.integers(0, 60),
)
def test_a_histogram_is_the_same_however_values_are_cut(values: list[float], cut: int) -> None:
    whole, parts = Histogram(), Histogram()
    whole.add(np.array(values))
    for part in (values[:cut], values[cut:]):
        parts.add(np.array(part))
    assert whole.bins == parts.bins and whole.exponent == parts.exponent
    assert sum(whole.bins.values()) == len(values) and len(whole.bins) <= MOST_BINS
    assert min(values) <= whole.quantile(0.5) <= max(values)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_quantiles_are_those_of_the_values(scale: float) -> None:
    values = np.random.default_rng(0).normal(3.0, 1.0, 20_000) * scale
    histogram = Histogram()
    for part in np.array_split(values, 7):
        histogram.add(part)
    for share in (0.1, 0.5, 0.9):
        assert histogram.quantile(share) == pytest.approx(np.quantile(values, share), abs=0.01 * scale)
    assert histogram.mean == pytest.approx(values.mean())
    expected, _ = np.histogram(values, bins=10, range=(0, 6 * scale))
    inner = histogram.over(0, 6 * scale, 10)[1:-1]  # values outside are counted at the ends
    np.testing.assert_allclose(inner, expected[1:-1], rtol=0.02, atol=20)
    assert histogram.over(0, 6 * scale, 10).sum() == len(values)


def test_a_histogram_leaves_out_what_is_not_finite() -> None:
    histogram = Histogram()
    histogram.add(np.array([np.nan, np.inf, 2.0]))
    assert (histogram.count, histogram.mean) == (1, 2.0)
    assert np.isnan(Histogram().quantile(0.5))


def test_extremes_are_the_highest_rows_and_the_first_of_equals() -> None:
    keys = np.random.default_rng(1).integers(0, 30, 1000).astype(float)
    keys[::17] = np.nan
    extremes = Extremes(25)
    for part in np.array_split(np.arange(1000), 9):
        places = part[extremes.wanted(keys[part])]
        assert len(places) <= 25
        extremes.add(keys[places], places.tolist())
    order = sorted((row for row in range(1000) if keys[row] == keys[row]), key=lambda row: (-keys[row], row))
    assert [row for _, row in extremes.best()] == order[:25]


def test_a_sample_is_uniform_and_the_same_each_time() -> None:
    def drawn(seed: int) -> np.ndarray:
        sample = Sample(400, columns=1, seed=seed)
        for part in np.array_split(np.arange(10_000), 13):
            sample.add(part[:, None])
        return sample.rows[:, 0]

    assert len(drawn(0)) == 400 and np.array_equal(drawn(0), drawn(0))
    assert np.mean([drawn(seed).mean() for seed in range(20)]) == pytest.approx(5000, rel=0.02)


def test_a_tally_is_exact_while_it_fits_and_close_when_it_does_not() -> None:
    keys = [f"text {number % 30_000}" for number in range(45_000)]
    exact, sampled = Tally(), Tally(most=4096)
    for tally in (exact, sampled):
        for part in (keys[:10_000], keys[10_000:]):
            tally.add(pa.chunked_array([part]))
    assert (exact.repeats().distinct, exact.repeats().repeated, exact.repeats().estimated) == (30_000, 15_000, False)
    estimate = sampled.repeats()
    assert estimate.estimated and len(sampled.seen) <= 4096
    assert estimate.distinct == pytest.approx(30_000, rel=0.06) and estimate.repeated == pytest.approx(15_000, rel=0.1)
