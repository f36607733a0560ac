"""`train.py --plan`: memory of a GPU by ZeRO stage and offload, updates, hours and cost, before anything is spent.

Weights, gradients and optimiser state are counted; activations are what the student's own forward pass keeps for the
backward pass, found by running it on torch's `meta` device, where tensors have shapes and no data. A GPU's fused
attention keeps less than that, its allocator wastes some: held to a real run, not to the byte.
"""

from dataclasses import replace
from typing import Any

import torch

from inranker.errors import UserError
from inranker.evaluation.table import render_rows
from inranker.manifest import Manifest, read_manifest
from inranker.rerankers import load_contract
from inranker.rerankers.checkpoint import local_path
from inranker.rerankers.t5 import OneStepT5
from inranker.training.check import check
from inranker.training.config import TrainConfig, TrainExecution, TrainIdentity
from inranker.training.cut import cut
from inranker.training.student import overrides

GB = 1e9
CHOICES: list[tuple[int, str]] = [(0, "none"), (1, "none"), (2, "none"), (3, "none"), (2, "cpu"), (3, "cpu")]


def plan(config: TrainConfig) -> dict[str, Any]:
    """What a job will need.

    Returns:
        `parameters`, `activation_gb`, `choices` (stage, offload, gigabytes a GPU, fits), `recommended` (the first that
        fits), `steps`, `pairs`, `hours`, `gpu_hours`, `cost`, and a `table`.

    Raises:
        UserError: the job cannot be run as asked, or the student is no T5.
    """
    check(config)
    identity, execution = config.identity, config.execution
    contract = load_contract(local_path(identity.start), **overrides(identity))
    if contract.architecture != "t5":
        raise UserError(f"--plan knows T5 students only; {identity.start} is of architecture {contract.architecture!r}")
    pairs = -(-identity.batch_size // (execution.workers * execution.gradient_accumulation))
    student = meta_student(identity, execution.activation_checkpointing)
    parameters = sum(parameter.numel() for parameter in student.parameters())
    activations = activation_bytes(student, pairs, contract.max_length)
    choices = []
    for stage, offload in CHOICES:
        chosen = replace(execution, zero_stage=stage, offload=offload)  # type: ignore[arg-type]
        needed = (state_bytes(parameters, identity, chosen) + activations) / GB
        fits = needed <= execution.hardware.gpu_memory_gb
        choices.append({"zero_stage": stage, "offload": offload, "gb_per_gpu": round(needed, 2), "fits": fits})
    recommended = next((choice for choice in choices if choice["fits"]), None)
    work = amount_of_work(identity, student, contract.max_length)
    hardware = execution.hardware
    hours = work["flops"] / (hardware.gpu_tflops * 1e12 * hardware.utilisation * execution.workers) / 3600
    summary = {
        "stage": "train",
        "plan": True,
        "parameters": parameters,
        "pairs_per_piece": pairs,
        "tokens_per_pair_at_most": contract.max_length,
        "activation_gb": round(activations / GB, 3),
        "choices": choices,
        "recommended": recommended,
        **{name: work[name] for name in ("steps", "pairs", "tokens_per_pair")},
        "hours": round(hours, 2),
        "gpu_hours": round(hours * execution.workers, 2),
        "cost": None
        if hardware.price_per_hour is None
        else round(hours * execution.workers * hardware.price_per_hour, 2),
    }
    return {**summary, "table": render(summary)}


def meta_student(identity: TrainIdentity, checkpointing: bool) -> OneStepT5:
    """The student without its weights, in training mode and in the job's precision."""
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    shape = AutoConfig.from_pretrained(local_path(identity.start))
    if identity.dropout is not None:
        shape.dropout_rate = identity.dropout
    with torch.device("meta"):
        module = AutoModelForSeq2SeqLM.from_config(shape)
    cut(module, identity.encoder_layers, identity.decoder_layers)
    dtype = torch.bfloat16 if identity.precision == "bfloat16" else torch.float32
    return OneStepT5(module.to(dtype), 0, 1, checkpointing).to("meta").train()


def activation_bytes(student: OneStepT5, pairs: int, tokens: int) -> int:
    """Bytes that a forward pass of `pairs` × `tokens` keeps for the backward pass.

    With activation checkpointing, the kept layer inputs and, on top, one encoder layer while it is computed again.
    """
    kept = _kept_bytes(student, pairs, tokens)
    if not student.gradient_checkpointing:
        return kept
    student.gradient_checkpointing = False
    whole = _kept_bytes(student, pairs, tokens)
    student.gradient_checkpointing = True
    return kept + (whole - kept) // len(student.t5.encoder.block)


def _kept_bytes(student: OneStepT5, pairs: int, tokens: int) -> int:
    own = {parameter.untyped_storage()._cdata for parameter in student.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage  # held, so that its number is not given to another
        return tensor

    with torch.device("meta"):
        ids_BL = torch.zeros(pairs, tokens, dtype=torch.long)
        mask_BL = torch.ones(pairs, tokens, dtype=torch.bool)
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


def amount_of_work(identity: TrainIdentity, student: OneStepT5, most_tokens: int) -> dict[str, Any]:
    """Updates, pairs, and operations: six for each weight of the encoder and token, and the attention's products."""
    manifest = read_manifest(identity.labels or identity.pairs or "")
    rows = sum(shard.rows for shard in manifest.shards)
    tokens = tokens_per_pair(manifest, most_tokens)
    if identity.steps is not None:
        steps = identity.steps
    else:
        assert identity.epochs is not None
        steps = identity.epochs * -(-_rows_of_an_epoch(identity, manifest, rows) // identity.batch_size)
    layers = student.t5.encoder.block
    weights = sum(parameter.numel() for parameter in layers.parameters())
    attention = 12 * len(layers) * student.t5.config.num_heads * student.t5.config.d_kv * tokens
    pairs = steps * identity.batch_size
    return {
        "steps": steps,
        "pairs": pairs,
        "tokens_per_pair": round(tokens, 1),
        "flops": pairs * tokens * (6 * weights + attention),
    }


def tokens_per_pair(manifest: Manifest, most: int) -> float:
    """Mean length of the labelled pairs in the teacher's tokens; half the limit where nothing was labelled."""
    tokens, labelled = manifest.figures.get("tokens"), manifest.counts.get("labelled")
    return min(most, tokens / labelled) if tokens and labelled else most / 2


def _rows_of_an_epoch(identity: TrainIdentity, manifest: Manifest, rows: int) -> int:
    negatives = identity.negatives_per_positive
    if negatives is None and identity.loss == "ce":
        negatives = 1
    positives = manifest.counts.get("positives")
    return rows if negatives is None or positives is None else min(rows, positives * (1 + negatives))


def render(summary: dict[str, Any]) -> str:
    """The plan as a person reads it."""
    rows = [
        [str(choice["zero_stage"]), choice["offload"], f"{choice['gb_per_gpu']:.1f}", "yes" if choice["fits"] else "no"]
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
            render_rows(["ZeRO", "offload", "GB per GPU", "fits"], rows),
            advice,
            f"{summary['steps']:,} updates, {summary['pairs']:,} pairs of {summary['tokens_per_pair']:.0f} tokens: "
            f"{summary['hours']:,.1f} hours, {summary['gpu_hours']:,.1f} GPU-hours{cost}",
        ]
    )
