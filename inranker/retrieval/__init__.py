"""First-stage retrieval behind one function; a new retriever is one file and one line in RETRIEVERS."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from inranker.corpora.base import Collection
from inranker.errors import UserError
from inranker.retrieval.analysis import analyser
from inranker.retrieval.bm25 import K1, B, load_or_build
from inranker.retrieval.runs import Run, read_run, write_run
from inranker.types import Query

__all__ = [
    "RETRIEVERS",
    "Retriever",
    "Run",
    "open_retriever",
    "read_run",
    "retrieve",
    "retriever_identity",
    "write_run",
]


class Retriever(Protocol):
    """A first stage made ready over one collection's passages."""

    def search(self, queries: list[Query], depth: int, threads: int | None = None) -> Run:
        """The best passages of each query, best first, at most `depth`; always the same for the same corpus."""
        ...


@dataclass(frozen=True)
class FirstStage:
    """How to open a retriever (collection, language, cache), and what its rankings depend on besides the corpus."""

    open: Callable[[Collection, str, str | Path | None], Retriever]
    identity: Callable[[str], dict[str, Any]]


def open_bm25s(collection: Collection, language: str, cache: str | Path | None) -> Retriever:
    """BM25 by bm25s."""
    terms = analyser(language)
    return load_or_build(collection.passages_iter, collection.passages_hash(), terms, cache)


def bm25s_identity(language: str) -> dict[str, Any]:
    """What BM25 by bm25s depends on."""
    return {"retriever": "bm25s", "analyser": analyser(language).name, "k1": K1, "b": B}


RETRIEVERS: dict[str, FirstStage] = {"bm25s": FirstStage(open_bm25s, bm25s_identity)}


def retriever_identity(retriever: str, language: str) -> dict[str, Any]:
    """What makes two first-stage runs over one corpus interchangeable.

    Raises:
        UserError: unknown retriever or language.
    """
    return _first_stage(retriever).identity(language)


def open_retriever(
    collection: Collection,
    retriever: str = "bm25s",
    language: str | None = None,
    cache: str | Path | None = None,
) -> Retriever:
    """A retriever over a collection, for many searches.

    Args:
        collection: what to search.
        retriever: a name in RETRIEVERS.
        language: ISO 639-1 code of the analyser; by default the collection's.
        cache: local directory that keeps indexes between jobs; None keeps none.

    Raises:
        UserError: unknown retriever or language, or a corpus that cannot be read.
    """
    opened = _first_stage(retriever).open(collection, language or collection.language, cache)
    return WithoutOwnDocument(opened) if collection.queries_are_documents else opened


class WithoutOwnDocument:
    """A retriever over a collection whose queries are passages: a query's own passage is not retrieved."""

    def __init__(self, retriever: Retriever) -> None:
        self.retriever = retriever

    def search(self, queries: list[Query], depth: int, threads: int | None = None) -> Run:
        """As Retriever.search."""
        run = self.retriever.search(queries, depth + 1, threads)
        return {
            query_id: [document for document in ranking if document.passage_id != query_id][:depth]
            for query_id, ranking in run.items()
        }


def retrieve(
    collection: Collection,
    queries: list[Query],
    depth: int,
    retriever: str = "bm25s",
    language: str | None = None,
    cache: str | Path | None = None,
) -> Run:
    """The first-stage run of some queries over a collection; arguments and errors as open_retriever.

    A query's own passage is left out only where the collection's queries are documents.
    """
    return open_retriever(collection, retriever, language, cache).search(queries, depth)


def _first_stage(retriever: str) -> FirstStage:
    if retriever not in RETRIEVERS:
        raise UserError(f"retriever {retriever!r} is unknown; known are {', '.join(RETRIEVERS)}")
    return RETRIEVERS[retriever]
