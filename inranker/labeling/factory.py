"""The label job on Ray Data: units -> tokenise (CPU tasks) -> score (actor pool) -> commit (CPU tasks).

Ray schedules, retries and applies back-pressure; what makes a unit done is the commit protocol of `units.py`. Resume
is one listing of receipts. Nothing is lost by construction: the job is complete only when every unit has a receipt,
and a receipt cannot be written unless pairs in = labelled + quarantined.
"""

import os
import re
import time
from dataclasses import dataclass
from typing import Any

import ray
from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy
from ray.util.metrics import Gauge
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from inranker.crashpoints import crash_point
from inranker.errors import UserError
from inranker.fingerprint import fingerprint
from inranker.labeling.attempts import UnitAttempts
from inranker.labeling.audit import audit_figures, audit_settings, audit_units, merge, share_out
from inranker.labeling.config import LabelConfig, LabelExecution
from inranker.labeling.finish import complete, summarize
from inranker.labeling.job import chosen_unit_rows, job_identity, read_pairs, reranker_overrides
from inranker.labeling.progress import UnitProgress, to_store
from inranker.labeling.reuse import build_index, reuse_sources
from inranker.labeling.scorer import LabelCommitter, PairScorer, PairTokenizer, once_per_process
from inranker.manifest import (
    claim_output,
    read_identity,
    read_manifest,
)
from inranker.probe import require_exclusive_create
from inranker.raysession import cpu_environment, session_options
from inranker.report.job import report_or_warn
from inranker.report.label import report
from inranker.rerankers.flops import teacher_flops
from inranker.storage import Store
from inranker.units import Unit, finished_units, plan_units, unit_to_json

COMMIT_CPUS = 0.25  # commits wait for storage, not for a core
# Not a whole CPU: Ray fuses neighbours that ask for the same resources, and tokenising would move into the scoring
# actor, where it cannot run ahead of it or on another node.
TOKENISE_CPUS = 0.5
GAUGES = ("pairs", "pairs_done", "units_done", "quarantined", "pairs_per_second", "tokens_per_second", "share_of_peak",
          "eta_seconds", "cost")  # fmt: skip


@dataclass(frozen=True)
class Stages:
    """What does the work in the graph; a benchmark of the graph itself puts stages that cost nothing in their place."""

    tokenise: type = PairTokenizer
    score: type = PairScorer
    commit: type = LabelCommitter


class RemoteAttempts:
    """What a stage's processes hold: asks the one `UnitAttempts` of the job."""

    def __init__(self, attempts: Any, stage: str) -> None:
        self.attempts = attempts
        self.stage = stage

    def __call__(self, unit_name: str) -> None:
        ray.get(self.attempts.begin.remote(unit_name, self.stage))


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
    done = claim_output(store, "label", identity, unit_rows=chosen_unit_rows(total, config.execution))
    units = plan_units(pairs_manifest.shards, read_identity(store)["unit_rows"])
    finished = finished_units(store)
    pending = [unit for unit in units if unit.name not in finished]
    if done:
        if pending:
            raise UserError(
                f"{store.url} has a manifest and yet no receipt of {len(pending)} of {len(units)} units (first: "
                f"{pending[0].name}): receipts were removed; remove manifest.json too, and they are scored again"
            )
        return summarize(config, read_manifest(store), skipped=True)
    crash_point("after-identity")
    require_exclusive_create(store)
    started = time.perf_counter()
    if pending:
        run_units(config, identity, units, pending, stages)
    seconds = time.perf_counter() - started
    # Stages that stand in for the real ones have no logits to compare.
    audit = run_audit(config, fingerprint(identity), units) if stages == Stages() else None
    manifest = complete(config, store, identity, units, pairs_manifest.content_hash, seconds, audit)
    summary = summarize(config, manifest, skipped=False)
    if config.execution.write_report:
        summary |= report_or_warn(lambda: report(config), "label.py … --report")
    return summary


def run_units(
    config: LabelConfig, identity: dict[str, Any], units: list[Unit], pending: list[Unit], stages: Stages
) -> None:
    """Stream units through the cluster until each has a receipt."""
    flops = teacher_flops(config.identity.teacher) if config.execution.peak_tflops else None
    ray.init(**session_options())
    known = reuse_sources(config.execution.reuse, identity["scorer"])
    reuse = build_index(Store(config.output), known) if known else None
    graph = unit_graph(config, fingerprint(identity), pending, stages, reuse)
    listeners = [to_store(Store(config.output)), RayGauges(config.output).tell]
    with UnitProgress(units, pending, config.execution, flops, listeners) as progress:
        try:
            for committed in graph.iter_rows():
                progress.advance(committed)
        except ray.exceptions.RayError as error:
            raise _as_user_error(error) or error from error


