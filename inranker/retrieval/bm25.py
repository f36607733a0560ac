"""BM25 in the Lucene variant by bm25s: no JVM, memory-mapped, and the same order on every machine.

bm25s precomputes what each term adds to each passage (https://arxiv.org/abs/2407.03618). The ranking is done here,
since its own selection leaves passages of equal score in no defined order: here they stay in corpus order, and a
passage that shares no term with the query is not retrieved at all.
"""

import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from inranker.errors import UserError
from inranker.fingerprint import fingerprint
from inranker.retrieval.analysis import Analyser
from inranker.retrieval.index_cache import describe, described, kept
from inranker.retrieval.options import Bm25Options
from inranker.retrieval.passage_ids import PassageIds, PassageIdsBuilder, load_passage_ids
from inranker.types import Passage, Query, ScoredDoc

FORMAT = 2
DEFAULTS = Bm25Options()


class Bm25Index:
    """A searchable BM25 index.

    Args:
        scorer: a bm25s.BM25 that holds the score of each (passage, term).
        ids: the passage ids in corpus order.
        analyser: the one the passages went through.
    """

    def __init__(self, scorer: Any, ids: PassageIds, analyser: Analyser) -> None:
        self.scorer = scorer
        self.ids = ids
        self.analyser = analyser

    def __len__(self) -> int:
        return len(self.ids)

    def search(self, queries: list[Query], depth: int, threads: int | None = None) -> dict[str, list[ScoredDoc]]:
        """The best passages of each query, best first, at most `depth`; equal scores in corpus order.

        Args:
            queries: what to search for; a query without a known term finds nothing.
            depth: how many passages to return.
            threads: how many queries to score at a time; by default one a core. NumPy lets go of the interpreter lock.
        """
        terms = [self.scorer.get_tokens_ids(self.analyser.terms(query.text)) for query in queries]
        with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
            found = pool.map(lambda ids: self._best(ids, depth), terms)
            return {
                query.query_id: [
                    ScoredDoc(query.query_id, passage_id, score)
                    for passage_id, score in zip(self.ids.at(rows), scores.tolist(), strict=True)
                ]
                for query, (rows, scores) in zip(queries, found, strict=True)
            }

    def _best(self, term_ids: list[int], depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and scores of the best passages."""
        if not term_ids or depth < 1:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        scores = self.scorer.get_scores_from_ids(term_ids)
        rows = np.flatnonzero(scores > 0)
        found = scores[rows]
        if depth < len(found):  # among the zeros of all other passages np.partition takes twenty times as long
            best = found >= np.partition(found, len(found) - depth)[len(found) - depth]
            rows, found = rows[best], found[best]
        order = np.argsort(-found, kind="stable")[:depth]
        return rows[order], found[order]

    def save(self, directory: Path) -> None:
        """Write the index; the description comes last, so that an index cut short is not taken for one."""
        self.scorer.save(directory, show_progress=False)
        self.ids.save(directory)
        describe(directory, analyser=self.analyser.name, passages=len(self))


def build(passages: Iterable[Passage], analyser: Analyser, options: Bm25Options = DEFAULTS) -> Bm25Index:
    """An index of passages, which are read once, one at a time: only their terms' numbers are kept.

    Raises:
        UserError: no passage has a term to index.
    """
    import bm25s

    tokens = _Tokens(passages, analyser)
    if not tokens.vocabulary:
        raise UserError("the passages hold no word to index; check the corpus and its language")
    scorer = bm25s.BM25(k1=options.k1, b=options.b, method="lucene", csc_backend="scipy", backend="numpy")
    numbers = list(tokens.vocabulary.values())
    scorer.scores = scorer.build_index_from_ids(numbers, tokens, show_progress=False)
    scorer.vocab_dict = tokens.vocabulary
    scorer.unique_token_ids_set = set(numbers)
    return Bm25Index(scorer, tokens.ids.finish(), analyser)


def load(directory: Path, analyser: Analyser) -> Bm25Index:
    """A saved index, its arrays memory-mapped.

    Raises:
        UserError: a file is missing or has another length, or the index was made with another analyser.
    """
    import bm25s

    described(directory, analyser.name)
    scorer = bm25s.BM25.load(directory, mmap=True)
    return Bm25Index(scorer, load_passage_ids(directory), analyser)


def load_or_build(
    passages: Callable[[], Iterable[Passage]],
    corpus_hash: str,
    analyser: Analyser,
    cache: str | Path | None,
    options: Bm25Options = DEFAULTS,
) -> Bm25Index:
    """The index of a corpus from the cache directory, built and kept there first where it is not.

    Args:
        passages: makes an iterator over the corpus; called only when the index has to be built.
        corpus_hash: sha256 of those passages, part of the index's name in the cache.
        analyser: for passages and queries.
        cache: a local directory; None keeps the index in memory only.
        options: k1 and b.
    """
    if cache is None:
        return build(passages(), analyser, options)
    import bm25s

    key = fingerprint([corpus_hash, analyser.name, options.k1, options.b, FORMAT, bm25s.__version__])

    def make(place: Path) -> None:
        build(passages(), analyser, options).save(place)

    return load(kept(cache, f"bm25-{key[:32]}", make), analyser)


class _Tokens:
    """The corpus as bm25s wants it, a sequence of lists of term numbers, but kept as one flat int32 array."""

    def __init__(self, passages: Iterable[Passage], analyser: Analyser) -> None:
        self.vocabulary: dict[str, int] = {}
        self.flat = array("i")
        self.ends = array("q")
        self.ids = PassageIdsBuilder()
        for passage in passages:
            for term in analyser.terms(passage.contents):
                self.flat.append(self.vocabulary.setdefault(term, len(self.vocabulary)))
            self.ends.append(len(self.flat))
            self.ids.append(passage.passage_id)

    def __len__(self) -> int:
        return len(self.ends)

    def __iter__(self) -> Iterator[list[int]]:
        start = 0
        for end in self.ends:
            yield self.flat[start:end].tolist()
            start = end
