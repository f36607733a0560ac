"""First-stage retrieval behind one function; a new retriever is one file and one line in RETRIEVERS."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from inranker.corpora.base import Collection
from inranker.errors import UserError
from inranker.retrieval.analysis import analyser
from inranker.retrieval.bm25 import load_or_build
from inranker.retrieval.runs import Run, read_run, write_run
from inranker.types import Query

__all__ = ["RETRIEVERS", "Retriever", "Run", "open_retriever", "read_run", "retrieve", "write_run"]


class Retriever(Protocol):
    """A first stage made ready over one collection's passages."""

    def search(self, queries: list[Query], depth: int) -> Run:
        """The best passages of each query, best first, at most `depth`; always the same for the same corpus."""
        ...


def open_bm25s(collection: Collection, language: str, cache: str | Path | None) -> Retriever:
    """BM25 by bm25s."""
    terms = analyser(language)
    return load_or_build(collection.passages_iter(), collection.passages_hash(), terms, cache)


RETRIEVERS: dict[str, Callable[[Collection, str, str | Path | None], Retriever]] = {"bm25s": open_bm25s}


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
    if retriever not in RETRIEVERS:
        raise UserError(f"retriever {retriever!r} is unknown; known are {', '.join(RETRIEVERS)}")
    opened = RETRIEVERS[retriever](collection, language or collection.language, cache)
    return WithoutOwnDocument(opened) if collection.queries_are_documents else opened


class WithoutOwnDocument:
    """A retriever over a collection whose queries are passages: a query's own passage is not retrieved."""

    def __init__(self, retriever: Retriever) -> None:
        self.retriever = retriever

    def search(self, queries: list[Query], depth: int) -> Run:
        """As Retriever.search."""
        run = self.retriever.search(queries, depth + 1)
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
