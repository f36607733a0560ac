"""Agreement with a judge against scikit-style definitions and by hand."""

import numpy as np
import pytest
from scipy import stats

from inranker.evaluation.agreement import agreement, gains, mean_agreement

IDS = ["q"] * 3 + ["r"] * 12 + ["flat"] * 2
JUDGE = np.array([3.0, 1.0, 2.0, *range(12), 5.0, 5.0])
GAIN = np.array([1.0, 0.0, 0.5, *(place / 12 for place in range(12)), 0.2, 0.2])


def test_a_judge_agrees_with_itself() -> None:
    found = agreement(IDS, GAIN, JUDGE, JUDGE)
    assert set(found["tau"]) == {"q", "r"} and set(found["overlap@10"]) == {"r"}  # 'flat' says nothing
    assert mean_agreement(found) == pytest.approx({"nDCG@10": 1, "top-1": 1, "tau": 1, "overlap@10": 1})


def test_a_system_by_hand() -> None:
    system = np.array([1.0, 2.0, 3.0, *range(12, 0, -1), 1.0, 0.0])
    found = agreement(IDS, GAIN, JUDGE, system)
    ideal = 1 + 0.5 / np.log2(3)
    assert found["nDCG@10"]["q"] == pytest.approx((0.5 + 0 / np.log2(3) + 1 / np.log2(4)) / ideal)
    assert found["top-1"] == {"q": 0.0, "r": 0.0}
    assert found["tau"]["q"] == pytest.approx(stats.kendalltau([1, 2, 3], [3, 1, 2]).statistic)
    assert found["tau"]["r"] == pytest.approx(-1)
    assert found["overlap@10"]["r"] == pytest.approx(0.8)  # of twelve, the two best of the judge come last


def test_one_that_cannot_tell_passages_apart_gains_nothing() -> None:
    found = agreement(["q"] * 3, GAIN[:3], JUDGE[:3], np.zeros(3))
    assert found["top-1"]["q"] == 0 and found["tau"]["q"] == 0 and found["nDCG@10"]["q"] < 1


def test_gains_are_p_true() -> None:
    assert gains(np.array([[0.0, 0.0], [1.0, 3.0], [5000.0, 0.0]])) == pytest.approx([0.5, 1 / (1 + np.exp(-2)), 0])


def test_of_no_query_there_is_no_mean() -> None:
    assert np.isnan(mean_agreement(agreement(["q"], GAIN[:1], JUDGE[:1], JUDGE[:1]))["tau"])
