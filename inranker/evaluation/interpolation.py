"""A reranker's scores mixed with the first stage's, query by query; the weight is never chosen on what is measured.

Linear interpolation of normalised scores: Wang, Zhuang and Zuccon 2021, https://doi.org/10.1145/3471158.3472233.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from inranker.errors import UserError
from inranker.evaluation.measures import parse_measures
from inranker.evaluation.rerank import rerank
from inranker.fingerprint import sha256_bytes
from inranker.retrieval.runs import Run

SUFFIX = "+bm25"

Measure = Callable[[Run], dict[str, float]]
"""A run -> query_id -> value of the measure that chooses."""


@dataclass(frozen=True)
class Interpolation:
    """Each reranker mixed with the first stage, as a system of its own (NAME+bm25)."""

    choose: Literal["none", "dev", "folds"] = "none"
    """How its weight is chosen: on another split (dev), or, where there is none, in folds of the queries that are
    measured, each with the weight that is best on the other folds."""
    split: str = "dev"
    """The split that chooses, for dev."""
    folds: int = 5
    """How many folds the queries are dealt into, by the hash of their id."""
    weights: list[float] = field(default_factory=lambda: [place / 10 for place in range(11)])
    """What is tried: the reranker's share, 0 for the first stage as it is, 1 for the reranker as it is."""


def check(chosen: Interpolation, split: str) -> None:
    """Refuse what cannot be meant.

    Raises:
        UserError: weights outside 0 to 1 or none, fewer than two folds, or the measured split chosen to choose.
    """
    if not chosen.weights or any(not 0 <= weight <= 1 for weight in chosen.weights):
        raise UserError(f"interpolation.weights: {chosen.weights} are not one or more shares between 0 and 1")
    if chosen.folds < 2:
        raise UserError(f"interpolation.folds is {chosen.folds}; it must be 2 or more")
    if chosen.choose == "dev" and chosen.split == split:
        raise UserError(
            f"interpolation.split: {split!r} is the split that is measured; choose on another one, or in folds"
        )


def mixed(run: Run, depth: int, scores_N: np.ndarray, weight: float) -> np.ndarray:
    """weight × the reranker's score + (1 − weight) × the first stage's, both scaled to 0…1 within a query; float32 [N].

    Args:
        run: the first stage.
        depth: passages a query that were scored.
        scores_N: the reranker's scores of `candidates(run, depth)`.
        weight: the reranker's share.
    """
    first_N = np.concatenate([np.zeros(0), *([doc.score for doc in docs[:depth]] for docs in run.values())])
    out_N = np.empty(len(scores_N))
    start = 0
    for docs in run.values():
        rows = slice(start, start + len(docs[:depth]))
        out_N[rows] = weight * _scaled(scores_N[rows]) + (1 - weight) * _scaled(first_N[rows])
        start = rows.stop
    return out_N.astype(np.float32)


def best_weight(run: Run, depth: int, scores_N: np.ndarray, weights: Sequence[float], measure: Measure) -> float:
    """The weight with the highest mean; of those that are as good the greatest, so that nothing is mixed in vain."""
    found = {weight: _mean(measure(rerank(run, depth, mixed(run, depth, scores_N, weight)))) for weight in weights}
    return max(found, key=lambda weight: (round(found[weight], 9), weight))


def interpolate(run: Run, depth: int, scores_N: np.ndarray, weight_of: Mapping[str, float]) -> Run:
    """The run mixed with each query's own weight."""
    mixes = {weight: mixed(run, depth, scores_N, weight) for weight in set(weight_of.values())}
    rows = [query_id for query_id, docs in run.items() for _ in docs[:depth]]
    scores = [mixes[weight_of[query_id]][row] for row, query_id in enumerate(rows)]
    return rerank(run, depth, np.array(scores, dtype=np.float32))


def fold_weights(
    run: Run, depth: int, scores_N: np.ndarray, chosen: Interpolation, measure: Measure
) -> tuple[dict[str, float], list[float]]:
    """Each query's weight, chosen on the other folds, and the folds' weights.

    Raises:
        UserError: there are fewer queries than folds, or a fold got none.
    """
    fold_of = {query_id: int(sha256_bytes(query_id.encode()), 16) % chosen.folds for query_id in run}
    if missing := set(range(chosen.folds)) - set(fold_of.values()):
        raise UserError(
            f"interpolation.folds: {len(run)} queries leave {len(missing)} of {chosen.folds} folds empty; name fewer"
        )
    values = {
        weight: measure(rerank(run, depth, mixed(run, depth, scores_N, weight))) for weight in sorted(chosen.weights)
    }
    weights = []
    for fold in range(chosen.folds):
        others = [query_id for query_id, own in fold_of.items() if own != fold]
        means = {w: round(_mean({q: by_query.get(q, 0.0) for q in others}), 9) for w, by_query in values.items()}
        weights.append(max(means, key=lambda weight: (means[weight], weight)))
    return {query_id: weights[fold] for query_id, fold in fold_of.items()}, weights


def cutoff(measure: str, run: Run) -> Run:
    """As much of a run as a measure looks at: trying eleven weights on a thousand passages a query is slow for @10."""
    parsed = parse_measures([measure])[measure]
    most = parsed.params.get("cutoff")
    return run if most is None else {query_id: docs[:most] for query_id, docs in run.items()}


def described(weights: Sequence[float], chosen: Interpolation) -> dict[str, Any]:
    """What the summary says of a mix."""
    how = f"split {chosen.split}" if chosen.choose == "dev" else f"{chosen.folds} folds, each by the others"
    return {"weights": list(weights), "chosen_on": how}


def _scaled(values: np.ndarray) -> np.ndarray:
    wide = values.astype(np.float64)
    if not len(wide) or not (spread := np.ptp(wide)):
        return np.zeros(len(wide))
    scaled: np.ndarray = (wide - wide.min()) / spread
    return scaled


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values) if values else 0.0
