"""First-stage retrieval behind one function; a new retriever is one file and one line in RETRIEVERS.

A first stage is named `bm25s`, `lucene`, `lucene:INDEX` (a directory or a prebuilt name), `dense:MODEL`, `run:FILE` (a
TREC run), or several of them in turn, as in `bm25s+dense:MODEL`.
"""

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from inranker.corpora.base import Collection
from inranker.errors import UserError
from inranker.fingerprint import sha256_file
from inranker.retrieval import bm25, dense, lucene
from inranker.retrieval.analysis import analyser
from inranker.retrieval.options import Bm25Options
from inranker.retrieval.runs import Run, read_run, write_run
from inranker.retrieval.sources import OfThisCorpus, RunFile, interleave
from inranker.types import Query

__all__ = [
    "RETRIEVERS",
    "Bm25Options",
    "Retriever",
    "Run",
    "open_retriever",
    "parse_retriever",
    "read_run",
    "retrieve",
    "retriever_identity",
    "write_run",
]

DEFAULTS = Bm25Options()


class Retriever(Protocol):
    """A first stage made ready over one collection's passages."""

    def search(self, queries: list[Query], depth: int, threads: int | None = None) -> Run:
        """The best passages of each query, best first, at most `depth`; always the same for the same corpus."""
        ...


@dataclass(frozen=True)
class Asked:
    """What a first stage is asked for: `argument` is what follows its name, empty where nothing does."""

    argument: str
    language: str
    bm25: Bm25Options = DEFAULTS
    cache: str | Path | None = None


@dataclass(frozen=True)
class FirstStage:
    """How to open a retriever, and what its rankings depend on besides the corpus."""

    open: Callable[[Collection, Asked], Retriever]
    identity: Callable[[Asked], dict[str, Any]]


def open_bm25s(collection: Collection, asked: Asked) -> Retriever:
    """BM25 by bm25s."""
    terms = _bm25s_analyser(asked)
    return bm25.load_or_build(collection.passages_iter, collection.passages_hash(), terms, asked.cache, asked.bm25)


def bm25s_identity(asked: Asked) -> dict[str, Any]:
    """What BM25 by bm25s depends on."""
    return {"analyser": _bm25s_analyser(asked).name, "k1": asked.bm25.k1, "b": asked.bm25.b}


def _bm25s_analyser(asked: Asked) -> Any:
    if asked.argument:
        raise UserError(f"retriever bm25s takes nothing after its name, and was given {asked.argument!r}; leave it out")
    if asked.bm25.analyser == "lucene":
        raise UserError("bm25.analyser is lucene, which bm25s cannot use; set it to auto, or the retriever to lucene")
    return analyser(asked.language)


def open_lucene(collection: Collection, asked: Asked) -> Retriever:
    """BM25 by Lucene, over an index of the cache or one that is there already."""
    terms = lucene.terms_for(asked.language, asked.bm25)
    if asked.argument:
        index = lucene.existing(asked.argument, terms, asked.bm25)
        return OfThisCorpus(index, collection, f"index {asked.argument}")
    temporary = None if asked.cache else tempfile.TemporaryDirectory(prefix="inranker-lucene-")
    place = asked.cache or str(temporary and temporary.name)
    index = lucene.load_or_build(collection.passages_iter, collection.passages_hash(), terms, place, asked.bm25)
    index.temporary = temporary  # lives as long as the index does
    return index


def lucene_identity(asked: Asked) -> dict[str, Any]:
    """What BM25 by Lucene depends on."""
    identity = {"analyser": lucene.terms_for(asked.language, asked.bm25).name, "k1": asked.bm25.k1, "b": asked.bm25.b}
    return identity | ({"index": lucene.existing_identity(asked.argument)} if asked.argument else {})


def open_run(collection: Collection, asked: Asked) -> Retriever:
    """A TREC run file."""
    return OfThisCorpus(RunFile(_run_file(asked)), collection, f"run {asked.argument}")


