"""The mixes of an evaluation: each reranker with the first stage, its weight chosen where it is not measured."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from inranker.corpora import Collection
from inranker.errors import UserError
from inranker.evaluation.config import EvaluateConfig
from inranker.evaluation.interpolation import SUFFIX, best_weight, cutoff, described, fold_weights, interpolate
from inranker.evaluation.measures import measure_run
from inranker.evaluation.prepared import Prepared, prepare, read_first_stage
from inranker.evaluation.sampling import sample
from inranker.evaluation.shown import queries_to_measure
from inranker.evaluation.systems import System, score_system
from inranker.retrieval import Run
from inranker.types import Query


class Mixed(NamedTuple):
    """A mix: its name, its run, and what the summary says of its weights."""

    name: str
    run: Run
    about: dict[str, Any]


def dev_queries(
    config: EvaluateConfig, collection: Collection, systems: Sequence[System], measured: Sequence[Query]
) -> list[Query]:
    """The queries that choose weights; none where no split does.

    Raises:
        UserError: no such split, or it shares a query with those that are measured.
    """
    chosen = config.identity.interpolation
    if chosen.choose != "dev":
        return []
    if chosen.split not in collection.splits():
        raise UserError(
            f"interpolation.split: {collection.name} has no split {chosen.split!r} (it has "
            f"{', '.join(collection.splits())}); choose in folds"
        )
    queries = sample(list(collection.queries_iter(chosen.split)), config.identity.max_queries)
    queries, _ = queries_to_measure(queries, collection, systems, "leave_out")
    known = {query.text.casefold().strip() for query in measured}
    if shared := [query.query_id for query in queries if query.text.casefold().strip() in known]:
        raise UserError(
            f"interpolation.split: {chosen.split!r} shares {len(shared)} queries with what is measured (such as "
            f"{shared[0]!r}); choose on another split, or in folds"
        )
    read_first_stage(config, collection, chosen.split, queries)  # refused before anything is written
    return queries


def mix(
    config: EvaluateConfig,
    collection: Collection,
    systems: Sequence[System],
    own: Prepared,
    scored: Mapping[str, np.ndarray],
    choosing: list[Query],
) -> list[Mixed]:
    """Every reranker's mix with the first stage.

    Args:
        config: of the evaluation.
        collection: what is searched.
        systems: all systems; rerankers are mixed.
        own: what is measured.
        scored: reranker -> its scores of `own.pairs`.
        choosing: the queries that choose weights; see `dev_queries`.
    """
    chosen, depth, by = config.identity.interpolation, config.identity.depth, config.identity.compare_by
    rerankers = [system for system in systems if system.path]
    if chosen.choose == "none" or not rerankers:
        return []
    other = _dev(config, collection, choosing) if chosen.choose == "dev" else None
    judged = other if other is not None else own

    def measure(run: Run) -> dict[str, float]:
        return measure_run(cutoff(by, run), judged.qrels, [by])[by]

    found = []
    for system in rerankers:
        scores_N = scored[system.name]
        if other is not None:
            dev_N = score_system(system, other.pairs, other.texts, other.passages, config).scores_N
            weight = best_weight(other.first_stage, depth, dev_N, chosen.weights, measure)
            weights, weight_of = [weight], dict.fromkeys(own.first_stage, weight)
        else:
            weight_of, weights = fold_weights(own.first_stage, depth, scores_N, chosen, measure)
        run = interpolate(own.first_stage, depth, scores_N, weight_of)
        found.append(Mixed(f"{system.name}{SUFFIX}", run, described(weights, chosen)))
    return found


def _dev(config: EvaluateConfig, collection: Collection, queries: list[Query]) -> Prepared:
    split = config.identity.interpolation.split
    given = read_first_stage(config, collection, split, queries)
    return prepare(config, collection, split, queries, given, with_texts=True)
