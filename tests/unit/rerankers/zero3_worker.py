"""One process of the ZeRO-3 gradient test: half of the batch forward and backward, then the whole gradients.

Run by test_zero3.py with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT set. Arguments: the family of the tiny
model, whether its head is untied, whether layers are recomputed, and the file that receives the gradients.
"""

import os
import sys

import deepspeed
import torch
from deepspeed.utils import safe_get_full_grad

from inranker.rerankers.t5 import OneStepT5, is_partitioned
from tests.unit.rerankers.conftest import FALSE_ID, TRUE_ID, make_inputs, make_t5


def main(family: str, untied: bool, checkpointing: bool, output: str) -> None:
    # Compiling the shared-memory operator takes a minute and its lock outlives a killed process.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed("gloo")
    rank = int(os.environ["RANK"])
    model = make_t5(family, untied, dropout=0.0)
    module = OneStepT5(model, FALSE_ID, TRUE_ID, gradient_checkpointing=checkpointing)
    engine, *_ = deepspeed.initialize(
        model=module,
        optimizer=torch.optim.AdamW(module.parameters(), lr=1e-3),
        config={
            "train_micro_batch_size_per_gpu": 8,
            "gradient_accumulation_steps": 1,
            "zero_allow_untested_optimizer": True,
            "zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0},
        },
    )
    engine.train()
    input_ids, mask = make_inputs()
    half = slice(rank * 8, rank * 8 + 8)
    logits = engine(input_ids[half], mask[half])
    engine.backward((logits**2).mean())
    gradients = {name: safe_get_full_grad(parameter) for name, parameter in module.named_parameters()}
    if rank == 0:
        partitioned = all(is_partitioned(parameter) for parameter in module.parameters())
        kept = {name: gradient.float() for name, gradient in gradients.items() if gradient is not None}
        torch.save({"partitioned": partitioned, "gradients": kept}, output)
    torch.distributed.barrier()
    engine.step()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "True", sys.argv[3] == "True", sys.argv[4])
