"""Graphs compute what the modules compute: every family of T5, cross-encoders, causal rerankers."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, Qwen2Config, Qwen2ForCausalLM

from inranker.errors import UserError
from inranker.export.ct2_writer import write_ct2
from inranker.export.onnx_writer import write_onnx
from inranker.export.t5_graph import t5_graph
from inranker.rerankers.causal import LastToken
from inranker.rerankers.encoder import CrossEncoder
from inranker.rerankers.packed import multiplies_in_16_bits
from inranker.rerankers.t5 import OneStepT5
from tests.unit.rerankers.conftest import FALSE_ID, T5_FAMILIES, TRUE_ID, VOCABULARY, make_inputs, make_t5


def run(model: Any, input_ids: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    """What ONNX Runtime makes of a model or of its file."""
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    return session.run(None, {"input_ids": input_ids.numpy(), "attention_mask": mask.long().numpy()})[0]


@torch.no_grad()
def expected(module: Any, input_ids: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    return module.eval()(input_ids, mask).numpy()


@pytest.mark.parametrize("family", T5_FAMILIES)
def test_every_t5(family: str) -> None:
    """Trained lengths, and one so long that distances share the last bucket."""
    module = OneStepT5(make_t5(family), FALSE_ID, TRUE_ID)
    graph = t5_graph(module)
    onnx.checker.check_model(graph, full_check=True)
    long = torch.randint(2, VOCABULARY, (2, 300), generator=torch.Generator().manual_seed(1))
    for input_ids, mask in (make_inputs(), (long, torch.arange(300)[None] < torch.tensor([[300], [171]]))):
        reference = expected(module, input_ids, mask)
        assert np.abs(run(graph, input_ids, mask) - reference).max() < 2e-4
        quantised = t5_graph(module, quantised=True, reduce_range=multiplies_in_16_bits())
        error = np.abs(run(quantised, input_ids, mask) - reference).max()
        assert 1e-4 < error < 0.1 * np.ptp(reference, axis=0).min() + 0.3


def test_an_untied_head_and_seven_bits() -> None:
    module = OneStepT5(make_t5("t5-v1.1", untied=True), FALSE_ID, TRUE_ID)
    input_ids, mask = make_inputs()
    reference = expected(module, input_ids, mask)
    assert np.abs(run(t5_graph(module), input_ids, mask) - reference).max() < 2e-4
    fine, coarse = (
        np.abs(run(t5_graph(module, quantised=True, reduce_range=reduced), input_ids, mask) - reference).mean()
        for reduced in (False, True)
    )
    assert coarse < 0.2 * np.ptp(reference, axis=0).min()
    # Where products of bytes overflow, 8 bits are the worse ones.
    assert (fine < coarse) != multiplies_in_16_bits()


def test_an_unknown_activation_is_named() -> None:
    module = OneStepT5(make_t5("t5-v1.0"), FALSE_ID, TRUE_ID)
    module.t5.config.dense_act_fn = "tanh"
    with pytest.raises(UserError, match="activation 'tanh' has no ONNX export"):
        t5_graph(module)


def _bert(outputs: int) -> CrossEncoder:
    torch.manual_seed(2)
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        num_labels=outputs, initializer_range=0.4,
    )  # fmt: skip
    return CrossEncoder(BertForSequenceClassification(config).eval(), separator_id=3)


def _qwen() -> LastToken:
    torch.manual_seed(2)
    config = Qwen2Config(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=64, initializer_range=0.2,
    )  # fmt: skip
    return LastToken(Qwen2ForCausalLM(config).eval(), FALSE_ID, TRUE_ID)


@pytest.mark.slow
@pytest.mark.parametrize("make", [lambda: _bert(1), lambda: _bert(2), _qwen], ids=["bert-1", "bert-2", "qwen2"])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_traced_models(make: Any, precision: str, tmp_path: Path) -> None:
    """Traced at one shape, right at every other."""
    module = make()
    write_onnx(module, tmp_path, precision, external_data_bytes=10**9)
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    input_ids, mask = make_inputs()
    input_ids[:, 5] = 3
    for rows, length in ((16, 40), (3, 17)):
        ids, kept = input_ids[:rows, :length], mask[:rows, :length]
        reference = expected(module, ids, kept)
        error = np.abs(run(tmp_path / "model.onnx", ids, kept) - reference).max()
        assert error < 1e-4 if precision == "float32" else 1e-6 < error < 0.3 * np.ptp(reference, axis=0).min()


def test_ctranslate2_takes_t5_alone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="takes T5 rerankers alone"):
        write_ct2(_bert(1), tmp_path, tmp_path / "out", "int8")
