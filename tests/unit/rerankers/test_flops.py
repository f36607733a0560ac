"""The counted operations against those that torch sees the models do."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from inranker.errors import UserError
from inranker.rerankers.causal import LastToken
from inranker.rerankers.encoder import CrossEncoder
from inranker.rerankers.flops import scoring_flops
from inranker.rerankers.t5 import OneStepT5

PAIRS, LENGTH = 3, 40
T5 = {"vocab_size": 100, "d_model": 32, "d_kv": 8, "num_heads": 6, "d_ff": 80, "decoder_start_token_id": 0}
QWEN = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "head_dim": 16}
BERT = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 80}


def seen(module: torch.nn.Module) -> int:
    """Operations that torch counts in a forward pass without padding."""
    # A fused attention is one operation that the counter does not know on every device.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        module.eval()(torch.randint(1, 100, (PAIRS, LENGTH)))
    return counter.get_total_flops()


def counted(module: torch.nn.Module, config: object, architecture: str) -> float:
    return scoring_flops(config, architecture, PAIRS, PAIRS * LENGTH, PAIRS * LENGTH**2)


@pytest.mark.parametrize("feed_forward", ["relu", "gated-gelu"])
def test_t5_is_counted_to_the_operation(feed_forward: str) -> None:
    config = T5Config(**T5, num_layers=3, num_decoder_layers=2, feed_forward_proj=feed_forward)
    module = OneStepT5(T5ForConditionalGeneration(config), 1, 2)
    assert counted(module, config, "t5") == seen(module)


def test_cross_encoders_but_for_the_classifier_are_counted() -> None:
    config = BertConfig(**BERT, num_labels=1)
    module = CrossEncoder(BertForSequenceClassification(config), None)
    assert counted(module, config, "encoder") == pytest.approx(seen(module), rel=0.01)


def test_causal_models_are_counted_with_half_of_the_attention() -> None:
    config = Qwen3Config(**QWEN, num_key_value_heads=2, intermediate_size=80, attn_implementation="eager")
    module = LastToken(Qwen3ForCausalLM(config), 1, 2)
    masked_half = 2 * 3 * PAIRS * LENGTH**2 * 4 * 16  # eager attention computes it and throws it away
    assert counted(module, config, "causal") == pytest.approx(seen(module) - masked_half, rel=0.01)


def test_a_config_without_the_shape_is_said() -> None:
    with pytest.raises(UserError, match="operations of a BertConfig are not known"):
        scoring_flops(BertConfig(**BERT), "t5", 1, 1, 1)
