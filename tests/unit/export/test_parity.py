"""What an export is judged by."""

import numpy as np
import pytest

from inranker.errors import UserError
from inranker.export.config import Limits
from inranker.export.parity import Pairs, Parity, limits_of, measure, own_ndcg_loss, require
from inranker.rerankers.contract import FAMILIES
from inranker.types import Qrel, ScoredDoc

CONTRACT = FAMILIES["monot5"]


def pairs_of(qrels: list[Qrel]) -> Pairs:
    run = {"q": [ScoredDoc("q", f"p{i}", 9.0 - i) for i in range(4)]}
    return Pairs(run, ["q"] * 4, ["text"] * 4, ["passage"] * 4, qrels)


def logits(*margins: float) -> np.ndarray:
    return np.array([[-margin / 2, margin / 2] for margin in margins], np.float32)


def test_an_order_loses_what_its_top_loses() -> None:
    exact = np.array([3.0, 2.0, 1.0, 0.0])
    assert own_ndcg_loss(exact * 2 - 7, exact, ["q"] * 4) == pytest.approx(0)
    # Gains 3 2 1 0; swapping the first two costs (3 − 2)(1 − 1 / log2 3) of the ideal.
    ideal = 3 + 2 / np.log2(3) + 1 / 2
    swapped = np.array([2.0, 3.0, 1.0, 0.0])
    assert own_ndcg_loss(swapped, exact, ["q"] * 4) == pytest.approx((1 - 1 / np.log2(3)) / ideal)
    both = own_ndcg_loss(np.concatenate([exact, swapped]), np.tile(exact, 2), ["a"] * 4 + ["b"] * 4)
    assert both == pytest.approx((1 - 1 / np.log2(3)) / ideal / 2)
    assert own_ndcg_loss(exact, np.zeros(4), ["q"] * 4) == 0


def test_below_the_tenth_place_nothing_counts() -> None:
    exact = np.arange(20.0)[::-1]
    other = np.concatenate([exact[:10], exact[10:][::-1]])
    assert own_ndcg_loss(other, exact, ["q"] * 20) == pytest.approx(0)


def test_loss_against_judgments() -> None:
    reference, export = logits(4, 3, 2, 1), logits(3, 4, 2, 1)
    judged = measure(export, reference, pairs_of([Qrel("q", "p0", 1)]), CONTRACT)
    assert judged.ndcg_original == pytest.approx(1) and judged.ndcg_loss == pytest.approx(1 - 1 / np.log2(3))
    assert judged.kendall_tau == pytest.approx(1 - 2 / 6)
    assert judged.max_logit_error == pytest.approx(0.5) and judged.logit_spread == pytest.approx(1.5)
    better = measure(reference, export, pairs_of([Qrel("q", "p0", 1)]), CONTRACT)
    assert better.ndcg_loss == pytest.approx(1 / np.log2(3) - 1)
    unjudged = measure(export, reference, pairs_of([Qrel("q", "p0", 0)]), CONTRACT)
    assert unjudged.ndcg_loss is None and unjudged.ndcg_loss_own > 0


def test_a_logit_that_is_no_number_is_refused() -> None:
    with pytest.raises(UserError, match="not finite"):
        measure(logits(1, 2, float("nan"), 4), logits(1, 2, 3, 4), pairs_of([]), CONTRACT)


@pytest.mark.parametrize(
    ("figure", "value", "field"),
    [
        ("max_logit_error", 1.01, "max_logit_error"),
        ("kendall_tau", 0.94, "min_kendall_tau"),
        ("ndcg_loss_own", 0.011, "max_ndcg_loss"),
        ("ndcg_loss", 0.011, "max_ndcg_loss"),
        ("max_logit_error", float("nan"), "max_logit_error"),
    ],
)
def test_each_limit_is_kept(figure: str, value: float, field: str) -> None:
    good = {
        "pairs": 40, "max_logit_error": 0.99, "mean_logit_error": 0.1, "logit_spread": 9.0, "kendall_tau": 0.96,
        "ndcg_loss_own": 0.009, "ndcg_original": 0.5, "ndcg_loss": -0.2,
    }  # fmt: skip
    limits = limits_of(Limits(), "int8")
    assert require(Parity(**good), limits, "onnx")["limits"]["max_ndcg_loss"] == 0.01
    with pytest.raises(UserError, match=rf"--limits\.{field}"):
        require(Parity(**{**good, figure: value}), limits, "onnx")
    loose = limits_of(Limits(max_logit_error=2.0, min_kendall_tau=0.9, max_ndcg_loss=0.1), "int8")
    if value == value:
        require(Parity(**{**good, figure: value}), loose, "onnx")
