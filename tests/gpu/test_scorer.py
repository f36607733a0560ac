"""The scorer on an accelerator: the same logits as on the CPU, compiled or not, and batches that shrink."""

import logging

import numpy as np
import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from inranker.rerankers.batching import pad
from inranker.rerankers.encode import EncodedPairs
from inranker.rerankers.running import BatchRunner
from inranker.rerankers.t5 import OneStepT5

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


@pytest.fixture(scope="module")
def encoded() -> EncodedPairs:
    """Two hundred inputs of 8 to 300 random tokens."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(8, 300, 200)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    token_ids = generator.integers(2, 1000, offsets[-1]).astype(np.int32)
    return EncodedPairs(token_ids, offsets, np.zeros(200, bool))


@pytest.fixture(scope="module")
def module() -> OneStepT5:
    """A random T5 of 256 dimensions whose logits spread over several units."""
    torch.manual_seed(0)
    shape = {"d_model": 256, "d_ff": 512, "num_layers": 4, "num_heads": 4, "decoder_start_token_id": 0}
    model = T5ForConditionalGeneration(T5Config(vocab_size=1000, **shape)).eval()
    for block in model.decoder.block:
        block.layer[1].EncDecAttention.o.weight.data.mul_(8)
    model.decoder.final_layer_norm.weight.data.mul_(4)
    return OneStepT5(model, 10, 20).eval()


def run(module, encoded: EncodedPairs, device: str, budget: int) -> np.ndarray:
    def batch(rows: np.ndarray) -> np.ndarray:
        input_ids, mask = pad(encoded, rows, 0)
        return module(input_ids.to(device), None if mask is None else mask.to(device)).float().cpu().numpy()

    with torch.inference_mode():
        return BatchRunner(batch, encoded.lengths, budget).run()


def test_float32_logits_equal_the_cpu_s(module, encoded):
    expected = run(module.to("cpu"), encoded, "cpu", 8192)
    actual = run(module.to("cuda"), encoded, "cuda", 8192)
    assert np.ptp(expected) > 5
    assert np.abs(actual - expected).max() <= 1e-3


def test_compiled_bfloat16_stays_near(module, encoded):
    expected = run(module.to("cuda"), encoded, "cuda", 8192)
    half = OneStepT5(module.t5.to(torch.bfloat16), *module.answer_ids).eval()
    compiled = run(torch.compile(half, dynamic=True), encoded, "cuda", 8192)
    module.t5.to(torch.float32)
    assert np.corrcoef(expected.ravel(), compiled.ravel())[0, 1] > 0.99


def test_out_of_memory_halves_the_budget(module, encoded, caplog):
    module = module.to("cuda")
    expected = run(module, encoded, "cuda", 4096)
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved() + 3e8) / total))
    try:
        with caplog.at_level(logging.WARNING):
            actual = run(module, encoded, "cuda", 10_000_000)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert any("out of memory" in record.message for record in caplog.records)
    assert np.abs(actual - expected).max() <= 1e-3
