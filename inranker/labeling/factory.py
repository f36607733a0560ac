"""The label job on Ray Data: units -> tokenise (CPU tasks) -> score (actor pool) -> commit (CPU tasks).

The graph, the attempts and the progress are those of every job over units (`inranker.jobs`); here are the steps of
labelling, and its audit.
"""

import time
from dataclasses import dataclass
from typing import Any

import ray

from inranker.crashpoints import crash_point
from inranker.fingerprint import fingerprint
from inranker.jobs.graph import ActorStep, TaskStep, as_user_error, cpu_threads, run_units, unit_graph
from inranker.jobs.resume import UnitsToDo, units_to_do
from inranker.labeling.audit import audit_figures, audit_settings, audit_units, merge, share_out
from inranker.labeling.config import LabelConfig
from inranker.labeling.finish import complete, summarize
from inranker.labeling.job import LABEL, chosen_unit_rows, job_identity, read_pairs, reranker_overrides
from inranker.labeling.reuse import build_index, reuse_sources
from inranker.labeling.scorer import LabelCommitter, PairScorer, PairTokenizer
from inranker.manifest import claim_output, read_manifest
from inranker.probe import require_exclusive_create
from inranker.raysession import marked_nodes, session_options
from inranker.report.job import report_or_warn
from inranker.report.label import report
from inranker.rerankers.flops import teacher_flops
from inranker.storage import Store
from inranker.units import Unit


@dataclass(frozen=True)
class Stages:
    """What does the work in the graph; a benchmark of the graph itself puts stages that cost nothing in their place."""

    tokenise: type = PairTokenizer
    score: type = PairScorer
    commit: type = LabelCommitter


def label(config: LabelConfig, stages: Stages = Stages()) -> dict[str, Any]:
    """Score every pair with the teacher; a job that was interrupted goes on where its receipts end.

    Returns:
        The summary: counts, pairs per second, the audit, and `failed` with its `reasons` when too many pairs were
        quarantined or the audit found other logits.

    Raises:
        UserError: pairs or teacher cannot be read, the output belongs to another job, or a unit is poison.
        RuntimeError: the job ended with units undone.
    """
    store, pairs_manifest = Store(config.output), read_pairs(config)
    identity = job_identity(config, pairs_manifest)
    total = sum(shard.rows for shard in pairs_manifest.shards)
    done = claim_output(store, LABEL.stage, identity, unit_rows=chosen_unit_rows(total, config.execution))
    work = units_to_do(store, pairs_manifest.shards, done, "scored")
    if done:
        return summarize(config, read_manifest(store), skipped=True)
    crash_point("after-identity")
    require_exclusive_create(store)
    started = time.perf_counter()
    if work.pending:
        score_units(config, identity, work, stages)
    seconds = time.perf_counter() - started
    # Stages that stand in for the real ones have no logits to compare.
    audit = run_audit(config, fingerprint(identity), work.units) if stages == Stages() else None
    manifest = complete(config, store, identity, work.units, pairs_manifest.content_hash, seconds, audit)
    summary = summarize(config, manifest, skipped=False)
    if config.execution.write_report:
        summary |= report_or_warn(lambda: report(config), "label.py … --report")
    return summary


def score_units(config: LabelConfig, identity: dict[str, Any], work: UnitsToDo, stages: Stages) -> None:
    """Stream units through the cluster until each has a receipt."""
    chosen, execution = config.identity, config.execution
    flops = teacher_flops(chosen.teacher) if execution.peak_tflops else None
    known = reuse_sources(execution.reuse, identity["scorer"])
    reuse = build_index(Store(config.output), known) if known else None
    job, overrides = fingerprint(identity), reranker_overrides(config)
    tokenised_with = (chosen.pairs, config.output, job, chosen.teacher, tuple(overrides.items()), reuse)
    scored_with = {
        "teacher": chosen.teacher,
        "precision": chosen.precision,
        "token_budget": execution.token_budget,
        "overrides": overrides,
    }
    run_units(
        LABEL,
        config.output,
        work.units,
        work.pending,
        execution,
        flops,
        lambda: unit_graph(
            LABEL,
            work.pending,
            execution,
            TaskStep("tokenising", stages.tokenise, tokenised_with),
            ActorStep("scoring", stages.score, scored_with, side_by_side=True),
            TaskStep("committing", stages.commit, (config.output, job)),
        ),
    )


def run_audit(config: LabelConfig, job_fingerprint: str, units: list[Unit]) -> dict[str, Any] | None:
    """Score some labels again, in processes in which no actor of the job ever was; what the manifest says of it.

    Tasks, not actors: on a CPU they take over the idle processes of the tokenising tasks, which saves their start.
    """
    execution = config.execution
    settings = audit_settings(config, job_fingerprint, sum(unit.rows for unit in units), cpu_threads(execution))
    parts = share_out(units, settings.share, settings.seed, execution.actors)
    if not parts:
        return None
    ray.init(**session_options())
    task = ray.remote(audit_units).options(
        num_cpus=execution.cpus_per_actor,
        num_gpus=execution.gpus_per_actor or None,
        resources=marked_nodes(execution.node_resource),
        max_retries=execution.max_attempts - 1,
    )
    try:
        findings = merge(ray.get([task.remote(settings, part) for part in parts]))
    except ray.exceptions.RayError as error:
        raise as_user_error(error) or error from error
    return audit_figures(settings, findings)
