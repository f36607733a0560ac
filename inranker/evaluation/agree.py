"""The agree stage: how far rerankers rank as a teacher or a language model does, where there are no qrels.

The judge is a labels directory (`label.py` on held-out queries, such as split `dev` of a synthetic collection), or a
file of a grader's verdicts with their texts.
"""

import json
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from inranker.errors import UserError
from inranker.evaluation.agreement import MEASURES, PerQuery, agreement, gains, mean_agreement
from inranker.evaluation.comparison import comparison, render_comparison
from inranker.evaluation.config import EvaluateConfig, EvaluateExecution, EvaluateIdentity, Precision
from inranker.evaluation.judging import read_verdicts, verdict_hashes
from inranker.evaluation.output import PER_QUERY, SUMMARY, write_output
from inranker.evaluation.rerank import Candidate
from inranker.evaluation.shown import inputs_of
from inranker.evaluation.systems import FIRST_STAGE, System, identities, parse_systems, score_system
from inranker.evaluation.table import render_table
from inranker.fingerprint import fingerprint, plain, sha256_bytes
from inranker.manifest import claim_output, read_manifest
from inranker.report.evaluate import write_evaluation_report
from inranker.report.job import REPORT, report_or_warn, report_url
from inranker.storage import Store


@dataclass(frozen=True)
class AgreeIdentity:
    """What the figures depend on; labels, verdicts and models by their content."""

    systems: list[str]
    """Checkpoint directories or hub ids, under a name of your own when written NAME=PATH; bm25 is the order in which
    the pairs were mined."""
    labels: str | None = None
    """A labels directory: its teacher is the judge, P(true) what a passage is worth."""
    verdicts: list[str] = field(default_factory=list)
    """JSON lines of a grader's verdicts with `query` and `passage`, in place of labels."""
    max_queries: int | None = None
    """A fixed sample of this many queries; null: all."""
    baseline: str | None = None
    """System that the others are compared with; null: bm25 where it is a system, else the first."""
    compare_by: str = "nDCG@10"
    """By which measure: nDCG@10, top-1 or tau."""
    max_length: int | None = None
    """Tokens of a pair; null: each model's own."""
    precision: Precision = "float32"
    """Arithmetic of the forward passes."""
    seed: int = 0
    """Seed of the randomisation test and of the bootstrap."""
    resamples: int = 10_000
    """Random exchanges and bootstrap samples."""


@dataclass(frozen=True)
class AgreeConfig:
    """Measure how far rerankers agree with a teacher or a language model, without qrels."""

    identity: AgreeIdentity
    """What the result depends on."""
    output: str | None = None
    """Directory or URL for per-query values, summary, manifest and report; null only returns the summary."""
    execution: EvaluateExecution = field(default_factory=EvaluateExecution)
    """How the job is run."""


class JudgedPairs(NamedTuple):
    """Pairs with what a judge thinks of them; `ranks_N` is the first stage's, infinite where it did not find them."""

    pairs: list[Candidate]
    queries: dict[str, str]
    passages: dict[str, str]
    gain_N: np.ndarray
    judge_N: np.ndarray
    ranks_N: np.ndarray
    source: str
    content: Any


def agree(config: AgreeConfig) -> dict[str, Any]:
    """Score the judged pairs with every system and compare it with the judge.

    Returns:
        `collection` (what judges), `queries`, `pairs`, `systems` (system -> measure -> mean: see `agreement`),
        `comparison` where there are two systems, `parameters`, `table`, and `report` where there is an output.

    Raises:
        UserError: not exactly one judge, pairs that were trained on, too little to measure, or a wrong name.
    """
    started = time.perf_counter()
    chosen = config.identity
    systems = parse_systems(chosen.systems)
    judged = _from_labels(chosen, systems) if chosen.labels is not None else _from_verdicts(chosen)
    scorer = EvaluateConfig(
        EvaluateIdentity("", precision=chosen.precision, max_length=chosen.max_length), None, config.execution
    )
    identity = {
        **plain(chosen),
        "labels": judged.content if chosen.labels else None,
        "verdicts": judged.content if chosen.verdicts else None,
        "systems": identities(systems, scorer),
        "collection": {"name": judged.source},
    }
    store = Store(config.output) if config.output else None
    if store and claim_output(store, "agree", identity):
        finished: dict[str, Any] = json.loads(store.read(SUMMARY))
        return {**finished, "report": report_url(store) if store.exists(REPORT) else None, "skipped": True}
    query_ids = [pair.query_id for pair in judged.pairs]
    values: dict[str, PerQuery] = {}
    parameters: dict[str, int] = {}
    for system in systems:
        if system.path is None:
            scores_N = -judged.ranks_N
        else:
            scored = score_system(system, judged.pairs, judged.queries, judged.passages, scorer)
            scores_N, parameters[system.name] = scored.scores_N, scored.parameters
        values[system.name] = _defined(agreement(query_ids, judged.gain_N, judged.judge_N, scores_N))
    summary = {
        "stage": "agree",
        "fingerprint": fingerprint(identity),
        "collection": judged.source,
        "split": "held out",
        "queries": len(judged.queries),
        "pairs": len(judged.pairs),
        **_figures(chosen, values, judged.queries),
        "parameters": parameters,
        "seconds": round(time.perf_counter() - started, 2),
        "skipped": False,
    }
    if store:
        write_output(store, summary, {}, {}, identity, {PER_QUERY: _records(values)})
        summary |= report_or_warn(lambda: write_evaluation_report(str(config.output)), "agree.py in a new output")
    return summary


