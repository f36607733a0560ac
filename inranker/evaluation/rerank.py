"""Re-ranking a first-stage run: which pairs a reranker reads, and how its scores become a new run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from inranker.errors import UserError
from inranker.retrieval.runs import Run, strictly_decreasing
from inranker.types import Passage, ScoredDoc

if TYPE_CHECKING:
    from inranker.rerankers.reranker import Reranker

# A chunk is sorted by length as one piece: enough that little is padded, few enough that progress shows.
CHUNK_PAIRS = {"cpu": 1024, "cuda": 16384}


class Candidate(NamedTuple):
    """A pair to score: one of the first passages of a query's run."""

    query_id: str
    passage_id: str


def candidates(run: Run, depth: int) -> list[Candidate]:
    """The pairs that re-ranking to a depth reads: per query, its first `depth` passages, in first-stage order."""
    return [Candidate(query_id, doc.passage_id) for query_id, docs in run.items() for doc in docs[:depth]]


def texts_of(passages: Iterable[Passage], pairs: Sequence[Candidate], source: str) -> dict[str, str]:
    """Contents of the passages that pairs name, from one pass over the collection; other passages are not kept.

    Args:
        passages: the collection's passages, streamed.
        pairs: what is needed.
        source: the collection's name, for the error.

    Raises:
        UserError: a passage is not in the collection.
    """
    missing = {pair.passage_id for pair in pairs}
    texts: dict[str, str] = {}
    for passage in passages if missing else ():
        if passage.passage_id in missing:
            missing.discard(passage.passage_id)
            texts[passage.passage_id] = passage.contents
            if not missing:
                break
    if missing:
        query_id, passage_id = next(pair for pair in pairs if pair.passage_id in missing)
        raise UserError(
            f"the run names passage {passage_id!r} (query {query_id!r}), which collection {source} does not have; "
            "evaluate with the collection that the run was made from"
        )
    return texts


def score_pairs(
    reranker: "Reranker",
    pairs: Sequence[Candidate],
    queries: Mapping[str, str],
    passages: Mapping[str, str],
    token_budget: int | None = None,
    on_progress: Callable[[int], object] = lambda done: None,
) -> np.ndarray:
    """Raw logits [n, 2] float32 (false, true) of the pairs, in their order.

    Args:
        reranker: what scores.
        pairs: what to score.
        queries: query_id -> text.
        passages: passage_id -> contents.
        token_budget: tokens of a batch, padding included; None leaves it to the reranker.
        on_progress: called with the number of pairs just scored.
    """
    chunk = CHUNK_PAIRS.get(reranker.device.type, CHUNK_PAIRS["cpu"])
    logits_N2 = np.empty((len(pairs), 2), dtype=np.float32)
    for start in range(0, len(pairs), chunk):
        part = pairs[start : start + chunk]
        encoded = reranker.encoder.encode(
            [queries[pair.query_id] for pair in part], [passages[pair.passage_id] for pair in part]
        )
        logits_N2[start : start + len(part)] = reranker.logits(encoded, token_budget)
        on_progress(len(part))
    return logits_N2


def rerank(run: Run, depth: int, scores: np.ndarray) -> Run:
    """A run with its first `depth` passages a query re-ordered by score.

    Equal scores keep first-stage order, and so do the passages below the depth, which follow after the rest. The
    run's scores strictly decrease, so that evaluators, who sort anew and break ties by id, see this very order.

    Args:
        run: the first stage, best first.
        depth: how many passages a query were scored.
        scores: [n] float32, one for each of `candidates(run, depth)`; higher is better.

    Raises:
        ValueError: there are more or fewer scores than candidates.
        UserError: a score is not a finite number.
    """
    if len(scores) != sum(len(docs[:depth]) for docs in run.values()):
        raise ValueError(f"{len(scores)} scores are not those of this run at depth {depth}")
    reranked: Run = {}
    start = 0
    for query_id, docs in run.items():
        own = scores[start : start + len(docs[:depth])]
        start += len(own)
        head = [docs[index]._replace(score=float(own[index])) for index in np.argsort(-own, kind="stable")]
        floor = head[-1].score if head else 0.0
        tail = [ScoredDoc(query_id, doc.passage_id, floor - below) for below, doc in enumerate(docs[depth:], start=1)]
        reranked[query_id] = strictly_decreasing(head + tail)
    return reranked


def shallower(run: Run, depth: int, scores: np.ndarray, to: int) -> np.ndarray:
    """Of the scores of `candidates(run, depth)`, those of `candidates(run, to)`; `to` is no more than `depth`."""
    ranks = np.concatenate([np.zeros(0, dtype=int), *(np.arange(len(docs[:depth])) for docs in run.values())])
    return scores[ranks < to]
