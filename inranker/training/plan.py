"""`train.py --plan`: memory of a GPU by ZeRO stage and offload, updates, hours and cost, before anything is spent.

Weights, gradients and optimiser state are counted; activations are what the student's own forward pass keeps for the
backward pass, found by running it on torch's `meta` device, where tensors have shapes and no data. A GPU's fused
attention keeps less than that, its allocator wastes some: held to a real run, not to the byte.
"""

import copy
import functools
import json
import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import AutoConfig

from inranker.errors import UserError
from inranker.evaluation.table import render_rows
from inranker.manifest import Manifest, read_manifest
from inranker.rerankers.contract import PAIR_READERS, Architecture
from inranker.rerankers.encoder import CrossEncoder
from inranker.rerankers.flops import scoring_flops
from inranker.rerankers.shapes import Planned, planned_model
from inranker.rerankers.t5 import OneStepT5
from inranker.training.check import check
from inranker.training.config import TrainConfig, TrainExecution, TrainIdentity
from inranker.training.custody import as_list
from inranker.training.cut import cut
from inranker.training.student import overrides

GB = 1e9
CHOICES: list[tuple[int, str]] = [
    (0, "none"),
    (1, "none"),
    (2, "none"),
    (3, "none"),
    (2, "cpu"),
    (3, "cpu"),
    (3, "nvme"),
]


@dataclass(frozen=True)
class Rows:
    """What a job trains on, as far as a plan needs it: pairs in all, positives among them, mean tokens of a pair."""

    pairs: int
    positives: int | None
    tokens: float


def plan(config: TrainConfig) -> dict[str, Any]:
    """What a job will need.

    Returns:
        `parameters`, `activation_gb`, `choices` (stage, offload, gigabytes a GPU, gigabytes offloaded for it, fits),
        `recommended` (the first that fits), `steps`, `pairs`, `flops`, `hours`, `gpu_hours`, `cost`, and a `table`.

    Raises:
        UserError: the job cannot be run as asked, or the start's shape is not known.
    """
    check(config)
    identity = config.identity
    start = planned_model(identity.start, **overrides(identity))
    manifests = [read_manifest(url) for url in as_list(identity.labels) or as_list(identity.pairs)]
    return plan_of(identity, config.execution, start, rows_of(manifests, start.max_length))