class RayGauges:
    """Tells a job's figures to Ray, whose nodes serve them to Prometheus as `ray_inranker_label_pairs_per_second`, ….

    Args:
        output: tells the jobs of a cluster apart.
    """

    def __init__(self, output: str) -> None:
        self.gauges = {
            name: Gauge(f"inranker_label_{name}", f"{name.replace('_', ' ')} of a label job", ("output",))
            for name in GAUGES
        }
        self.tags = {"output": output}

    def tell(self, figures: dict[str, Any]) -> None:
        """Set every gauge; what is not known keeps none."""
        for name, gauge in self.gauges.items():
            if figures[name] is not None:
                gauge.set(figures[name], self.tags)


def unit_graph(
    config: LabelConfig, job_fingerprint: str, pending: list[Unit], stages: Stages, reuse: str | None = None
) -> ray.data.Dataset:
    """The data flow of a label job, lazily; one row per unit all the way. `reuse` names an index of earlier labels."""
    chosen, execution = config.identity, config.execution
    attempts = start_counting(execution.max_attempts)
    overrides = reranker_overrides(config)
    on_gpu = execution.gpus_per_actor > 0
    threads = None if on_gpu else execution.threads or cpu_threads(execution)
    actors = ActorPoolStrategy(min_size=execution.actors, max_size=execution.max_actors or execution.actors)
    _quiet_progress_bars()
    work = ray.data.from_items([{"unit": unit_to_json(unit)} for unit in pending], override_num_blocks=len(pending))
    one_unit = {"batch_size": 1, "batch_format": "pyarrow"}
    tokenised = work.map_batches(
        once_per_process,
        fn_args=(
            stages.tokenise,
            RemoteAttempts(attempts, "tokenising"),
            chosen.pairs,
            config.output,
            job_fingerprint,
            chosen.teacher,
            tuple(overrides.items()),
            reuse,
        ),
        compute=TaskPoolStrategy(size=tokenising_tasks()),
        num_cpus=TOKENISE_CPUS,
        **one_unit,
    )
    scored = tokenised.map_batches(
        stages.score,
        fn_constructor_kwargs={
            "teacher": chosen.teacher,
            "precision": chosen.precision,
            "device": "cuda" if on_gpu else "cpu",
            "threads": threads,
            "token_budget": execution.token_budget,
            "begin": RemoteAttempts(attempts, "scoring"),
            "overrides": overrides,
        },
        compute=actors,
        num_cpus=execution.cpus_per_actor,
        num_gpus=execution.gpus_per_actor or None,
        runtime_env={"env_vars": cpu_environment(threads)} if threads else None,
        **one_unit,
    )
    return scored.map_batches(
        once_per_process,
        fn_args=(stages.commit, RemoteAttempts(attempts, "committing"), config.output, job_fingerprint),
        num_cpus=COMMIT_CPUS,
        **one_unit,
    )


def start_counting(limit: int) -> Any:
    """The job's `UnitAttempts`, on the driver's own node: on another, that node's death would end the job."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(UnitAttempts).options(num_cpus=0, scheduling_strategy=here).remote(limit)


def tokenising_tasks() -> int | None:
    """How many may run at a time: on this machine alone two a core, one works while the other waits for its next unit;
    a cluster counts its CPUs itself."""
    return None if os.environ.get("RAY_ADDRESS") else 2 * (os.cpu_count() or 1)


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
        max_retries=execution.max_attempts - 1,
    )
    try:
        findings = merge(ray.get([task.remote(settings, part) for part in parts]))
    except ray.exceptions.RayError as error:
        raise _as_user_error(error) or error from error
    return audit_figures(settings, findings)


def cpu_threads(execution: LabelExecution) -> int:
    """Threads of each CPU actor when none are given: the machine's cores, shared."""
    return max(1, (os.cpu_count() or 1) // execution.actors)


def _quiet_progress_bars() -> None:
    """One bar in pairs says more than Ray's in blocks."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False


def _as_user_error(error: BaseException) -> UserError | None:
    """The sentence inside Ray's wrapping of a worker's exception, if there is one.

    Only the text of a remote chain of causes crosses the process boundary, so that is where it is looked for.
    """
    sentences = re.findall(r"inranker\.errors\.UserError: (.+)", str(error))
    return UserError(sentences[-1]) if sentences else None
