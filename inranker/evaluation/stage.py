"""The evaluate stage: first stage, re-ranking, measures, fidelity, files."""

import json
import time
from typing import Any

from inranker.corpora import Collection, open_collection
from inranker.errors import UserError
from inranker.evaluation.config import EvaluateConfig, EvaluateIdentity
from inranker.evaluation.measures import measure_run, parse_measures
from inranker.evaluation.output import SUMMARY, write_output
from inranker.evaluation.paper import compare, require_reference
from inranker.evaluation.rerank import candidates, rerank, texts_of
from inranker.evaluation.shown import queries_to_measure
from inranker.evaluation.summary import Measured, figures
from inranker.evaluation.systems import System, identities, parse_systems, score_system
from inranker.fingerprint import fingerprint, plain, sha256_bytes, sha256_file
from inranker.manifest import claim_output
from inranker.retrieval import Run, parse_retriever, read_run, retrieve, retriever_identity
from inranker.retrieval.runs import strictly_decreasing
from inranker.storage import Store
from inranker.types import Query


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Re-rank a first-stage run with every system and measure all of them.

    Returns:
        `collection`, `split`, `depth`, `queries`, `systems` (system -> measure -> mean over the judged queries),
        `fidelity` (of the student) and `fidelity_by_system` where a teacher is named, `comparison` where a baseline
        is, `depth_curve` (system -> depth -> measure -> mean) where depths are, `parameters` and `pairs_per_second`
        of each reranker, `seconds`, and the `table`; `shown_queries` where a generator was shown some. `skipped` is
        True when the output was complete already and nothing was computed.

    Raises:
        UserError: a collection, run or model that is missing or wrong, an unknown measure, split or system name, or
            an output made under another identity. Nothing has been written then.
    """
    started = time.perf_counter()
    chosen = config.identity
    systems = parse_systems(chosen.systems)
    _check(chosen, systems)
    collection = open_collection(chosen.collection, chosen.language)
    if config.execution.against:
        require_reference(config.execution.against, collection.name, [system.name for system in systems])
    queries = sample(list(collection.queries_iter(chosen.split)), chosen.max_queries)
    queries, shown = queries_to_measure(queries, collection, systems, chosen.shown_queries)
    first_stage = _read_first_stage(chosen, collection, queries) if chosen.run else None
    identity = job_identity(config, systems, collection) | ({"shown_query_ids": sorted(shown)} if shown else {})
    store = Store(config.output) if config.output else None
    if store and claim_output(store, "evaluate", identity):
        finished: dict[str, Any] = json.loads(store.read(SUMMARY))
        return beside_reference({**finished, "skipped": True}, config)
    if first_stage is None:
        first_stage = _retrieve(config, collection, queries)
    measured = _measure(config, systems, collection, queries, first_stage)
    summary = {
        "stage": "evaluate",
        "fingerprint": fingerprint(identity),
        "collection": collection.name,
        "split": chosen.split,
        "depth": chosen.depth,
        "queries": len(queries),
        **({"shown_queries": {"rule": chosen.shown_queries, "systems_by_query": shown}} if shown else {}),
        **figures(chosen, measured),
        "seconds": round(time.perf_counter() - started, 2),
        "skipped": False,
    }
    if store:
        write_output(store, summary, measured.runs, measured.values, identity)
    return beside_reference(summary, config)


def beside_reference(summary: dict[str, Any], config: EvaluateConfig) -> dict[str, Any]:
    """The summary with others' figures, where they are asked for: `against` and one more table."""
    reference = config.execution.against
    if reference is None:
        return summary
    found = compare(reference, summary["collection"], summary["depth"], summary["systems"])
    return {**summary, "against": found, "table": f"{summary['table']}\n\n{found['table']}"}


def sample(queries: list[Query], limit: int | None) -> list[Query]:
    """A fixed sample: the queries with the smallest sha256 of their id, in their old order; all when limit is None."""
    if limit is None or limit >= len(queries):
        return queries
    kept = sorted(queries, key=lambda query: sha256_bytes(query.query_id.encode()))[:limit]
    return [query for query in queries if query in set(kept)]


