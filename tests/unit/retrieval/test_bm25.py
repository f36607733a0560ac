"""BM25: figures, order of equal scores, and an index that is whole or absent."""

import math
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import ir_measures
import pytest
from ir_measures import R, nDCG

from inranker.corpora import open_collection
from inranker.errors import UserError
from inranker.retrieval import open_retriever, retrieve, retriever_identity
from inranker.retrieval.analysis import analyser
from inranker.retrieval.bm25 import DEFAULTS, build, load, load_or_build
from inranker.retrieval.options import Bm25Options
from inranker.types import Passage, Query
from tests.unit.beir_folder import many_passages, write_beir

PASSAGES = [Passage(row["_id"], row["text"]) for row in many_passages(60)]
QUERIES = [
    Query(f"q{number}", text) for number, text in enumerate(["alpha bravo", "kilo", "the zebra", "lima lima papa"])
]


def score_by_hand(
    query: str, passages: list[Passage], k1: float = DEFAULTS.k1, b: float = DEFAULTS.b
) -> dict[str, float]:
    """BM25 as Lucene defines it, term by term."""
    terms = analyser("en").terms
    documents = {passage.passage_id: Counter(terms(passage.contents)) for passage in passages}
    mean = sum(document.total() for document in documents.values()) / len(documents)
    scores: dict[str, float] = {}
    for term in terms(query):
        holders = sum(term in document for document in documents.values())
        idf = math.log(1 + (len(documents) - holders + 0.5) / (holders + 0.5))
        for name, document in documents.items():
            if count := document[term]:
                saturated = count / (count + k1 * (1 - b + b * document.total() / mean))
                scores[name] = scores.get(name, 0.0) + idf * saturated
    return scores


@pytest.mark.parametrize(("k1", "b"), [(0.9, 0.4), (1.5, 0.75)])
def test_scores_are_lucenes_bm25(k1: float, b: float) -> None:
    passages = [*PASSAGES, Passage("long", "alpha " * 9 + "bravo charlie delta " * 30), Passage("title", "x", "Kilo")]
    run = build(passages, analyser("en"), Bm25Options(k1, b)).search(QUERIES, 1000)
    for query in QUERIES:
        expected = score_by_hand(query.text, passages, k1, b)
        assert {document.passage_id for document in run[query.query_id]} == set(expected)
        for document in run[query.query_id]:
            assert document.score == pytest.approx(expected[document.passage_id], rel=1e-5)


def test_best_first_and_equal_scores_in_corpus_order() -> None:
    places = {passage.passage_id: place for place, passage in enumerate(PASSAGES)}
    ranking = build(PASSAGES, analyser("en")).search(QUERIES, 1000)["q0"]
    keys = [(-document.score, places[document.passage_id]) for document in ranking]
    assert keys == sorted(keys)
    assert len({document.score for document in ranking}) < len(ranking)  # there are ties to order


@pytest.mark.parametrize("depth", [1, 3, 7, 20, 60])
def test_a_shallower_search_is_the_head_of_a_deeper_one(depth: int) -> None:
    index = build(PASSAGES, analyser("en"))
    deep = index.search(QUERIES, 1000)
    assert index.search(QUERIES, depth) == {name: ranking[:depth] for name, ranking in deep.items()}


def test_passages_that_share_no_term_are_not_retrieved() -> None:
    run = build(PASSAGES, analyser("en")).search([*QUERIES, Query("none", "the"), Query("odd", "\u200b")], 1000)
    assert (run["q2"], run["none"], run["odd"]) == ([], [], [])
    assert all(document.score > 0 for ranking in run.values() for document in ranking)


def test_threads_and_other_queries_change_nothing() -> None:
    index = build(PASSAGES, analyser("en"))
    together = index.search(QUERIES, 10, threads=4)
    assert together == index.search(QUERIES, 10, threads=1)
    assert together == {query.query_id: index.search([query], 10)[query.query_id] for query in QUERIES}


def test_ids_of_any_script_come_back(tmp_path: Path) -> None:
    passages = [Passage("π", "alpha"), Passage("日本", "alpha alpha"), Passage("a b", "bravo")]
    index = load_or_build(lambda: passages, "hash", analyser("en"), tmp_path)
    assert {document.passage_id for document in index.search([Query("q", "alpha bravo")], 9)["q"]} == {
        "π",
        "日本",
        "a b",
    }


def test_saved_index_is_memory_mapped_and_searches_the_same(tmp_path: Path) -> None:
    fresh = build(PASSAGES, analyser("en")).search(QUERIES, 20)
    assert load_or_build(lambda: PASSAGES, "hash", analyser("en"), tmp_path).search(QUERIES, 20) == fresh

    def unread() -> list[Passage]:
        raise AssertionError("the corpus was read again")

    again = load_or_build(unread, "hash", analyser("en"), tmp_path)
    assert again.search(QUERIES, 20) == fresh
    assert type(again.scorer.scores["data"]).__name__ == "memmap"


