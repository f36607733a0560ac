"""Mixes with the first stage: their arithmetic, and that a weight never sees the query that it is measured on."""

import numpy as np
import pytest

from inranker.errors import UserError
from inranker.evaluation.interpolation import (
    Interpolation,
    best_weight,
    check,
    cutoff,
    fold_weights,
    interpolate,
    mixed,
)
from inranker.evaluation.rerank import rerank
from inranker.types import ScoredDoc

RUN = {
    query_id: [ScoredDoc(query_id, f"{query_id}d{place}", 9.0 - place) for place in range(4)]
    for query_id in (f"q{number}" for number in range(12))
}
DEPTH = 3
SCORES = np.tile(np.array([0.0, 5.0, 10.0], np.float32), len(RUN))  # the reranker turns every list around


def first(run: dict[str, list[ScoredDoc]], wanted: dict[str, int]) -> dict[str, float]:
    """1 where the wanted passage stands first."""
    return {q: float(docs[0].passage_id == f"{q}d{wanted[q]}") for q, docs in run.items()}


def test_mix_is_the_weighted_sum_of_scaled_scores() -> None:
    assert mixed(RUN, DEPTH, SCORES, 0.25)[:3] == pytest.approx([0.75, 0.5, 0.25])
    assert mixed({"q": RUN["q0"][:1]}, 5, np.array([3.0], np.float32), 0.5).tolist() == [0.0]  # nothing to scale


def test_the_ends_are_the_first_stage_and_the_reranker() -> None:
    def order(run: dict[str, list[ScoredDoc]]) -> list[str]:
        return [doc.passage_id for docs in run.values() for doc in docs]

    zero, one = (interpolate(RUN, DEPTH, SCORES, dict.fromkeys(RUN, weight)) for weight in (0.0, 1.0))
    assert order(zero) == order(RUN)
    assert order(one) == order(rerank(RUN, DEPTH, SCORES))


def test_the_best_weight_is_the_greatest_of_the_best() -> None:
    weights = [0.0, 0.2, 0.8, 1.0]
    wants = {"first stage": 0, "reranker": 2}
    found = {
        name: best_weight(RUN, DEPTH, SCORES, weights, lambda run, place=place: first(run, dict.fromkeys(RUN, place)))
        for name, place in wants.items()
    }
    assert found == {"first stage": 0.2, "reranker": 1.0}


def test_a_fold_is_never_asked_about_itself() -> None:
    """Where one query alone wants the reranker, its own fold must not learn it; the others follow their majority."""
    wanted = dict.fromkeys(RUN, 0) | {"q3": 2}
    weight_of, weights = fold_weights(
        RUN, DEPTH, SCORES, Interpolation("folds", folds=2, weights=[0.0, 1.0]), lambda run: first(run, wanted)
    )
    assert set(weight_of) == set(RUN) and set(weights) == {0.0}
    turned = dict.fromkeys(RUN, 2) | {query_id: 0 for query_id in RUN if weight_of_fold(query_id) == 0}
    _, weights = fold_weights(
        RUN, DEPTH, SCORES, Interpolation("folds", folds=2, weights=[0.0, 1.0]), lambda run: first(run, turned)
    )
    assert weights == [1.0, 0.0]  # each fold gets what is best for the other one


def weight_of_fold(query_id: str) -> int:
    from hashlib import sha256

    return int(sha256(query_id.encode()).hexdigest(), 16) % 2


def test_only_as_much_of_a_run_is_tried_as_the_measure_sees() -> None:
    assert {len(docs) for docs in cutoff("nDCG@2", RUN).values()} == {2}
    assert cutoff("AP", RUN) is RUN


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (Interpolation("folds", weights=[0.5, 1.5]), "between 0 and 1"),
        (Interpolation("folds", folds=1), "folds is 1"),
        (Interpolation("dev", split="test"), "'test' is the split that is measured"),
    ],
)
def test_what_cannot_be_meant_is_refused(chosen: Interpolation, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(chosen, "test")


def test_too_few_queries_for_the_folds() -> None:
    two = {query_id: RUN[query_id] for query_id in ("q0", "q1")}
    with pytest.raises(UserError, match="2 queries leave"):
        fold_weights(two, DEPTH, SCORES[:6], Interpolation("folds"), lambda run: dict.fromkeys(run, 1.0))
