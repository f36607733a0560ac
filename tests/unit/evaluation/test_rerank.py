"""Re-ranking: ties, passages below the depth, strictly decreasing scores, texts looked up by streaming."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inranker.errors import UserError
from inranker.evaluation.rerank import Candidate, candidates, rerank, shallower, texts_of
from inranker.types import Passage, ScoredDoc

FIRST = {
    "q1": [
        ScoredDoc("q1", passage_id, score) for passage_id, score in [("a", 9.0), ("b", 8.0), ("c", 7.0), ("d", 6.0)]
    ],
    "q2": [ScoredDoc("q2", "c", 1.0)],
    "q3": [],
}


def order(run: dict[str, list[ScoredDoc]], query_id: str) -> list[str]:
    return [doc.passage_id for doc in run[query_id]]


def test_candidates_are_the_first_passages_in_first_stage_order() -> None:
    assert candidates(FIRST, 2) == [Candidate("q1", "a"), Candidate("q1", "b"), Candidate("q2", "c")]


def test_best_score_first_and_the_rest_below_in_first_stage_order() -> None:
    run = rerank(FIRST, 2, np.array([-5.0, 3.0, 0.0], dtype=np.float32))
    assert order(run, "q1") == ["b", "a", "c", "d"]
    assert [doc.score for doc in run["q1"]] == [3.0, -5.0, -6.0, -7.0]
    assert run["q2"] == [ScoredDoc("q2", "c", 0.0)] and run["q3"] == []


def test_equal_scores_keep_first_stage_order() -> None:
    run = rerank(FIRST, 3, np.array([1.0, 2.0, 1.0, 0.0], dtype=np.float32))
    assert order(run, "q1") == ["b", "a", "c", "d"]


def test_depth_beyond_the_run_is_the_whole_run() -> None:
    run = rerank(FIRST, 99, np.array([1, 2, 3, 4, 0], dtype=np.float32))
    assert order(run, "q1") == ["d", "c", "b", "a"]


SCORE = st.one_of(st.sampled_from([0.0, -0.0, 1.0, 3.4e38, -3.3e38, 1e-45]), st.floats(-50, 50, width=32))


@given(scores=st.lists(SCORE, min_size=1, max_size=30), below=st.integers(0, 20))
def test_any_scores_give_a_permutation_with_strictly_decreasing_single_precision_scores(
    scores: list[float], below: int
) -> None:
    names = [f"p{index}" for index in range(len(scores) + below)]
    first = {"q": [ScoredDoc("q", name, -float(rank)) for rank, name in enumerate(names)]}
    run = rerank(first, len(scores), np.array(scores, dtype=np.float32))["q"]
    assert sorted(doc.passage_id for doc in run) == sorted(names)
    assert [doc.passage_id for doc in run[len(scores) :]] == names[len(scores) :]
    written = np.array([doc.score for doc in run], dtype=np.float32)
    assert (np.diff(written) < 0).all() and np.isfinite(written).all()
    kept = [scores[int(doc.passage_id[1:])] for doc in run[: len(scores)]]
    assert kept == sorted(scores, reverse=True)


@given(depth=st.integers(1, 5), to=st.integers(1, 5))
def test_scores_of_a_smaller_depth_are_those_of_its_candidates(depth: int, to: int) -> None:
    score_of = {pair: float(number) for number, pair in enumerate(candidates(FIRST, 5))}
    scores = np.array([score_of[pair] for pair in candidates(FIRST, depth)])
    smaller = min(depth, to)
    assert shallower(FIRST, depth, scores, smaller).tolist() == [score_of[pair] for pair in candidates(FIRST, smaller)]


def test_scores_of_another_run_are_refused() -> None:
    with pytest.raises(ValueError, match="2 scores"):
        rerank(FIRST, 2, np.zeros(2, dtype=np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_is_named(bad: float) -> None:
    with pytest.raises(UserError, match="'q1', passage 'b'"):
        rerank(FIRST, 2, np.array([0.0, bad, 1.0], dtype=np.float32))


def test_texts_are_those_asked_for_and_streaming_stops_when_all_are_found() -> None:
    def stream():  # type: ignore[no-untyped-def]
        yield Passage("a", "text of a", "title")
        yield Passage("z", "never asked for")
        yield Passage("b", "text of b")
        raise AssertionError("read on although nothing was missing")

    assert texts_of(stream(), [Candidate("q1", "b"), Candidate("q2", "a")], "tiny") == {
        "a": "title text of a",
        "b": "text of b",
    }


def test_a_passage_that_the_collection_lacks_is_named() -> None:
    with pytest.raises(UserError, match=r"'nowhere' \(query 'q1'\).*beir/tiny"):
        texts_of([Passage("a", "x")], [Candidate("q1", "a"), Candidate("q1", "nowhere")], "beir/tiny")
