"""DeepSpeed as this project uses it: an execution config as its dictionary, and an engine around the student.

ZeRO (https://arxiv.org/abs/1910.02054) changes where state lives, not what is computed: the stages give the same
updates.
"""

import logging
import os
from typing import Any

import torch
from torch import nn

from inranker.errors import UserError
from inranker.training.config import TrainExecution, TrainIdentity

NEVER = 10**9
PARTITION_EVERYTHING = 0  # stage 3 otherwise keeps small weights whole, and a reranker has many


def zero_config(identity: TrainIdentity, execution: TrainExecution, on_gpu: bool) -> dict[str, Any]:
    """The DeepSpeed config of a job.

    Raises:
        UserError: an offload that the stage does not have, or without a place.
    """
    stage = execution.zero_stage
    if identity.precision == "bfloat16":
        stage = max(stage, 1)  # DeepSpeed's float32 master weights for bfloat16 are stage 1's
    zero: dict[str, Any] = {"stage": stage, "overlap_comm": on_gpu and stage > 0, "contiguous_gradients": True}
    if stage == 3:
        zero["stage3_param_persistence_threshold"] = PARTITION_EVERYTHING
    zero |= _offload(execution, stage, on_gpu)
    return {
        "train_micro_batch_size_per_gpu": 1,  # unused: batches are cut by `order.pieces`, and losses are weighted
        "gradient_accumulation_steps": execution.gradient_accumulation,
        "gradient_clipping": identity.clip,
        "bf16": {"enabled": identity.precision == "bfloat16"},
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": NEVER,
        "wall_clock_breakdown": False,
    }


def _offload(execution: TrainExecution, stage: int, on_gpu: bool) -> dict[str, Any]:
    if execution.offload == "none":
        return {}
    if stage == 0 or (execution.offload == "nvme" and stage < 3):
        needed = 3 if execution.offload == "nvme" else 1
        raise UserError(f"offload {execution.offload!r} needs zero_stage {needed} or more; it is {stage}")
    device: dict[str, Any] = {"device": execution.offload}
    if execution.offload == "nvme":
        if execution.nvme_path is None:
            raise UserError("offload 'nvme' needs nvme_path: a directory on a local disk")
        device["nvme_path"] = execution.nvme_path
    else:
        device["pin_memory"] = on_gpu
    return {"offload_optimizer": device} | ({"offload_param": device} if stage == 3 else {})


def prepare_environment(on_gpu: bool) -> None:
    """What must be set before DeepSpeed is imported in a process that trains.

    On a CPU DeepSpeed would compile a shared-memory communicator (a minute, and a lock file that hangs later runs when
    the process dies meanwhile); gloo does as well.
    """
    if not on_gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    if not on_gpu:
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def make_optimizer(parameters: list[nn.Parameter], identity: TrainIdentity) -> torch.optim.AdamW:
    """AdamW as Hugging Face's trainer sets it (decay 0, betas 0.9 and 0.999, epsilon 1e-8), which the paper used."""
    return torch.optim.AdamW(
        parameters,
        lr=identity.learning_rate,
        betas=(identity.beta1, identity.beta2),
        eps=identity.epsilon,
        weight_decay=identity.weight_decay,
        fused=True,
    )


def make_engine(module: nn.Module, identity: TrainIdentity, execution: TrainExecution, device: torch.device) -> Any:
    """A DeepSpeed engine; `torch.distributed` is initialised already.

    Args:
        module: the student, on its device.
    """
    on_gpu = device.type == "cuda"
    prepare_environment(on_gpu)
    import deepspeed

    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    engine, *_ = deepspeed.initialize(
        model=module,
        optimizer=make_optimizer(parameters, identity),
        config=zero_config(identity, execution, on_gpu),
        dist_init_required=None,
    )
    if torch.distributed.get_world_size() == 1 and not engine.zero_optimization():
        # A process alone would copy all gradients into one buffer, add nobody's to them, and copy them back.
        engine.enable_backward_allreduce = False
    return engine


def learning_rate(step: int, total: int, identity: TrainIdentity) -> float:
    """The learning rate of update `step` (0-based) of `total`: a linear rise, then a linear fall to 0, or none.

    The same numbers as Hugging Face's linear schedule, whose first update with a warm-up has rate 0.
    """
    if step < identity.warmup_steps:
        return identity.learning_rate * step / identity.warmup_steps
    if identity.schedule == "constant":
        return identity.learning_rate
    return identity.learning_rate * max(0, total - step) / max(1, total - identity.warmup_steps)