def run_identity(asked: Asked) -> dict[str, Any]:
    """What a run file's rankings depend on: its bytes."""
    try:
        return {"sha256": sha256_file(Path(_run_file(asked)).expanduser())}
    except OSError as error:
        raise UserError(f"run {asked.argument} cannot be read ({error.strerror}); check its path") from error


def _run_file(asked: Asked) -> str:
    if not asked.argument:
        raise UserError("retriever run names no file; write run:FILE")
    return asked.argument


def open_dense(collection: Collection, asked: Asked) -> Retriever:
    """Exact search by the vectors of an encoder."""
    temporary = None if asked.cache else tempfile.TemporaryDirectory(prefix="inranker-dense-")
    place = asked.cache or str(temporary and temporary.name)
    index = dense.load_or_build(collection.passages_iter, collection.passages_hash(), _encoder(asked), place)
    index.temporary = temporary  # lives as long as the index does
    return index


def dense_identity(asked: Asked) -> dict[str, Any]:
    """What a dense first stage depends on."""
    return {"encoder": dense.model_hash(_encoder(asked))}


def _encoder(asked: Asked) -> str:
    if not asked.argument:
        raise UserError("retriever dense names no encoder; write dense:DIRECTORY")
    return asked.argument


RETRIEVERS: dict[str, FirstStage] = {
    "bm25s": FirstStage(open_bm25s, bm25s_identity),
    "lucene": FirstStage(open_lucene, lucene_identity),
    "dense": FirstStage(open_dense, dense_identity),
    "run": FirstStage(open_run, run_identity),
}


def retriever_identity(retriever: str, language: str, options: Bm25Options = DEFAULTS) -> dict[str, Any]:
    """What makes two first-stage runs over one corpus interchangeable.

    Raises:
        UserError: unknown retriever or language, or an argument that it cannot use.
    """
    parts = [
        {"retriever": name} | RETRIEVERS[name].identity(Asked(argument, language, options))
        for name, argument in parse_retriever(retriever)
    ]
    return parts[0] if len(parts) == 1 else {"retriever": "in turn", "parts": parts}


def open_retriever(
    collection: Collection,
    retriever: str = "bm25s",
    language: str | None = None,
    cache: str | Path | None = None,
    options: Bm25Options = DEFAULTS,
) -> Retriever:
    """A retriever over a collection, for many searches.

    Args:
        collection: what to search.
        retriever: as the module's text says.
        language: ISO 639-1 code of the analyser; by default the collection's.
        cache: local directory that keeps indexes between jobs; None keeps none.
        options: the fields of BM25.

    Raises:
        UserError: unknown retriever or language, or a corpus that cannot be read.
    """
    parts = [
        RETRIEVERS[name].open(collection, Asked(argument, language or collection.language, options, cache))
        for name, argument in parse_retriever(retriever)
    ]
    opened = parts[0] if len(parts) == 1 else InTurn(parts)
    return WithoutOwnDocument(opened) if collection.queries_are_documents else opened


class InTurn:
    """Several first stages, whose rankings are interleaved."""

    def __init__(self, retrievers: list[Retriever]) -> None:
        self.retrievers = retrievers

    def search(self, queries: list[Query], depth: int, threads: int | None = None) -> Run:
        """As Retriever.search."""
        return interleave([retriever.search(queries, depth, threads) for retriever in self.retrievers], depth)


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
    options: Bm25Options = DEFAULTS,
) -> Run:
    """The first-stage run of some queries over a collection; arguments and errors as open_retriever.

    A query's own passage is left out only where the collection's queries are documents.
    """
    return open_retriever(collection, retriever, language, cache, options).search(queries, depth)


def parse_retriever(retriever: str) -> list[tuple[str, str]]:
    """Name and argument of each first stage that a field names.

    Raises:
        UserError: one of them is unknown.
    """
    known = "|".join(RETRIEVERS)
    parts = [part.partition(":") for part in re.split(rf"\+(?=(?:{known})(?:[:+]|$))", retriever)]
    for name, _, _ in parts:
        if name not in RETRIEVERS:
            raise UserError(f"retriever {name!r} is unknown; known are {', '.join(RETRIEVERS)}")
    return [(name, argument) for name, _, argument in parts]
