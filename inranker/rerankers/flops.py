"""Operations that scoring needs, counted from a model's shape: two for each term of a product, nothing else counted.

Padding, the tokens of an unused head and encoder states that nobody projects are no part of it, so a share of the peak
reckoned with these counts is of useful work.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import UserError
from .checkpoint import local_path
from .contract import load_contract

GATED_ENCODERS = ("modernbert",)


def scoring_flops(shape: Any, architecture: str, pairs: float, tokens: float, squares: float) -> float:
    """Operations of scoring pairs in one forward pass each.

    Args:
        shape: the Hugging Face config of the model.
        architecture: `t5`, `encoder`, `similarity` or `causal`, as its contract says.
        pairs: number of pairs.
        tokens: tokens of all pairs together.
        squares: sum of the squared lengths of the pairs, in tokens.

    Raises:
        UserError: the config does not say the shape.
    """
    try:
        return float(COUNTS[architecture](shape, pairs, tokens, squares))
    except AttributeError as error:
        raise UserError(f"operations of a {type(shape).__name__} are not known: {error}") from error


def teacher_flops(name: str | Path) -> Callable[[float, float, float], float]:
    """(pairs, tokens, squared lengths) -> `scoring_flops` of a checkpoint; reads its config alone.

    Raises:
        UserError: no such checkpoint, or its config does not say the shape.
    """
    from transformers import AutoConfig

    path = local_path(name)
    count = partial(scoring_flops, AutoConfig.from_pretrained(path), load_contract(path).architecture)
    count(1, 1, 1)
    return count


def t5_flops(shape: Any, pairs: float, tokens: float, squares: float) -> float:
    """An encoder and one decoder position whose cross-attention is folded: keys and values of the encoder's states are
    never made, each head looks at the states themselves."""
    d_model, inner, heads = shape.d_model, shape.num_heads * shape.d_kv, shape.num_heads
    gated = getattr(shape, "is_gated_act", False)
    feed_forward = (3 if gated else 2) * d_model * shape.d_ff
    encoder = tokens * (4 * d_model * inner + feed_forward) + 2 * squares * inner
    # Self-attention of one position is W_o·W_v·x; the fold and both ends of cross-attention are four more products.
    decoder = pairs * (6 * d_model * inner + feed_forward) + 2 * tokens * heads * d_model
    layers = shape.num_layers
    answers = pairs * 2 * d_model
    return 2 * (layers * encoder + (shape.num_decoder_layers or layers) * decoder + answers)


def encoder_flops(shape: Any, pairs: float, tokens: float, squares: float) -> float:
    """A cross-encoder: every layer projects four times and has a feed-forward net of two matrices (three if gated)."""
    d_model = shape.hidden_size
    feed_forward = (3 if shape.model_type in GATED_ENCODERS else 2) * d_model * shape.intermediate_size
    layer = tokens * (4 * d_model * d_model + feed_forward) + 2 * squares * d_model
    return 2 * shape.num_hidden_layers * layer


def causal_flops(shape: Any, pairs: float, tokens: float, squares: float) -> float:
    """A decoder-only model with grouped keys and values and a gated feed-forward net; a causal mask halves the
    attention's products."""
    d_model, heads = shape.hidden_size, shape.num_attention_heads
    width = getattr(shape, "head_dim", None) or d_model // heads
    keys = getattr(shape, "num_key_value_heads", None) or heads
    projections = 2 * d_model * heads * width + 2 * d_model * keys * width
    layer = tokens * (projections + 3 * d_model * shape.intermediate_size) + squares * heads * width
    return 2 * shape.num_hidden_layers * layer


COUNTS = {"t5": t5_flops, "encoder": encoder_flops, "similarity": encoder_flops, "causal": causal_flops}