def test_other_corpus_or_analyser_is_another_index(tmp_path: Path) -> None:
    for corpus_hash, language in (("one", "en"), ("two", "en"), ("one", "pt")):
        load_or_build(lambda: PASSAGES, corpus_hash, analyser(language), tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_damaged_or_foreign_index_is_one_sentence(tmp_path: Path) -> None:
    load_or_build(lambda: PASSAGES, "hash", analyser("en"), tmp_path)
    (place,) = tmp_path.iterdir()
    with pytest.raises(UserError, match="made with analyser en-porter-2, not pt-snowball-2; delete"):
        load(place, analyser("pt"))
    with open(place / "id_ends.npy", "ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match=r"is damaged .id_ends.npy has .* bytes"):
        load_or_build(lambda: PASSAGES, "hash", analyser("en"), tmp_path)
    (place / "index.json").unlink()
    with pytest.raises(UserError, match=r"is damaged .*index.json.*; delete that directory"):
        load_or_build(lambda: PASSAGES, "hash", analyser("en"), tmp_path)


def test_corpus_without_words_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no word to index"):
        load_or_build(lambda: [Passage("p", "...")], "hash", analyser("en"), tmp_path)
    assert list(tmp_path.iterdir()) == []


KILLED_BUILD = """
import os, signal, sys
from inranker.retrieval import bm25, index_cache
from inranker.retrieval.analysis import analyser
from inranker.types import Passage
def passages():
    yield Passage("p1", "alpha bravo")
    if sys.argv[2] == "reading":
        os.kill(os.getpid(), signal.SIGKILL)
def flush(directory):
    os.kill(os.getpid(), signal.SIGKILL)
index_cache._flush = flush
bm25.load_or_build(passages, "hash", analyser("en"), sys.argv[1])
"""


@pytest.mark.parametrize("moment", ["reading", "written"])
def test_killed_build_is_never_trusted_and_cleared(tmp_path: Path, moment: str) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED_BUILD, str(tmp_path), moment], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".building-")
    index = load_or_build(lambda: PASSAGES, "hash", analyser("en"), tmp_path)
    assert len(index) == len(PASSAGES)
    assert [place.name[:5] for place in tmp_path.iterdir()] == ["bm25-"]


def test_a_build_under_way_is_left_alone(tmp_path: Path) -> None:
    import socket

    other = tmp_path / f".building-{socket.gethostname()}-{os.getppid()}-0a"
    other.mkdir()
    load_or_build(lambda: PASSAGES, "hash", analyser("en"), tmp_path)
    assert other.is_dir()


def test_own_document_is_left_out_only_where_queries_are_documents(tmp_path: Path) -> None:
    passages = [{"_id": "q1", "text": "bees and honey"}, {"_id": "p2", "text": "honey of wild bees"}]
    qrels = [("q1", "p2", 1)]
    queries = [{"_id": "q1", "text": "bees and honey"}]
    for name, expected in (("arguana", ["p2"]), ("cranfield", ["q1", "p2"])):
        collection = open_collection(f"beir:{write_beir(tmp_path / name, passages, queries, test=qrels)}")
        run = retrieve(collection, list(collection.queries_iter("test")), 2)
        assert [document.passage_id for document in run["q1"]] == expected
    argued = open_collection(f"beir:{tmp_path / 'arguana'}")
    assert len(retrieve(argued, list(argued.queries_iter("test")), 1)["q1"]) == 1


def test_unknown_retriever_and_language(tmp_path: Path) -> None:
    collection = open_collection(f"beir:{write_beir(tmp_path)}")
    with pytest.raises(UserError, match="retriever 'elastic' is unknown; known are bm25s"):
        open_retriever(collection, "elastic")
    with pytest.raises(UserError, match="language 'xx'"):
        open_retriever(collection, language="xx")
    assert retriever_identity("bm25s", "en") == {"retriever": "bm25s", "analyser": "en-porter-2", "k1": 0.9, "b": 0.4}


def test_scifact_has_its_published_figures(shared_dir: Path) -> None:
    collection = open_collection(f"beir:{shared_dir / 'collections' / 'scifact'}")
    run = retrieve(collection, list(collection.queries_iter("test")), 1000)
    qrels = [ir_measures.Qrel(*qrel) for qrel in collection.qrels_iter("test")]
    scored = [ir_measures.ScoredDoc(*document) for ranking in run.values() for document in ranking]
    measured = ir_measures.calc_aggregate([nDCG @ 10, R @ 100], qrels, scored)
    assert measured[nDCG @ 10] == pytest.approx(0.6789, abs=0.003)
    assert measured[R @ 100] == pytest.approx(0.9253, abs=0.003)
