"""Measures: hand-computed values, trec_eval's tie rule, missing queries."""

from math import log2
from pathlib import Path

import ir_measures
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inranker.errors import UserError
from inranker.evaluation.measures import DEFAULT_MEASURES, means, measure_run
from inranker.evaluation.rerank import rerank
from inranker.retrieval.runs import read_run, write_run
from inranker.types import Qrel, ScoredDoc


def ranking(query_id: str, *passage_ids: str) -> list[ScoredDoc]:
    return [ScoredDoc(query_id, passage_id, float(-rank)) for rank, passage_id in enumerate(passage_ids)]


QRELS = [Qrel("q1", "a", 1), Qrel("q1", "b", 2), Qrel("q1", "x", 0), Qrel("q2", "c", 1), Qrel("q3", "d", 1)]
RUN = {"q1": ranking("q1", "x", "b", "y", "a"), "q2": ranking("q2", "y", "c"), "q9": ranking("q9", "a")}


def test_hand_computed_values() -> None:
    values = measure_run(RUN, QRELS, ["nDCG@10", "RR@10", "R@1", "R@100", "AP", "Judged@10"])
    ideal = 2 + 1 / log2(3)
    assert values["nDCG@10"] == pytest.approx({"q1": (2 / log2(3) + 1 / log2(5)) / ideal, "q2": 1 / log2(3), "q3": 0.0})
    assert values["RR@10"] == pytest.approx({"q1": 0.5, "q2": 0.5, "q3": 0.0})
    assert values["R@1"] == {"q1": 0.0, "q2": 0.0, "q3": 0.0}
    assert values["R@100"] == {"q1": 1.0, "q2": 1.0, "q3": 0.0}
    assert values["AP"] == pytest.approx({"q1": (1 / 2 + 2 / 4) / 2, "q2": 0.5, "q3": 0.0})
    assert values["Judged@10"] == pytest.approx({"q1": 3 / 4, "q2": 1 / 2, "q3": 0.0})


def test_missing_queries_count_as_zero_and_unjudged_ones_not_at_all() -> None:
    found = means(measure_run(RUN, QRELS, ["RR@10"]))
    assert found == {"RR@10": pytest.approx((0.5 + 0.5 + 0.0) / 3)}


def test_an_empty_run_is_all_zero() -> None:
    assert means(measure_run({}, QRELS)) == dict.fromkeys(DEFAULT_MEASURES, 0.0)


@pytest.mark.parametrize("name", ["nDCG@", "nDCG@x", "foo@10", "", "P"])
def test_unknown_measures_are_named(name: str) -> None:
    with pytest.raises(UserError, match="measures: ") as caught:
        measure_run(RUN, QRELS, [name])
    assert "\n" not in str(caught.value)


def test_no_measures_twice_the_same_and_no_qrels() -> None:
    with pytest.raises(UserError, match="none given"):
        measure_run(RUN, QRELS, [])
    with pytest.raises(UserError, match="twice"):
        measure_run(RUN, QRELS, ["nDCG@10", "nDCG@10"])
    with pytest.raises(UserError, match="no qrels"):
        measure_run(RUN, [], ["nDCG@10"])


SCORES = st.lists(st.sampled_from([0.0, 1.0, 1.0 + 1e-7, -3.5, 1e30]), min_size=12, max_size=12)


@given(scores=SCORES, depth=st.integers(1, 12), relevant=st.sets(st.integers(0, 11), min_size=1))
def test_what_is_measured_is_what_the_run_file_says(
    tmp_path_factory: pytest.TempPathFactory, scores: list[float], depth: int, relevant: set[int]
) -> None:
    """Also with ties: ids are given so that an evaluator's own tie rule would turn the first stage around."""
    import numpy as np

    first = {"q": ranking("q", *(f"p{rank:02}" for rank in range(12)))}
    qrels = [Qrel("q", f"p{index:02}", 1) for index in relevant]
    run = rerank(first, depth, np.array(scores[:depth], dtype=np.float32))
    path = tmp_path_factory.mktemp("run") / "run.trec"
    write_run(path, run, "tag")
    names = ["nDCG@10", "RR@10", "R@100", "AP", "P@3"]
    from_file = ir_measures.calc_aggregate(
        [ir_measures.parse_measure(name) for name in names],
        [ir_measures.Qrel(*qrel) for qrel in qrels],
        ir_measures.read_trec_run(str(path)),
    )
    ours = means(measure_run(run, qrels, names))
    assert {str(measure): value for measure, value in from_file.items()} == pytest.approx(ours)
    first_relevant = next(
        rank for rank, doc in enumerate(read_run(path)["q"], 1) if int(doc.passage_id[1:]) in relevant
    )
    assert ours["RR@10"] == pytest.approx(1 / first_relevant if first_relevant <= 10 else 0)


def test_bm25_runs_of_another_maker_measure_alike(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    write_run(path, RUN, "tag")
    assert measure_run(read_run(path), QRELS) == measure_run(RUN, QRELS)
