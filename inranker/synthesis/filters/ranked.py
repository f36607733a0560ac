"""Filters that keep the best so many queries by a score."""

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from inranker.errors import UserError
from inranker.fingerprint import fingerprint
from inranker.synthesis.filters.base import Context, Verdict
from inranker.synthesis.filters.options import FilterOptions
from inranker.synthesis.raw import Asked


def log_prob(asked: Asked, context: Context) -> Verdict:
    """The queries of the highest mean log-probability (Bonifacio et al. 2022, InPars, section 3).

    Raises:
        UserError: the engine gave no log-probabilities.
    """
    mean_N = asked.table["mean_log_prob"].to_numpy(zero_copy_only=False)
    if len(asked) and np.isnan(mean_N).all():
        raise UserError(
            "filter log_prob: the engine gave no log-probabilities; leave the filter out, or generate with an engine "
            "that gives them"
        )
    return Verdict(best(mean_N, context.options.log_prob_top_k))


def reranker(asked: Asked, context: Context) -> Verdict:
    """The queries that a reranker scores highest with their passage (Jeronymo et al. 2023, InPars-v2, section 2).

    Raises:
        UserError: no reranker is named, or it cannot be loaded.
    """
    from inranker.evaluation.systems import device
    from inranker.rerankers import load_reranker

    chosen, how = context.options, context.execution
    place = device(how.device, how.threads)
    model = load_reranker(_named(chosen), place, chosen.reranker_precision)
    options = {"token_budget": how.token_budget} if how.token_budget else {}
    score_N = np.zeros(len(asked), dtype=np.float32)
    # A chunk is sorted by length as one piece: the bigger, the less is padded.
    with tqdm(total=len(asked), unit="query", desc="reranker", disable=not how.progress, mininterval=1.0) as bar:
        for rows, queries, passages in asked.with_passages(16_384 if place.startswith("cuda") else 1024):
            score_N[rows] = model.score(queries, passages, **options)
            bar.update(len(queries))
    return Verdict(best(score_N, chosen.reranker_top_k), {"reranker_score": pa.array(score_N)})


def reranker_identity(chosen: FilterOptions, language: str) -> dict[str, str]:
    """The reranker by content: whichever path it has, the same one gives the same scores."""
    from inranker.rerankers import scorer_identity

    return {"reranker": fingerprint(scorer_identity(_named(chosen), chosen.reranker_precision))}


def best(score_N: np.ndarray, count: int) -> np.ndarray:
    """bool [N]: the `count` highest scores; of equal ones the first, and none that is not a number."""
    keep_N = np.zeros(len(score_N), dtype=bool)
    order = np.argsort(-np.where(np.isnan(score_N), -np.inf, score_N), kind="stable")[:count]
    keep_N[order] = True
    return keep_N & ~np.isnan(score_N)


def _named(chosen: FilterOptions) -> str:
    if chosen.reranker is None:
        raise UserError("filter reranker: no reranker is named; set filter.reranker to a directory or hub id")
    return chosen.reranker
