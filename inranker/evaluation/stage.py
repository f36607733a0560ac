"""The evaluate stage: first stage, re-ranking, measures, fidelity, files."""

import json
import time
from typing import Any

from inranker.corpora import Collection, open_collection
from inranker.errors import UserError
from inranker.evaluation.config import EvaluateConfig, EvaluateIdentity
from inranker.evaluation.interpolation import SUFFIX
from inranker.evaluation.interpolation import check as check_interpolation
from inranker.evaluation.judging import UNJUDGED, merge, read_verdicts, unjudged, verdict_hashes
from inranker.evaluation.measures import measure_run, parse_measures
from inranker.evaluation.mixing import dev_queries, mix
from inranker.evaluation.output import SUMMARY, write_output
from inranker.evaluation.paper import compare, require_reference
from inranker.evaluation.prepared import Prepared, prepare, read_first_stage
from inranker.evaluation.rerank import rerank
from inranker.evaluation.sampling import sample
from inranker.evaluation.shown import queries_to_measure
from inranker.evaluation.summary import Measured, figures
from inranker.evaluation.systems import System, identities, parse_systems, score_system
from inranker.evaluation.upper_bounds import trained_on_test, upper_bound_note
from inranker.fingerprint import fingerprint, plain, sha256_file
from inranker.manifest import claim_output
from inranker.report.evaluate import report
from inranker.report.job import REPORT, report_or_warn, report_url
from inranker.retrieval import parse_retriever, retriever_identity
from inranker.storage import Store
from inranker.types import Query

# Settings that came later: an evaluation that leaves them alone keeps the fingerprint that it had without them.
LATER = ("interpolation", "condensed", "verdicts", "unjudged", "truncation")


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Re-rank a first-stage run with every system and measure all of them.

    Returns:
        `collection`, `split`, `depth`, `queries`, `systems` (system -> measure -> mean over the judged queries),
        `fidelity` (of the student) and `fidelity_by_system` where a teacher is named, `comparison` where a baseline
        is (or bm25 is a system), `depth_curve` (system -> depth -> measure -> mean) where depths are, `interpolation`
        (mix -> its weights and what they were chosen on), `condensed` (system -> measure -> mean), `judgments` (how
        many of the collection and of each judge) and `unjudged` (passages to grade) where asked for, `parameters` and
        `pairs_per_second` of each reranker, `seconds`, and the `table`; `shown_queries` where a generator was shown
        some, `trained_on_test` where a system was trained on test queries; `report`, the page's URL, where there is an
        output. `skipped` is True when the output was complete
        already and nothing was computed.

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
    choosing = dev_queries(config, collection, systems, queries)
    given = read_first_stage(config, collection, chosen.split, queries)
    _check_verdicts(chosen, collection, queries)
    identity = job_identity(config, systems, collection) | ({"shown_query_ids": sorted(shown)} if shown else {})
    store = Store(config.output) if config.output else None
    if store and claim_output(store, "evaluate", identity):
        finished: dict[str, Any] = json.loads(store.read(SUMMARY))
        page = {"report": report_url(store)} if store.exists(REPORT) else {}
        return beside_reference({**finished, **page, "skipped": True}, config)
    with_texts = chosen.unjudged is not None or any(system.path for system in systems)
    own = prepare(config, collection, chosen.split, queries, given, with_texts)
    measured = _measure(config, systems, collection, own, choosing)
    summary = {
        "stage": "evaluate",
        "fingerprint": fingerprint(identity),
        "collection": collection.name,
        "split": chosen.split,
        "depth": chosen.depth,
        "queries": len(queries),
        **({"shown_queries": {"rule": chosen.shown_queries, "systems_by_query": shown}} if shown else {}),
        **figures(chosen, measured),
    }
    if upper := trained_on_test(systems):
        summary["trained_on_test"] = upper
        summary["table"] += f"\n{upper_bound_note(upper, collection.name)}"
    holes = _holes(config, collection, measured)
    if holes is not None:
        summary["unjudged"] = len(holes)
    summary |= {"seconds": round(time.perf_counter() - started, 2), "skipped": False}
    if store:
        files = {} if holes is None else {UNJUDGED: holes}
        write_output(store, summary, measured.runs, measured.values, identity, files)
        summary |= report_or_warn(lambda: report(config), "evaluate.py --report")
    return beside_reference(summary, config)


