"""How far an export is from its original, on real pairs, and whether that is near enough."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..corpora import open_collection
from ..errors import UserError
from ..evaluation.measures import means, measure_run
from ..evaluation.rerank import candidates, rerank, texts_of
from ..evaluation.sampling import sample as sample_queries
from ..rerankers.contract import Contract
from ..rerankers.fidelity import compare
from ..rerankers.reranker import scores
from ..retrieval import Run, retrieve
from ..types import Qrel
from .config import Limits, Sample

MEASURE = "nDCG@10"
CUTOFF = 10
DEFAULTS = {
    "float32": Limits(max_logit_error=1e-3, min_kendall_tau=0.999, max_ndcg_loss=1e-3),
    "int8": Limits(max_logit_error=1.0, min_kendall_tau=0.95, max_ndcg_loss=0.01),
}


@dataclass(frozen=True)
class Pairs:
    """The pairs of a parity check."""

    run: Run
    """Candidates of each query, in first-stage order."""
    query_ids: list[str]
    """Of each pair."""
    queries: list[str]
    """Text of each pair's query."""
    passages: list[str]
    """Contents of each pair's passage."""
    qrels: list[Qrel]
    """Judgments of these queries; empty where the collection has none."""


@dataclass(frozen=True)
class Parity:
    """What an export changes."""

    pairs: int
    """Pairs compared."""
    max_logit_error: float
    """Largest |Δlogit|."""
    mean_logit_error: float
    """Mean |Δlogit|."""
    logit_spread: float
    """Smaller range of the original's two logits: what the errors are to be seen against."""
    kendall_tau: float
    """Mean over queries of Kendall's τ between the two orders."""
    ndcg_loss_own: float
    """nDCG@10 lost, with the original's scores (scaled to 0–1 for each query) as gains."""
    ndcg_original: float | None
    """nDCG@10 of the original against the qrels; null without qrels."""
    ndcg_loss: float | None
    """nDCG@10 lost against the qrels; negative where the export does better."""


def read_pairs(wanted: Sample) -> Pairs:
    """The sample's pairs: BM25's candidates of some queries.

    Raises:
        UserError: no such collection or split, or a sample without a pair.
    """
    if wanted.queries < 1 or wanted.depth < 2:
        raise UserError(f"sample: {wanted.queries} queries of depth {wanted.depth} show no order; use 1 or more of 2")
    collection = open_collection(wanted.collection, None)
    queries = sample_queries(list(collection.queries_iter(wanted.split)), wanted.queries)
    run = retrieve(collection, queries, wanted.depth)
    pairs = candidates(run, wanted.depth)
    if not pairs:
        raise UserError(f"sample: no passage was found for any query of {wanted.collection}, split {wanted.split}")
    texts = texts_of(collection.passages_iter(), pairs, wanted.collection)
    text_of = {query.query_id: query.text for query in queries}
    return Pairs(
        run=run,
        query_ids=[pair.query_id for pair in pairs],
        queries=[text_of[pair.query_id] for pair in pairs],
        passages=[texts[pair.passage_id] for pair in pairs],
        qrels=[qrel for qrel in collection.qrels_iter(wanted.split) if qrel.query_id in text_of],
    )


def measure(logits: np.ndarray, reference: np.ndarray, pairs: Pairs, contract: Contract) -> Parity:
    """Parity of an export's logits [n, 2] to its original's, both of `pairs`.

    Raises:
        UserError: the export gave a logit that is not finite.
    """
    if not np.isfinite(logits).all():
        raise UserError("the export gives logits that are not finite; use another precision or backend")
    found = compare(logits, reference, pairs.query_ids, contract)
    ours, theirs = scores(logits, contract), scores(reference, contract)
    judged = any(qrel.relevance > 0 for qrel in pairs.qrels)
    original = _ndcg(pairs, theirs) if judged else None
    return Parity(
        pairs=found.pairs,
        max_logit_error=found.max_error,
        mean_logit_error=found.mean_error,
        logit_spread=float(np.ptp(reference, axis=0).min()),
        kendall_tau=found.kendall_tau,
        ndcg_loss_own=own_ndcg_loss(ours, theirs, pairs.query_ids),
        ndcg_original=original,
        ndcg_loss=None if original is None else original - _ndcg(pairs, ours),
    )


def own_ndcg_loss(scores_: np.ndarray, reference: np.ndarray, query_ids: Sequence[str]) -> float:
    """1 − mean nDCG@10 of the order by `scores_`, where a passage's gain is its reference score, scaled to 0–1 among
    its query's passages. Needs no judgments and looks at the top alone."""
    losses = []
    names = np.asarray(query_ids)
    for query_id in dict.fromkeys(query_ids):
        own = names == query_id
        gains = reference[own].astype(np.float64) - reference[own].min()
        if gains.max() > 0:
            losses.append(1 - _dcg(gains[np.argsort(-scores_[own], kind="stable")]) / _dcg(-np.sort(-gains)))
    return float(np.mean(losses)) if losses else 0.0


def _dcg(gains: np.ndarray) -> float:
    top = gains[:CUTOFF]
    return float((top / np.log2(np.arange(2, len(top) + 2))).sum())


def _ndcg(pairs: Pairs, scores_: np.ndarray) -> float:
    depth = max(len(found) for found in pairs.run.values())
    return means(measure_run(rerank(pairs.run, depth, scores_), pairs.qrels, [MEASURE]))[MEASURE]


def limits_of(asked: Limits, precision: str) -> Limits:
    """The limits asked for, the precision's defaults where none is."""
    default = DEFAULTS[precision]
    return Limits(
        **{
            name: default_ if (own := getattr(asked, name)) is None else own
            for name, default_ in asdict(default).items()
        }
    )


def require(parity: Parity, limits: Limits, what: str, hint: str = "") -> dict[str, Any]:
    """Figures and limits as they go into the record; `hint` says what to try first where one is refused.

    Raises:
        UserError: a figure is beyond its limit.
    """
    checks = [
        ("max |Δlogit|", parity.max_logit_error, limits.max_logit_error, "max_logit_error"),
        ("lost Kendall τ", 1 - parity.kendall_tau, 1 - (limits.min_kendall_tau or 0.0), "min_kendall_tau"),
        ("lost nDCG@10 by its own scores", parity.ndcg_loss_own, limits.max_ndcg_loss, "max_ndcg_loss"),
        ("lost nDCG@10", parity.ndcg_loss, limits.max_ndcg_loss, "max_ndcg_loss"),
    ]
    for name, figure, limit, field in checks:
        # Written so that a NaN, too, is beyond every limit.
        if figure is not None and limit is not None and not figure <= limit:
            raise UserError(
                f"{what} is not true enough to its original: {name} {figure:.4g} on {parity.pairs} pairs, limit "
                f"{limit:.4g}; nothing was kept; {hint}use precision float32, or allow it with --limits.{field}"
            )
    return {**asdict(parity), "limits": asdict(limits)}
