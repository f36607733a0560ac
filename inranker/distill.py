"""A whole pipeline from one recipe: run its stages in order, skip what is done and verified.

A recipe's stages name each other's outputs through `$output`, so nothing but directories passes between them.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

from inranker.config import build_config
from inranker.errors import UserError
from inranker.evaluation.table import render_table
from inranker.manifest import read_manifest, to_json, verify_shards
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
    "mine": StageEntry("inranker.mining", "inranker.mining:MineConfig", "mine"),
    "import": StageEntry("inranker.labeling.importing", "inranker.labeling.importing:ImportConfig", "import_labels"),
    "synthesize": StageEntry("inranker.synthesis.factory", "inranker.synthesis.config:SynthesizeConfig", "synthesize"),
    "label": StageEntry("inranker.labeling.factory", "inranker.labeling.config:LabelConfig", "label"),
    "combine": StageEntry("inranker.labeling.combine", "inranker.labeling.combine:CombineConfig", "combine"),
    "export": StageEntry("inranker.labeling.export", "inranker.labeling.export:ExportConfig", "export_labels"),
    "train": StageEntry("inranker.training.loop", "inranker.training.config:TrainConfig", "train"),
    "evaluate": StageEntry("inranker.evaluation.stage", "inranker.evaluation.config:EvaluateConfig", "evaluate"),
}


@dataclass(frozen=True)
class StageCall:
    """One stage of a recipe."""

    name: str
    """Name of the stage's output directory under `output`."""
    stage: str
    """Which stage: vocabulary, create, synthesize, mine, label, combine, train or evaluate."""
    config: dict[str, Any]
    """The stage's own recipe, without `output`; $output, $collection and $tokenizer are replaced in its strings."""


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
    until: str | None = None
    """Stop after the stage of this name."""


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
            verify_output(stage_config.output)
            summary["skipped"].append(call.name)
            seconds = earlier.get(call.name, seconds)
        summary["seconds"][call.name] = seconds
        if "systems" in result:
            summary |= result["systems"]
            summary |= {key: result[key] for key in ("fidelity", "queries", "split") if result.get(key) is not None}
        if result.get("failed"):
            summary["failed"] = True
            print(f"[{call.name}] failed: {json.dumps(result, default=str)}", flush=True)
            break
        _write_summary(store, summary)
    return summary | {"table": summary_table(summary)}


def prepare(config: DistillConfig) -> list[tuple[StageCall, Any, Callable[[Any], dict[str, Any]]]]:
    """The stages to run, each with its checked config and its function.

    Raises:
        UserError: a name, a stage or a field of a stage is wrong.
    """
    return [(call, *_prepare(config, call)) for call in _until(config)]


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
    parts = [render_table(systems)] if systems else []
    if fidelity := summary.get("fidelity"):
        parts.append("fidelity  " + "  ".join(f"{name} {value:.4f}" for name, value in sorted(fidelity.items())))
    parts.append("seconds   " + "  ".join(f"{name} {value:.0f}" for name, value in summary["seconds"].items()))
    if summary["skipped"]:
        parts.append("skipped (done and verified): " + ", ".join(summary["skipped"]))
    return "\n".join(parts)


def _until(config: DistillConfig) -> list[StageCall]:
    names = [call.name for call in config.stages]
    if not names:
        raise UserError("stages: the recipe has none; list at least one")
    if repeated := {name for name in names if names.count(name) > 1}:
        raise UserError(f"stages: the name {sorted(repeated)[0]!r} is used twice; each needs an output of its own")
    if config.until is None:
        return config.stages
    if config.until not in names:
        raise UserError(f"--until {config.until}: no such stage; the recipe has {', '.join(names)}")
    return config.stages[: names.index(config.until) + 1]


def _prepare(config: DistillConfig, call: StageCall) -> tuple[Any, Callable[[Any], dict[str, Any]]]:
    if call.stage not in STAGES:
        raise UserError(f"stages.{call.name}.stage: unknown stage {call.stage!r}; known: {', '.join(STAGES)}")
    config_class, function = STAGES[call.stage].load()
    values = _substitute(call.config, {"output": config.output, "collection": config.collection}, config, call)
    output = f"{config.output.rstrip('/')}/{call.name}"
    return build_config(config_class, {**values, "output": output}, f"stages.{call.name}"), function


def _substitute(value: Any, known: dict[str, str], config: DistillConfig, call: StageCall) -> Any:
    if isinstance(value, dict):
        return {key: _substitute(item, known, config, call) for key, item in value.items()}
    if isinstance(value, list):
        return [_substitute(item, known, config, call) for item in value]
    if not isinstance(value, str):
        return value
    if "$tokenizer" in value:
        if config.tokenizer is None:
            raise UserError(f"stages.{call.name} uses $tokenizer; give --tokenizer DIRECTORY")
        value = value.replace("$tokenizer", config.tokenizer)
    for name, replacement in known.items():
        value = value.replace(f"${name}", replacement)
    return value


def _earlier_seconds(store: Store) -> dict[str, float]:
    """Seconds that an earlier run's summary recorded, for the stages that this one skips."""
    if not store.exists(SUMMARY):
        return {}
    seconds: dict[str, float] = json.loads(store.read(SUMMARY)).get("seconds", {})
    return seconds


def _write_summary(store: Store, summary: dict[str, Any]) -> None:
    store.write(SUMMARY, to_json(summary))