def job_identity(config: EvaluateConfig, systems: list[System], collection: Collection) -> dict[str, Any]:
    """What is fingerprinted: the config's identity with what it names by path replaced by what is there."""
    chosen = config.identity
    return {
        **{name: value for name, value in plain(chosen).items() if name != "bm25"},
        "retriever": retriever_identity(chosen.retriever, chosen.language or collection.language, chosen.bm25),
        "collection": {"name": collection.name, "sha256": collection.content_hash(chosen.split)},
        "language": chosen.language or collection.language,
        "run": sha256_file(chosen.run) if chosen.run else None,
        "systems": identities(systems, config),
    }


def _check(chosen: EvaluateIdentity, systems: list[System]) -> None:
    parse_measures(chosen.measures)
    for field, minimum in (("depth", 1), ("retrieve", 1), ("max_queries", 1), ("resamples", 1)):
        value = getattr(chosen, field)
        if value is not None and value < minimum:
            raise UserError(f"{field} is {value}; it must be {minimum} or more")
    parse_retriever(chosen.retriever)
    rerankers = [system.name for system in systems if system.path]
    if chosen.teacher is not None and chosen.teacher not in rerankers:
        raise UserError(f"teacher {chosen.teacher!r} is no reranker of `systems` ({', '.join(rerankers) or 'none'})")
    if chosen.teacher is not None and len(rerankers) < 2:
        raise UserError(f"teacher {chosen.teacher!r} is the only reranker of `systems`; name a student beside it")
    if chosen.baseline is not None and chosen.baseline not in [system.name for system in systems]:
        names = ", ".join(system.name for system in systems)
        raise UserError(f"baseline {chosen.baseline!r} is none of `systems` ({names})")
    if chosen.baseline is not None and chosen.compare_by not in chosen.measures:
        raise UserError(f"compare_by {chosen.compare_by!r} is none of `measures` ({', '.join(chosen.measures)})")
    if wrong := [depth for depth in chosen.depths if not 1 <= depth <= chosen.depth]:
        raise UserError(f"depths: {wrong[0]} does not lie between 1 and `depth`, which is {chosen.depth}")


def _read_first_stage(chosen: EvaluateIdentity, collection: Collection, queries: list[Query]) -> Run:
    assert chosen.run is not None
    given = read_run(chosen.run)
    run = {query.query_id: given[query.query_id] for query in queries if query.query_id in given}
    if not run:
        raise UserError(
            f"run {chosen.run} has none of the {len(queries)} queries of split {chosen.split!r}; "
            "name a run of this collection and split"
        )
    # Looked up once only to be refused before the output is claimed: somebody else's run may be of another corpus.
    texts_of(collection.passages_iter(), candidates(run, chosen.depth), collection.name)
    return run


def _retrieve(config: EvaluateConfig, collection: Collection, queries: list[Query]) -> Run:
    chosen = config.identity
    depth = max(chosen.depth, chosen.retrieve)
    return retrieve(collection, queries, depth, chosen.retriever, chosen.language, config.execution.cache, chosen.bm25)


def _measure(
    config: EvaluateConfig, systems: list[System], collection: Collection, queries: list[Query], retrieved: Run
) -> Measured:
    chosen = config.identity
    # Evaluators re-sort ties by id; the order that is re-ranked and the one that is measured must be the same.
    first_stage = {query_id: strictly_decreasing(ranking) for query_id, ranking in retrieved.items()}
    pairs = candidates(first_stage, chosen.depth)
    needs_texts = any(system.path for system in systems)
    passages = texts_of(collection.passages_iter(), pairs, collection.name) if needs_texts else {}
    texts = {query.query_id: query.text for query in queries}
    qrels = [qrel for qrel in collection.qrels_iter(chosen.split) if qrel.query_id in texts]
    found = Measured(first_stage, pairs, qrels, texts, runs={}, values={}, scored={})
    for system in systems:
        if system.path is None:
            found.runs[system.name] = first_stage
        else:
            found.scored[system.name] = score_system(system, pairs, texts, passages, config)
            found.runs[system.name] = rerank(first_stage, chosen.depth, found.scored[system.name].scores_N)
        found.values[system.name] = measure_run(found.runs[system.name], qrels, chosen.measures)
    return found