def _figures(chosen: AgreeIdentity, values: dict[str, PerQuery], texts: dict[str, str]) -> dict[str, Any]:
    systems = {name: mean_agreement(own) for name, own in values.items()}
    found: dict[str, Any] = {"systems": systems, "table": render_table(systems)}
    if len(systems) < 2:
        return found
    baseline = chosen.baseline or (FIRST_STAGE if FIRST_STAGE in systems else next(iter(systems)))
    if baseline not in systems:
        raise UserError(f"baseline {baseline!r} is none of `systems` ({', '.join(systems)})")
    by = {name: own[chosen.compare_by] for name, own in values.items()}
    compared = comparison(baseline, by, texts, chosen.seed, chosen.resamples)
    found["comparison"] = {"measure": chosen.compare_by, **compared}
    found["table"] += f"\n\n{render_comparison(found['comparison'], chosen.compare_by)}"
    return found


def _defined(values: PerQuery) -> PerQuery:
    """The measures that are defined on these pairs.

    Raises:
        UserError: the judge orders nothing.
    """
    kept = {name: by_query for name, by_query in values.items() if by_query}
    if "nDCG@10" not in kept or "tau" not in kept:
        raise UserError("the judge prefers no passage of any query to another; give pairs that it tells apart")
    return kept


def _records(values: dict[str, PerQuery]) -> list[dict[str, Any]]:
    return [
        {"system": name, "query_id": query_id}
        | {measure: own[measure][query_id] for measure in MEASURES if query_id in own.get(measure, {})}
        for name, own in values.items()
        for query_id in own["tau"]
    ]


def _from_labels(chosen: AgreeIdentity, systems: list[System]) -> JudgedPairs:
    from inranker.labeling.read import read_labelled_pairs

    assert chosen.labels is not None
    if chosen.verdicts:
        raise UserError("name labels or verdicts, one of the two")
    content = read_manifest(chosen.labels).content_hash
    for system in systems:
        inputs = (inputs_of(system.path) or {}) if system.path else {}
        if content in [link.get("content_hash") for name, link in inputs.items() if name.startswith("labels")]:
            raise UserError(
                f"{system.name} was trained on the labels {chosen.labels}, so agreement with them says nothing about "
                "unseen queries; label held-out ones (split dev of a synthetic collection)"
            )
    table = read_labelled_pairs(chosen.labels)
    kept = _sampled(table["query_id"].to_pylist(), chosen.max_queries)
    table = table.take([row for row, query_id in enumerate(table["query_id"].to_pylist()) if query_id in kept])
    logits_N2 = np.stack([table[name].to_numpy() for name in ("false_logit", "true_logit")], axis=1)
    rows = table.select(["query_id", "passage_id", "query", "passage"]).to_pylist()
    ranks = [np.inf if rank is None else float(rank) for rank in table["rank"].to_pylist()]
    return JudgedPairs(
        [Candidate(row["query_id"], row["passage_id"]) for row in rows],
        {row["query_id"]: row["query"] for row in rows},
        {row["passage_id"]: row["passage"] for row in rows},
        gains(logits_N2),
        logits_N2[:, 1].astype(np.float64) - logits_N2[:, 0],
        np.array(ranks),
        f"labels of teacher {read_manifest(chosen.labels).fingerprint[:12]}",
        content,
    )


def _from_verdicts(chosen: AgreeIdentity) -> JudgedPairs:
    if not chosen.verdicts:
        raise UserError("name a judge: labels, a directory, or verdicts, files")
    if FIRST_STAGE in chosen.systems:
        raise UserError("systems: verdicts do not say how BM25 ranks their passages; name rerankers alone")
    verdicts = read_verdicts(chosen.verdicts)
    kept = _sampled([verdict.query_id for verdict in verdicts], chosen.max_queries)
    verdicts = [verdict for verdict in verdicts if verdict.query_id in kept]
    if bare := [verdict for verdict in verdicts if not (verdict.query and verdict.passage)]:
        raise UserError(
            f"verdicts: query {bare[0].query_id!r}, passage {bare[0].passage_id!r} comes without its texts; keep "
            "`query` and `passage` of unjudged.jsonl in the lines"
        )
    grades = np.array([float(verdict.grade) for verdict in verdicts])
    judges = sorted({verdict.judge for verdict in verdicts})
    return JudgedPairs(
        [Candidate(verdict.query_id, verdict.passage_id) for verdict in verdicts],
        {verdict.query_id: verdict.query for verdict in verdicts},
        {verdict.passage_id: verdict.passage for verdict in verdicts},
        grades,
        grades,
        np.full(len(verdicts), np.inf),
        f"verdicts of {', '.join(judges)}",
        verdict_hashes(chosen.verdicts),
    )


def _sampled(query_ids: list[str], limit: int | None) -> set[str]:
    distinct = set(query_ids)
    return set(sorted(distinct, key=lambda name: sha256_bytes(name.encode()))[: limit or len(distinct)])
