"""Real queries with their BM25 candidates, for benchmarks."""

import json
import os
from functools import cache
from pathlib import Path

import bm25s


def shared() -> Path:
    """The folder with real collections, beside the checkout unless INRANKER_SHARED names another."""
    default = Path(__file__).resolve().parents[2].parent / "shared"
    return Path(os.environ.get("INRANKER_SHARED", default))


@cache
def _texts(collection: str) -> tuple[list[str], list[str]]:
    folder = shared() / "collections" / collection
    queries, documents = (
        [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]
        for name in ("queries.jsonl", "corpus.jsonl")
    )
    passages = [f"{document.get('title', '')} {document['text']}".strip() for document in documents]
    return [query["text"] for query in queries], passages


def candidates(queries: int, depth: int, collection: str = "msmarco_dl_5k") -> list[tuple[str, list[str]]]:
    """(query, its `depth` best passages by BM25) of the first queries of a collection."""
    texts, passages = _texts(collection)
    index = bm25s.BM25()
    index.index(bm25s.tokenize(passages, show_progress=False), show_progress=False)
    tokens = bm25s.tokenize(texts[:queries], show_progress=False)
    found, _ = index.retrieve(tokens, k=depth, show_progress=False)
    return [(query, [passages[i] for i in row]) for query, row in zip(texts, found, strict=False)]
