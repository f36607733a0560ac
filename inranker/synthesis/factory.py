"""The synthesis job on Ray Data: units -> fill prompts (CPU tasks) -> generate (actor pool) -> commit (CPU tasks).

The graph, the attempts and the progress are those of every job over units (`inranker.jobs`), and so are receipts,
resume and quarantine (`inranker.units`). A unit is a range of rows of the sample, each a prompt to be answered.
"""

import time
from typing import Any

import ray

from inranker.crashpoints import crash_point
from inranker.fingerprint import fingerprint
from inranker.jobs.graph import ActorStep, TaskStep, run_units, unit_graph
from inranker.jobs.resume import UnitsToDo, units_to_do
from inranker.manifest import claim_output, read_manifest
from inranker.probe import require_exclusive_create
from inranker.report.job import report_or_warn
from inranker.report.synthesize import report
from inranker.storage import Store
from inranker.synthesis.config import SynthesizeConfig
from inranker.synthesis.finish import complete, summarize
from inranker.synthesis.generators import engine
from inranker.synthesis.generators.budget import Budget, RemoteBudget
from inranker.synthesis.job import SYNTHESIZE, chosen_unit_rows, engine_settings, job_identity, open_job
from inranker.synthesis.sampling import sample_manifest
from inranker.synthesis.work import PROMPTS, GenerationCommitter, PromptFiller, TextGenerator
from inranker.units import finished_units, read_receipts


def synthesize(config: SynthesizeConfig) -> dict[str, Any]:
    """Let a language model write queries for passages of a collection; an interrupted job goes on where it ended.

    Returns:
        The summary: counts, prompts per second, what filters kept, and `failed` with its `reasons` when too many
        prompts gave no query.

    Raises:
        UserError: a field, the collection, a prompt or the model cannot be used, the output belongs to another job, or
            a unit is poison.
        RuntimeError: the job ended with units undone.
    """
    store = Store(config.output)
    collection, book = open_job(config)
    identity = job_identity(config, collection, book)
    done = claim_output(store, SYNTHESIZE.stage, identity, unit_rows=chosen_unit_rows(collection, config))
    if not done:
        crash_point("after-identity")
        require_exclusive_create(store)
        store.put_if_absent(PROMPTS, book.to_json().encode())
    job = fingerprint(identity)
    sample = sample_manifest(config.output, collection, config.identity, book, job)
    work = units_to_do(store, sample.shards, done, "generated")
    if done:
        return summarize(config, read_manifest(store), skipped=True)
    started = time.perf_counter()
    if work.pending:
        generate_units(config, job, work)
    seconds = time.perf_counter() - started
    manifest = complete(config, store, identity, collection, book, sample, work.units, seconds)
    summary = summarize(config, manifest, skipped=False)
    if config.execution.write_report:
        summary |= report_or_warn(lambda: report(config), "synthesize.py … --report")
    return summary


def generate_units(config: SynthesizeConfig, job: str, work: UnitsToDo) -> None:
    """Stream units through the cluster until each has a receipt."""
    chosen, execution = config.identity, config.execution
    flops = None
    if execution.peak_tflops and hasattr(engine(chosen.generator), "flops"):
        flops = engine(chosen.generator).flops(chosen.model, engine_settings(config)[0])
    run_units(
        SYNTHESIZE,
        config.output,
        work.units,
        work.pending,
        execution,
        flops,
        lambda: unit_graph(
            SYNTHESIZE,
            work.pending,
            execution,
            TaskStep("filling prompts", PromptFiller, (config.output, job)),
            _generating(config),
            TaskStep("committing", GenerationCommitter, (config.output, job)),
        ),
    )


def _generating(config: SynthesizeConfig) -> ActorStep:
    """The engine in a pool of actors."""
    chosen, execution, settings = config.identity, config.execution, engine_settings(config)
    chosen_engine = engine(chosen.generator)
    arguments = {
        "generator": chosen.generator,
        "model": chosen.model,
        "decoding": chosen.decoding,
        "settings": settings,
        "gpus": execution.gpus_per_actor,
        "purse": _purse(config, chosen_engine, settings[1]),
    }
    return ActorStep("generating", TextGenerator, arguments)


def _purse(config: SynthesizeConfig, chosen_engine: Any, settings: Any) -> RemoteBudget | None:
    """The job's budget in an actor of its own, for an engine that has one."""
    if not hasattr(chosen_engine, "make_budget"):
        return None
    store = Store(config.output)
    spent = sum(each.figures["spent"] for each in read_receipts(store, sorted(finished_units(store))))
    budget: Budget | None = chosen_engine.make_budget(settings, spent)
    if budget is None:
        return None
    return RemoteBudget(ray.remote(Budget).options(num_cpus=0).remote(budget.limit, budget.spent), ray.get)
