"""A new T5 reranker with random weights, for where no pre-trained one can be had."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from inranker.errors import UserError
from inranker.rerankers.contract import FAMILIES, save_contract, token_ids
from inranker.rerankers.vocabulary import tokenizer_from

# Embedding rows are a multiple of this, as in the published T5s: 32,100 tokens, 32,128 rows.
ROW_MULTIPLE = 128

Start = Literal["random", "matching"]


@dataclass(frozen=True)
class T5Shape:
    """Size of a T5; the defaults are t5-small's 60M parameters with its 32,128 embeddings."""

    d_model: int = 512
    """Width of the residual stream."""
    d_ff: int = 2048
    """Width of the feed-forward layers."""
    d_kv: int = 64
    """Width of one attention head."""
    num_heads: int = 8
    """Attention heads of a layer."""
    num_layers: int = 6
    """Encoder layers."""
    num_decoder_layers: int = 6
    """Decoder layers; a reranker takes one decoding step, so one or two do."""
    feed_forward_proj: Literal["relu", "gated-gelu"] = "relu"
    """Activation: `relu` as in T5 1.0, `gated-gelu` as in 1.1."""
    dropout_rate: float = 0.1
    """Dropout in training."""


def create_t5(
    shape: T5Shape, tokenizer_path: str | Path, seed: int, path: str | Path, start: Start = "random", **contract: Any
) -> dict[str, int]:
    """Save a T5 reranker with random weights: safetensors, tokenizer and reranker.json; the same seed, the same bytes.

    Args:
        shape: its size.
        tokenizer_path: directory of a Hugging Face tokenizer, or a SentencePiece `.model`; gives the vocabulary.
        seed: of the random weights; the process's own random state is left as it was.
        path: directory to write, made if absent.
        start: `random` is Hugging Face's own initialisation; `matching` lets equal tokens attend to each other from
            the first step on, see `start_by_matching`.
        contract: fields of the contract to change from monoT5's, such as `max_length=128` or other tokens.

    Returns:
        `{"parameters": weights, "vocabulary": embedding rows}`.

    Raises:
        UserError: the tokenizer cannot be read or lacks the answer tokens, or the shape is no T5.
    """
    import torch
    from transformers import T5ForConditionalGeneration

    tokenizer = tokenizer_from(tokenizer_path)
    try:
        chosen = dataclasses.replace(FAMILIES["monot5"], **{"family": "from-scratch", **contract})
    except TypeError as error:
        raise UserError(f"no such field of a reranker's contract: {error}") from error
    token_ids(chosen, tokenizer)
    config = _config(shape, tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = T5ForConditionalGeneration(config)
    if start == "matching":
        start_by_matching(model)
    directory = Path(path)
    directory.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    save_contract(directory, chosen)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "vocabulary": config.vocab_size,
    }


def _config(shape: T5Shape, tokenizer: Any) -> Any:
    from transformers import T5Config

    for field in ("d_model", "d_ff", "d_kv", "num_heads", "num_layers", "num_decoder_layers"):
        if getattr(shape, field) < 1:
            raise UserError(f"shape.{field} is {getattr(shape, field)}; it must be 1 or more")
    if not 0 <= shape.dropout_rate < 1:
        raise UserError(f"shape.dropout_rate is {shape.dropout_rate}; it must lie between 0 and 1, without 1")
    rows = -(-len(tokenizer) // ROW_MULTIPLE) * ROW_MULTIPLE
    return T5Config(
        vocab_size=rows,
        d_model=shape.d_model,
        d_ff=shape.d_ff,
        d_kv=shape.d_kv,
        num_heads=shape.num_heads,
        num_layers=shape.num_layers,
        num_decoder_layers=shape.num_decoder_layers,
        feed_forward_proj=shape.feed_forward_proj,
        dropout_rate=shape.dropout_rate,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )


def start_by_matching(model: Any) -> None:
    """Make each encoder token attend to the other occurrences of itself, in place.

    With T5's own initialisation queries and keys are independent, so that a word of the query finds its twin in the
    passage only after training has aligned the two; on few examples that does not happen. Here the query projection
    is the key projection, scaled to the deviation that T5 gives it: any two tokens still score about N(0, 1) against
    each other, but equal ones about √d_kv, so that d_kv of 64 shows a match clearly and 16 hardly. The position bias
    of offset 0 takes that much off again, or each token would mostly attend to itself.

    After Trockman & Kolter 2023, https://arxiv.org/abs/2305.09828, who start W_Q·W_Kᵀ near the identity.
    """
    import torch

    strength = model.config.d_kv**0.5
    with torch.no_grad():
        for block in model.encoder.block:
            attention = block.layer[0].SelfAttention
            attention.q.weight.copy_(attention.k.weight / strength)
        # Bucket 0 of T5's bidirectional buckets holds the offset 0 alone; the first layer's bias serves all layers.
        model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight[0] -= strength