def beside_reference(summary: dict[str, Any], config: EvaluateConfig) -> dict[str, Any]:
    """The summary with others' figures, where they are asked for: `against` and one more table."""
    reference = config.execution.against
    if reference is None:
        return summary
    found = compare(reference, summary["collection"], summary["depth"], summary["systems"])
    return {**summary, "against": found, "table": f"{summary['table']}\n\n{found['table']}"}


def job_identity(config: EvaluateConfig, systems: list[System], collection: Collection) -> dict[str, Any]:
    """What is fingerprinted: the config's identity with what it names by path replaced by what is there."""
    chosen = config.identity
    return {
        **{name: value for name, value in plain(chosen).items() if name != "bm25" and name not in LATER},
        **_later(chosen, collection),
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
    check_interpolation(chosen.interpolation, chosen.split)
    if chosen.interpolation.choose != "none":
        if chosen.compare_by not in chosen.measures:
            raise UserError(f"compare_by {chosen.compare_by!r}, which chooses weights, is none of `measures`")
        if taken := [name for name in rerankers if f"{name}{SUFFIX}" in rerankers]:
            raise UserError(f"systems: {taken[0]}{SUFFIX} is what the mix of {taken[0]} is called; name it otherwise")
    if chosen.unjudged is not None and not 1 <= chosen.unjudged <= chosen.depth:
        raise UserError(f"unjudged is {chosen.unjudged}; it must lie between 1 and `depth`, which is {chosen.depth}")
    if wrong := [depth for depth in chosen.depths if not 1 <= depth <= chosen.depth]:
        raise UserError(f"depths: {wrong[0]} does not lie between 1 and `depth`, which is {chosen.depth}")


def _check_verdicts(chosen: EvaluateIdentity, collection: Collection, queries: list[Query]) -> None:
    """Refuse verdicts before anything is written."""
    query_ids = {query.query_id for query in queries}
    qrels = [qrel for qrel in collection.qrels_iter(chosen.split) if qrel.query_id in query_ids]
    merge(qrels, read_verdicts(chosen.verdicts), query_ids)


def _later(chosen: EvaluateIdentity, collection: Collection) -> dict[str, Any]:
    """The settings of `LATER` that are not at their defaults, files by content."""
    usual = plain(EvaluateIdentity(chosen.collection))
    told = {name: value for name, value in plain(chosen).items() if name in LATER and value != usual[name]}
    if chosen.verdicts:
        told["verdicts"] = verdict_hashes(chosen.verdicts)
    if chosen.interpolation.choose == "dev":
        told["interpolation"] |= {"sha256": collection.content_hash(chosen.interpolation.split)}
    return told


def _measure(
    config: EvaluateConfig, systems: list[System], collection: Collection, own: Prepared, choosing: list[Query]
) -> Measured:
    chosen = config.identity
    qrels, judges = merge(own.qrels, read_verdicts(chosen.verdicts), own.texts)
    found = Measured(own._replace(qrels=qrels), judges, runs={}, values={}, scored={}, mixes={})
    for system in systems:
        if system.path is None:
            found.runs[system.name] = own.first_stage
        else:
            found.scored[system.name] = score_system(system, own.pairs, own.texts, own.passages, config)
            found.runs[system.name] = rerank(own.first_stage, chosen.depth, found.scored[system.name].scores_N)
    scores = {name: scored.scores_N for name, scored in found.scored.items()}
    for mixed in mix(config, collection, systems, found.own, scores, choosing):
        found.runs[mixed.name] = mixed.run
        found.mixes[mixed.name] = mixed.about
    for name, run in found.runs.items():
        found.values[name] = measure_run(run, qrels, chosen.measures)
    return found


def _holes(config: EvaluateConfig, collection: Collection, measured: Measured) -> list[dict[str, Any]] | None:
    """What a grader is asked, where that is wanted."""
    chosen, own = config.identity, measured.own
    if chosen.unjudged is None:
        return None
    language = chosen.language or collection.language
    return list(unjudged(measured.runs, own.qrels, chosen.unjudged, own.texts, own.passages, language))
