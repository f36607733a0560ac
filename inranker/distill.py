"""A whole pipeline from one recipe: run its stages in order, skip what is done and verified.

A recipe's stages name each other's outputs through `$output`, so nothing but directories passes between them.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple

from inranker.config import build_config
from inranker.errors import UserError
from inranker.evaluation.table import render_table
from inranker.manifest import read_manifest, to_json, verify_shards
from inranker.planning.speeds import DistillExecution
from inranker.recipe import StageCall, base_names, needed, repeated, written_out
from inranker.storage import Store

SUMMARY = "summary.json"


class StageEntry(NamedTuple):
    """Where a stage lives; imported when it runs, so that a recipe needs only what it uses."""

    module: str
    config: str
    function: str

    def load(self) -> tuple[type, Callable[[Any], dict[str, Any]]]:
        """The stage's config class and its function."""
        config_module, config_name = self.config.split(":")
        return getattr(import_module(config_module), config_name), getattr(import_module(self.module), self.function)


STAGES = {
    "vocabulary": StageEntry("inranker.starts", "inranker.starts:VocabularyConfig", "vocabulary"),
    "create": StageEntry("inranker.starts", "inranker.starts:CreateConfig", "create"),
    "encoder": StageEntry("inranker.starts", "inranker.starts:EncoderConfig", "encoder"),
    "shrink": StageEntry("inranker.shrinking", "inranker.shrinking:ShrinkConfig", "shrink"),
    "mine": StageEntry("inranker.mining", "inranker.mining:MineConfig", "mine"),
    "align": StageEntry("inranker.aligning", "inranker.aligning:AlignConfig", "align"),
    "import": StageEntry("inranker.labeling.importing", "inranker.labeling.importing:ImportConfig", "import_labels"),
    "synthesize": StageEntry("inranker.synthesis.factory", "inranker.synthesis.config:SynthesizeConfig", "synthesize"),
    "label": StageEntry("inranker.labeling.factory", "inranker.labeling.config:LabelConfig", "label"),
    "combine": StageEntry("inranker.labeling.combine", "inranker.labeling.combine:CombineConfig", "combine"),
    "export": StageEntry("inranker.labeling.export", "inranker.labeling.export:ExportConfig", "export_labels"),
    "train": StageEntry("inranker.training.loop", "inranker.training.config:TrainConfig", "train"),
    "evaluate": StageEntry("inranker.evaluation.stage", "inranker.evaluation.config:EvaluateConfig", "evaluate"),
    "average": StageEntry("inranker.evaluation.averages", "inranker.evaluation.averages:AverageConfig", "average"),
    "arms": StageEntry("inranker.evaluation.arms", "inranker.evaluation.arms:ArmsConfig", "arms"),
}
# Stages whose outputs lie below their directory, each with a manifest of its own.
OUTPUTS_OF = {"import": ("pairs", "labels")}


@dataclass(frozen=True)
class DistillConfig:
    """Run a recipe's stages in order."""

    stages: list[StageCall]
    """The stages, in order."""
    output: str
    """Directory or URL; each stage writes to a directory of its own below it."""
    collection: str = "python-docs"
    """What $collection stands for: beir:PATH, ir_datasets:ID or python-docs."""
    tokenizer: str | None = None
    """What $tokenizer stands for: a directory with a Hugging Face tokenizer; recipes that use it need it."""
    variables: dict[str, str] = field(default_factory=dict)
    """Names of the recipe's own: $NAME in the stages' strings stands for its value."""
    until: str | None = None
    """Stop after the stage of this name."""
    only: list[str] = field(default_factory=list)
    """Run these stages alone, and those whose outputs they need; none: all."""
    execution: DistillExecution = field(default_factory=DistillExecution)
    """What `--plan` reckons with."""


def distill(config: DistillConfig) -> dict[str, Any]:
    """Run the stages of a recipe; what is finished is verified by its sha256s and skipped.

    Returns:
        The last evaluation's systems and fidelity, seconds per stage, and which stages were skipped. It is also
        written to OUTPUT/summary.json.

    Raises:
        UserError: a stage's config is wrong (all are checked before the first runs), or a stage says so.
    """
    prepared = prepare(config)
    store = Store(config.output)
    earlier = _earlier_seconds(store)
    summary: dict[str, Any] = {"seconds": {}, "skipped": [], "failed": False}
    for call, stage_config, run in prepared:
        print(f"[{call.name}] {call.stage}", flush=True)
        started = time.perf_counter()
        result = run(stage_config)
        seconds = round(time.perf_counter() - started, 2)
        if result.get("skipped"):
            for part in OUTPUTS_OF.get(call.stage, ("",)):
                verify_output(f"{stage_config.output}/{part}".rstrip("/"))
            summary["skipped"].append(call.name)
            seconds = earlier.get(call.name, seconds)
        summary["seconds"][call.name] = seconds
        if "averages" in result:
            summary.setdefault("averages", {})[call.name] = result["averages"]
        if "systems" in result:
            summary.setdefault("evaluations", {})[call.name] = result["systems"]
            summary |= result["systems"]
            summary |= {key: result[key] for key in ("fidelity", "queries", "split") if result.get(key) is not None}
        if result.get("failed"):
            summary["failed"] = True
            print(f"[{call.name}] failed: {json.dumps(result, default=str)}", flush=True)
            break
        _write_summary(store, summary)
    return summary | {"table": summary_table(summary)}


