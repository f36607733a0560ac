"""Gradients of the one-step T5 when DeepSpeed ZeRO-3 holds every weight in shards on two processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cluster.ports import free_ports
from inranker.rerankers.t5 import OneStepT5

from .conftest import FALSE_ID, TRUE_ID, answers, make_inputs

WORKER = Path(__file__).parent / "zero3_worker.py"


@pytest.mark.parametrize(
    ("family", "untied", "checkpointing"),
    [("t5-v1.0", False, False), pytest.param("umt5", True, True, marks=pytest.mark.slow)],
)
def test_gradients_under_zero3_equal_the_library_s(t5_models, repository, tmp_path, family, untied, checkpointing):
    model = t5_models(family, untied, dropout=0.0)
    input_ids, mask = make_inputs()
    output = tmp_path / "gradients.pt"
    command = [sys.executable, str(WORKER), family, str(untied), str(checkpointing), str(output)]
    environment = {
        **os.environ,
        "DS_ACCELERATOR": "cpu",
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_ports(1)[0]),
        "WORLD_SIZE": "2",
        "PYTHONPATH": str(repository),
    }
    workers = [
        subprocess.Popen(
            command,
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    outputs = [worker.communicate(timeout=300)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], "\n".join(outputs)[-4000:]

    (answers(model, input_ids, mask) ** 2).mean().backward()
    found = torch.load(output, weights_only=True)
    assert found["partitioned"]
    module = OneStepT5(model, FALSE_ID, TRUE_ID)
    compared = 0
    for name, parameter in module.named_parameters():
        if parameter.grad is None or parameter.grad.norm() < 1e-9:
            continue
        error = (found["gradients"][name] - parameter.grad).norm() / parameter.grad.norm()
        assert error <= 1e-4, (name, float(error))
        compared += 1
    assert compared > 30
