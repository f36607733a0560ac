"""TREC run files."""

import gzip
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inranker.errors import UserError
from inranker.retrieval.runs import read_run, strictly_decreasing, write_run
from inranker.types import ScoredDoc


def ranking(*scores: float) -> list[ScoredDoc]:
    """A ranking with those scores."""
    return [ScoredDoc("q1", f"p{place}", score) for place, score in enumerate(scores)]


def test_written_run_reads_back(tmp_path: Path) -> None:
    run = {"q2": [ScoredDoc("q2", "p9", 2.5), ScoredDoc("q2", "p1", -0.25)], "q1": ranking(3.0, 1.0, 0.5)}
    write_run(tmp_path / "runs" / "bm25.run", run, "bm25")
    assert (tmp_path / "runs" / "bm25.run").read_text().splitlines()[:2] == [
        "q2 Q0 p9 1 2.5 bm25",
        "q2 Q0 p1 2 -0.25 bm25",
    ]
    assert read_run(tmp_path / "runs" / "bm25.run") == run
    assert [file.name for file in (tmp_path / "runs").iterdir()] == ["bm25.run"]


def test_ties_keep_their_order_through_a_file(tmp_path: Path) -> None:
    tied = ranking(2.0, 1.0, 1.0, 1.0, 0.0, 0.0, -0.0, -3.0)
    write_run(tmp_path / "a.run", {"q1": tied}, "tag")
    read = read_run(tmp_path / "a.run")["q1"]
    assert [document.passage_id for document in read] == [document.passage_id for document in tied]
    # What an evaluator does: sort by the score it reads as float32, ties by id.
    resorted = sorted(read, key=lambda document: (-np.float32(document.score), document.passage_id[::-1]))
    assert resorted == read


@given(st.lists(st.floats(-(2.0**99), 2.0**99, width=32), max_size=40))
def test_scores_strictly_decrease_and_move_only_at_ties(scores: list[float]) -> None:
    before = ranking(*sorted(scores, reverse=True))
    after = strictly_decreasing(before)
    assert [document.passage_id for document in after] == [document.passage_id for document in before]
    lowered = [np.float32(document.score) for document in after]
    assert all(one > other for one, other in itertools.pairwise(lowered))
    assert strictly_decreasing(after) == after
    distinct = ranking(*sorted({score + 0.0 for score in scores}, reverse=True))
    assert strictly_decreasing(distinct) == distinct


def test_gzip_and_order_by_score(tmp_path: Path) -> None:
    text = "q1 Q0 p1 1 0.5 x\nq1 Q0 p2 2 1.5 x\n\nq1 Q0 p3 3 0.5 x\n"
    (tmp_path / "a.run.gz").write_bytes(gzip.compress(text.encode()))
    run = read_run(tmp_path / "a.run")
    assert [document.passage_id for document in run["q1"]] == ["p2", "p1", "p3"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q1 Q0 p2 2 0.5", "line 2: 5 columns"),
        ("q1 Q0 p2 2 high x", "line 2: 'high' is not a finite number"),
        ("q1 Q0 p2 2 nan x", "line 2: 'nan' is not a finite number"),
        ("q1 Q0 p2 two 0.5 x", "line 2: 'two' is not a finite number"),
        ("q1 Q0 p1 2 0.5 x", "line 2: query 'q1' ranks passage 'p1' twice"),
    ],
)
def test_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "a.run").write_text(f"q1 Q0 p1 1 0.9 x\n{line}\n")
    with pytest.raises(UserError, match=message):
        read_run(tmp_path / "a.run")


@pytest.mark.parametrize(
    ("documents", "tag", "message"),
    [
        ([ScoredDoc("q1", "a b", 1.0)], "tag", "'a b' cannot stand in a run"),
        ([ScoredDoc("q1", "p1", 1.0)], "my tag", "'my tag' cannot stand in a run"),
        ([ScoredDoc("q1", "p1", float("nan"))], "tag", "score nan cannot rank"),
        ([ScoredDoc("q1", "p1", 1.0), ScoredDoc("q1", "p1", 0.5)], "tag", "'p1' twice"),
    ],
)
def test_what_cannot_be_written_leaves_no_file(
    tmp_path: Path, documents: list[ScoredDoc], tag: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        write_run(tmp_path / "a.run", {"q1": documents}, tag)
    assert list(tmp_path.iterdir()) == []


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.run: cannot be read"):
        read_run(tmp_path / "nowhere.run")