def plan(config: DistillConfig) -> dict[str, Any]:
    """What the stages will take: pairs, updates, operations, GPU-hours, memory, cost; nothing is run or fetched.

    Raises:
        UserError: a name, a stage or a field of a stage is wrong.
    """
    from inranker.planning.recipe import plan_stages

    return plan_stages([(call, stage_config) for call, stage_config, _ in prepare(config)], config.execution)


def prepare(config: DistillConfig) -> list[tuple[StageCall, Any, Callable[[Any], dict[str, Any]]]]:
    """The stages to run, each with its checked config and its function.

    Raises:
        UserError: a name, a stage or a field of a stage is wrong.
    """
    return [(call, *_prepare(config, call)) for call in chosen_calls(config)]


def chosen_calls(config: DistillConfig) -> list[StageCall]:
    """The stages to run, written out: those of `only` and what they need, up to `until`.

    Raises:
        UserError: the recipe has no stage, or not the ones asked for, or uses a variable that nobody set.
    """
    if not config.stages:
        raise UserError("stages: the recipe has none; list at least one")
    calls = repeated(config.stages)
    if config.only:
        calls = needed(calls, config.only)
    if config.until is not None:
        names = [call.name.split("/")[0] for call in calls]
        if config.until not in names:
            raise UserError(f"--until {config.until}: no such stage; the recipe has {', '.join(base_names(calls))}")
        calls = calls[: len(names) - names[::-1].index(config.until)]
    known: dict[str, str | None] = {**config.variables, "output": config.output.rstrip("/")}
    known |= {"collection": config.collection, "tokenizer": config.tokenizer}
    return [written_out(call, known) for call in calls]


def verify_output(output: str) -> None:
    """Check a finished output's shards against its manifest.

    Raises:
        UserError: naming what is missing or differs.
    """
    store = Store(output)
    verify_shards(store, read_manifest(store))


def summary_table(summary: dict[str, Any]) -> str:
    """The summary as a person reads it: effectiveness, fidelity and time."""
    systems = {name: values for name, values in summary.items() if isinstance(values, dict) and "nDCG@10" in values}
    parts = [render_table(systems)] if systems and not summary.get("averages") else []
    for name, groups in summary.get("averages", {}).items():
        rows = {system: {group: groups[group][system] for group in groups} for system in next(iter(groups.values()))}
        parts.append(f"{name}, mean over sets\n{render_table(rows)}")
    if fidelity := summary.get("fidelity"):
        parts.append("fidelity  " + "  ".join(f"{name} {value:.4f}" for name, value in sorted(fidelity.items())))
    parts.append("seconds   " + "  ".join(f"{name} {value:.0f}" for name, value in summary["seconds"].items()))
    if summary["skipped"]:
        parts.append("skipped (done and verified): " + ", ".join(summary["skipped"]))
    return "\n".join(parts)


def _prepare(config: DistillConfig, call: StageCall) -> tuple[Any, Callable[[Any], dict[str, Any]]]:
    if call.stage not in STAGES:
        raise UserError(f"stages.{call.name}.stage: unknown stage {call.stage!r}; known: {', '.join(STAGES)}")
    config_class, function = STAGES[call.stage].load()
    output = f"{config.output.rstrip('/')}/{call.name}"
    return build_config(config_class, {**call.config, "output": output}, f"stages.{call.name}"), function


def _earlier_seconds(store: Store) -> dict[str, float]:
    """Seconds that an earlier run's summary recorded, for the stages that this one skips."""
    if not store.exists(SUMMARY):
        return {}
    seconds: dict[str, float] = json.loads(store.read(SUMMARY)).get("seconds", {})
    return seconds


def _write_summary(store: Store, summary: dict[str, Any]) -> None:
    store.write(SUMMARY, to_json(summary))