def plan_of(identity: TrainIdentity, execution: TrainExecution, start: Planned, rows: Rows) -> dict[str, Any]:
    """The plan of a job whose start and rows need not exist yet; see `plan`.

    Raises:
        UserError: the job cannot be run as asked.
    """
    pairs = -(-identity.batch_size // (execution.workers * execution.gradient_accumulation))
    size = size_of(identity, start, execution.activation_checkpointing, pairs)
    parameters, activations = size.parameters, size.activations
    host = execution.hardware.host_memory_gb or math.inf
    choices = []
    for stage, offload in CHOICES:
        chosen = replace(execution, zero_stage=stage, offload=offload)  # type: ignore[arg-type]
        needed = (state_bytes(parameters, identity, chosen) + activations) / GB
        moved = offloaded_bytes(parameters, identity, chosen) / GB
        fits = needed <= execution.hardware.gpu_memory_gb and (offload != "cpu" or moved <= host)
        choices.append(
            {
                "zero_stage": stage,
                "offload": offload,
                "gb_per_gpu": round(needed, 2),
                "offloaded_gb": round(moved, 2),
                "fits": fits,
            }
        )
    asked = (state_bytes(parameters, identity, execution) + activations) / GB
    work = amount_of_work(identity, execution, replace(start, shape=size.shape), rows)
    hardware = execution.hardware
    seconds = work["flops"] / (hardware.gpu_tflops * 1e12 * hardware.utilisation * execution.workers)
    hours = max(seconds, work["steps"] * hardware.update_seconds) / 3600
    price = hardware.price_per_hour
    summary = {
        "stage": "train",
        "plan": True,
        "parameters": parameters,
        "pairs_per_piece": pairs,
        "tokens_per_pair_at_most": start.max_length,
        "activation_gb": round(activations / GB, 3),
        "gb_per_gpu": round(asked, 2),
        "choices": choices,
        "recommended": next((choice for choice in choices if choice["fits"]), None),
        **work,
        "hours": round(hours, 2),
        "gpu_hours": round(hours * execution.workers, 2),
        "cost": None if price is None else round(hours * execution.workers * price, 2),
    }
    return {**summary, "table": render(summary)}


@dataclass(frozen=True)
class Size:
    """A student as it is trained: parameters, bytes of activations of one piece, and its Hugging Face config."""

    parameters: int
    activations: int
    shape: Any


def size_of(identity: TrainIdentity, start: Planned, checkpointing: bool, pairs: int) -> Size:
    """How big a student is; the phases of a recipe mostly have one of the same size, so it is measured once."""
    names = ("precision", "dropout", "encoder_layers", "decoder_layers")
    asked = TrainIdentity(start="", **{name: getattr(identity, name) for name in names})
    fields = json.dumps(start.shape.to_dict(), sort_keys=True, default=str)
    return _size(asked, fields, start.architecture, start.max_length, checkpointing, pairs)


@functools.cache
def _size(
    asked: TrainIdentity, fields: str, architecture: Architecture, tokens: int, checkpointing: bool, pairs: int
) -> Size:
    known = json.loads(fields)
    shape = AutoConfig.for_model(known.pop("model_type"), **known)
    student = meta_student(asked, Planned(shape, architecture, tokens), checkpointing)
    parameters = sum(parameter.numel() for parameter in student.parameters())
    return Size(parameters, activation_bytes(student, pairs, tokens), shape_of(student))


def meta_student(identity: TrainIdentity, start: Planned, checkpointing: bool) -> OneStepT5 | CrossEncoder:
    """The student without its weights, in training mode and in the job's precision.

    Raises:
        UserError: a causal model, or what its architecture cannot do.
    """
    from transformers import AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

    shape = copy.deepcopy(start.shape)
    dtype = torch.bfloat16 if identity.precision == "bfloat16" else torch.float32
    if start.architecture == "causal":
        raise UserError(f"start: {identity.start} is a causal model; students are T5s or encoders")
    if start.architecture in PAIR_READERS:
        if checkpointing:
            raise UserError("activation_checkpointing is for T5 students; set it to false")
        shape.num_labels = 1
        with torch.device("meta"):
            classifier = AutoModelForSequenceClassification.from_config(shape)
        return CrossEncoder(classifier.to(dtype), None).train()
    if identity.dropout is not None:
        shape.dropout_rate = identity.dropout
    with torch.device("meta"):
        module = AutoModelForSeq2SeqLM.from_config(shape)
    cut(module, identity.encoder_layers, identity.decoder_layers)
    return OneStepT5(module.to(dtype), 0, 1, checkpointing).to("meta").train()


def shape_of(student: OneStepT5 | CrossEncoder) -> Any:
    """The Hugging Face config of a student, cut as it is."""
    return student.t5.config if isinstance(student, OneStepT5) else student.model.config


def activation_bytes(student: OneStepT5 | CrossEncoder, pairs: int, tokens: int) -> int:
    """Bytes that a forward pass of `pairs` × `tokens` keeps for the backward pass.

    With activation checkpointing, the kept layer inputs and, on top, one encoder layer while it is computed again.
    """
    kept = _kept_bytes(student, pairs, tokens)
    if not isinstance(student, OneStepT5) or not student.gradient_checkpointing:
        return kept
    student.gradient_checkpointing = False
    whole = _kept_bytes(student, pairs, tokens)
    student.gradient_checkpointing = True
    return kept + (whole - kept) // len(student.t5.encoder.block)


def _kept_bytes(student: OneStepT5 | CrossEncoder, pairs: int, tokens: int) -> int:
    own = {parameter.untyped_storage()._cdata for parameter in student.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage  # held, so that its number is not given to another
        return tensor

    with torch.device("meta"):
        ids_BL = torch.zeros(pairs, tokens, dtype=torch.long)
        # Encoders make their own mask; whether it is full they would ask of its values, which are not there.
        mask_BL = torch.ones(pairs, tokens, dtype=torch.bool) if isinstance(student, OneStepT5) else None
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            student(ids_BL, mask_BL)
    return sum(storage.nbytes() for storage in kept.values())


def state_bytes(parameters: int, identity: TrainIdentity, execution: TrainExecution) -> float:
    """Bytes of weights, gradients and optimiser state on one GPU.

    AdamW keeps two float32 moments. ZeRO keeps float32 master weights beside the working ones, and its share of the
    gradients in float32 during the update.
    """
    stage, workers = execution.zero_stage, execution.workers
    width = 2 if identity.precision == "bfloat16" else 4
    sharded = stage >= 1 or identity.precision == "bfloat16"
    weights = width * parameters / (workers if stage == 3 else 1)
    gradients = width * parameters / (workers if stage >= 2 else 1)
    optimiser = (16 if sharded else 8) * parameters / (workers if sharded else 1)
    if execution.offload != "none":
        optimiser = 0
        weights = 0 if stage == 3 else weights
    return weights + gradients + optimiser


def offloaded_bytes(parameters: int, identity: TrainIdentity, execution: TrainExecution) -> float:
    """Bytes of state that one GPU's worker keeps in the machine's memory, or on its disk."""
    if execution.offload == "none":
        return 0.0
    return state_bytes(parameters, identity, replace(execution, offload="none")) - state_bytes(
        parameters, identity, execution
    )


def amount_of_work(identity: TrainIdentity, execution: TrainExecution, start: Planned, rows: Rows) -> dict[str, Any]:
    """Updates, pairs, and operations: a forward pass, twice as much backward, and once more where activations are
    computed again."""
    if identity.steps is not None:
        steps = identity.steps
    else:
        assert identity.epochs is not None
        steps = identity.epochs * -(-_rows_of_an_epoch(identity, rows) // identity.batch_size)
    pairs = steps * identity.batch_size
    tokens = min(rows.tokens, start.max_length)
    forward = scoring_flops(start.shape, start.architecture, pairs, pairs * tokens, pairs * tokens**2)
    passes = 4 if execution.activation_checkpointing else 3
    return {"steps": steps, "pairs": pairs, "tokens_per_pair": round(tokens, 1), "flops": passes * forward}


def rows_of(manifests: list[Manifest], most: int) -> Rows:
    """Pairs of several sets together, with their mean length in the teachers' tokens; half of the longest where
    nothing was labelled."""
    pairs = sum(shard.rows for manifest in manifests for shard in manifest.shards)
    positives = [manifest.counts.get("positives") for manifest in manifests]
    tokens = sum(manifest.figures.get("tokens") or 0 for manifest in manifests)
    labelled = sum(manifest.counts.get("labelled") or 0 for manifest in manifests)
    known = None if None in positives else sum(count or 0 for count in positives)
    return Rows(pairs, known, min(most, tokens / labelled) if tokens and labelled else most / 2)


def _rows_of_an_epoch(identity: TrainIdentity, rows: Rows) -> int:
    negatives = identity.negatives_per_positive
    if negatives is None and identity.loss == "ce":
        negatives = 1
    if negatives is None or rows.positives is None:
        return rows.pairs
    return min(rows.pairs, rows.positives * (1 + negatives))


def render(summary: dict[str, Any]) -> str:
    """The plan as a person reads it."""
    rows = [
        [
            str(choice["zero_stage"]),
            choice["offload"],
            f"{choice['gb_per_gpu']:.1f}",
            f"{choice['offloaded_gb']:.1f}",
            "yes" if choice["fits"] else "no",
        ]
        for choice in summary["choices"]
    ]
    cost = "" if summary["cost"] is None else f", cost {summary['cost']:,.2f}"
    chosen = summary["recommended"]
    advice = (
        "nothing fits: use more workers, gradient_accumulation or activation_checkpointing"
        if chosen is None
        else f"first that fits: zero_stage {chosen['zero_stage']}, offload {chosen['offload']}"
    )
    return "\n".join(
        [
            f"{summary['parameters']:,} parameters; {summary['pairs_per_piece']} pairs at a time of at most "
            f"{summary['tokens_per_pair_at_most']} tokens keep {summary['activation_gb']:.2f} GB of activations",
            render_rows(["ZeRO", "offload", "GB per GPU", "GB offloaded", "fits"], rows),
            advice,
            f"{summary['steps']:,} updates, {summary['pairs']:,} pairs of {summary['tokens_per_pair']:.0f} tokens: "
            f"{summary['hours']:,.1f} hours, {summary['gpu_hours']:,.1f} GPU-hours{cost}",
        ]
    )
