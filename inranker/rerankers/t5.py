"""The T5 relatives (T5, v1.1/Flan, mT5, UMT5, PTT5) as pointwise rerankers: one decoder step, two logits.

The answer is read at the first decoder position, so this forward skips what cannot matter there and keeps the
rest bit for bit meaningful: two rows of the head instead of the vocabulary, a decoder self-attention that is
W_o W_v x (a softmax over one position is 1), and a cross-attention whose key projection is folded into the
query and whose value projection is applied after pooling, so encoder states are never projected.
The weights are those of the Hugging Face module inside, which therefore trains and saves as an ordinary T5.

Dimensions: B pairs, L tokens, D model, H heads, K head width, F feed-forward.
"""

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from . import products


class OneStepT5(nn.Module):
    """Logits (false, true) of a Hugging Face `*T5ForConditionalGeneration`.

    Args:
        t5: the Hugging Face module; its parameters are used as they are.
        false_id, true_id: vocabulary ids of the two answers.
        gradient_checkpointing: recompute each encoder layer in the backward pass instead of storing it.
    """

    def __init__(self, t5: Any, false_id: int, true_id: int, gradient_checkpointing: bool = False) -> None:
        super().__init__()
        self.t5 = t5
        self.gradient_checkpointing = gradient_checkpointing
        self.answer_ids = (false_id, true_id)
        config = t5.config
        start = config.decoder_start_token_id
        self.start_id: int = config.pad_token_id if start is None else start
        self.head_scale = head_scale(config)
        self.register_buffer("special_ids", torch.tensor([self.start_id, false_id, true_id]), persistent=False)

    def forward(self, input_ids_BL: torch.Tensor, mask_BL: torch.Tensor | None = None) -> torch.Tensor:
        """Raw logits [B, 2] float32, order (false, true).

        Args:
            input_ids_BL: token ids, int64, padded on the right.
            mask_BL: True at real tokens; None where all lengths are equal.
        """
        embedded_BLD, start_1D, answers_2D = self.look_up(input_ids_BL)
        states_BLD = self.encode(embedded_BLD, mask_BL)
        return self.decode(start_1D, states_BLD, mask_BL, answers_2D)

    def look_up(self, input_ids_BL: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Embeddings of the input [B, L, D] and of the decoder's start [1, D], and the answers' head rows [2, D].

        Where they are rows of one table they are looked up at once: each lookup's backward pass otherwise makes a
        gradient of the whole vocabulary, and those are then added up. The answers are None where the head is another
        matrix, or where ZeRO-3 holds it in shards.
        """
        table, head = self.t5.shared.weight, self.t5.lm_head.weight
        special_3: torch.Tensor = self.special_ids  # type: ignore[assignment]
        if is_partitioned(table) or not self._one_table():
            return self.t5.encoder.embed_tokens(input_ids_BL), self.t5.decoder.embed_tokens(special_3[:1]), None
        rows_ND = F.embedding(torch.cat([input_ids_BL.flatten(), special_3]), table)
        embedded_BLD = rows_ND[:-3].view(*input_ids_BL.shape, -1)
        return embedded_BLD, rows_ND[-3:-2], rows_ND[-2:] if head is table else None

    def _one_table(self) -> bool:
        table = self.t5.shared.weight
        return all(stack.embed_tokens.weight is table for stack in (self.t5.encoder, self.t5.decoder))

    def encode(self, embedded_BLD: torch.Tensor, mask_BL: torch.Tensor | None) -> torch.Tensor:
        """Encoder states [B, L, D], normalised."""
        stack = self.t5.encoder
        pairs, length, _ = embedded_BLD.shape
        packs = products.fits(stack, embedded_BLD)
        layout = products.Layout((pairs, length), mask_BL if packs else None)
        layer: Any = partial(products.encoder_layer, layout=layout) if packs else encoder_layer
        states = stack.dropout(embedded_BLD)  # [B, L, D]; packed, [T, D]
        states = layout.pack(states) if packs else states
        bias_HLL: torch.Tensor | None = None
        for block in stack.block:
            attention = block.layer[0].SelfAttention
            if attention.has_relative_attention_bias:
                bias_HLL = masked(position_bias(attention, length), mask_BL)
            if self.gradient_checkpointing and torch.is_grad_enabled():
                states = checkpoint(layer, block, states, bias_HLL, use_reentrant=False)
            else:
                states = layer(block, states, bias_HLL)
        states = stack.final_layer_norm(states)
        return stack.dropout(layout.pad(states) if packs else states)

    def decode(
        self,
        start_1D: torch.Tensor,
        states_BLD: torch.Tensor,
        mask_BL: torch.Tensor | None,
        answers_2D: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Logits [B, 2] float32 of the first decoder position."""
        stack = self.t5.decoder
        state_BD = stack.dropout(start_1D.expand(len(states_BLD), -1))
        for block in stack.block:
            state_BD = decoder_layer(block, state_BD, states_BLD, mask_BL)
        state_BD = stack.dropout(stack.final_layer_norm(state_BD)) * self.head_scale
        return self._head(state_BD, answers_2D).float()

    def _head(self, state_BD: torch.Tensor, answers_2D: torch.Tensor | None) -> torch.Tensor:
        if answers_2D is not None:
            return F.linear(state_BD, answers_2D)
        head = self.t5.lm_head
        answers = list(self.answer_ids)
        if is_partitioned(head.weight):
            return head(state_BD)[:, answers]
        return F.linear(state_BD, head.weight[answers])


def head_scale(config: Any) -> float:
    """Factor on the decoder state before the head, as the Hugging Face code of each family has it: T5 by
    `scale_decoder_outputs` (v1.0 yes, v1.1 no), mT5 never, UMT5 by `tie_word_embeddings` (always set)."""
    scaled = {
        "t5": getattr(config, "scale_decoder_outputs", True),
        "mt5": False,
        "umt5": config.tie_word_embeddings,
    }[config.model_type]
    return config.d_model**-0.5 if scaled else 1.0


def is_partitioned(weight: torch.Tensor) -> bool:
    """Whether DeepSpeed ZeRO-3 holds this weight in shards, to be gathered only for its own module."""
    return hasattr(weight, "ds_id")


def encoder_layer(block: nn.Module, states_BLD: torch.Tensor, bias_HLL: torch.Tensor | None) -> torch.Tensor:
    """One encoder block: self-attention and feed-forward, each with its residual."""
    layer: Any = block.layer
    attended_BLD = self_attention(layer[0].SelfAttention, layer[0].layer_norm(states_BLD), bias_HLL)
    states_BLD = states_BLD + layer[0].dropout(attended_BLD)
    return layer[1](states_BLD)


def self_attention(attention: Any, normed_BLD: torch.Tensor, bias_HLL: torch.Tensor | None) -> torch.Tensor:
    """T5 attention: no scaling of the products, a position bias added before the softmax."""
    batch, length, _ = normed_BLD.shape
    shape = (batch, length, attention.n_heads, attention.key_value_proj_dim)
    query, key, value = (
        projection(normed_BLD).view(shape).transpose(1, 2) for projection in (attention.q, attention.k, attention.v)
    )
    pooled_BHLK = F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=bias_HLL,
        dropout_p=attention.dropout if attention.training else 0.0,
        scale=1.0,
    )
    return attention.o(pooled_BHLK.transpose(1, 2).reshape(batch, length, -1))


def decoder_layer(
    block: nn.Module, state_BD: torch.Tensor, states_BLD: torch.Tensor, mask_BL: torch.Tensor | None
) -> torch.Tensor:
    """One decoder block at the first position."""
    self_layer, cross_layer, feed_forward = block.layer  # type: ignore[misc]
    attended_BD = one_token_attention(self_layer.SelfAttention, self_layer.layer_norm(state_BD))
    state_BD = state_BD + self_layer.dropout(attended_BD)
    normed_BD = cross_layer.layer_norm(state_BD)
    attended_BD = cross_attention(cross_layer.EncDecAttention, normed_BD, states_BLD, mask_BL)
    state_BD = state_BD + cross_layer.dropout(attended_BD)
    return feed_forward(state_BD)


def one_token_attention(attention: Any, normed_BD: torch.Tensor) -> torch.Tensor:
    """Self-attention of a single position: its only weight is 1, which dropout may still drop."""
    value_BD = attention.v(normed_BD)
    if attention.training and attention.dropout:
        weight_BH1 = value_BD.new_ones((len(value_BD), attention.n_heads, 1))
        weight_BH1 = F.dropout(weight_BH1, attention.dropout)
        value_BD = (value_BD.unflatten(1, (attention.n_heads, -1)) * weight_BH1).flatten(1)
    return attention.o(value_BD)


def cross_attention(
    attention: Any, normed_BD: torch.Tensor, states_BLD: torch.Tensor, mask_BL: torch.Tensor | None
) -> torch.Tensor:
    """Attention of one query over the encoder states.

    With one position, q·(W_k s) = (W_kᵀ q)·s and Σ a (W_v s) = W_v Σ a s, so keys and values of the states are
    never made. ZeRO-3 gathers a weight only for its own module's forward, so there they are.
    """
    heads, width = attention.n_heads, attention.key_value_proj_dim
    query_BHK = attention.q(normed_BD).unflatten(1, (heads, width))
    folded = not is_partitioned(attention.k.weight)
    if folded:
        key_HKD = attention.k.weight.unflatten(0, (heads, width))
        query_BHD = torch.matmul(query_BHK.transpose(0, 1), key_HKD).transpose(0, 1)
        scores_BHL = torch.matmul(query_BHD, states_BLD.transpose(1, 2))
    else:
        key_BHKL = attention.k(states_BLD).unflatten(2, (heads, width)).permute(0, 2, 3, 1)
        scores_BHL = torch.matmul(query_BHK.unsqueeze(2), key_BHKL).squeeze(2)
    if mask_BL is not None:
        scores_BHL = scores_BHL.masked_fill(~mask_BL[:, None, :], torch.finfo(scores_BHL.dtype).min)
    weights_BHL = torch.softmax(scores_BHL.float(), dim=-1).to(scores_BHL.dtype)
    weights_BHL = F.dropout(weights_BHL, attention.dropout, attention.training)
    if folded:
        pooled_HBD = torch.matmul(weights_BHL, states_BLD).transpose(0, 1)
        value_HKD = attention.v.weight.unflatten(0, (heads, width))
        value_BHK = torch.matmul(pooled_HBD, value_HKD.transpose(1, 2)).transpose(0, 1)
    else:
        value_BHLK = attention.v(states_BLD).unflatten(2, (heads, width)).transpose(1, 2)
        value_BHK = torch.matmul(weights_BHL.unsqueeze(2), value_BHLK).squeeze(2)
    return attention.o(value_BHK.flatten(1))


def position_bias(attention: Any, length: int) -> torch.Tensor:
    """Relative position bias [1, H, L, L] of one attention module (Raffel et al. 2020, section 2.1)."""
    table: nn.Embedding = attention.relative_attention_bias
    buckets_LL = relative_buckets(
        length, attention.relative_attention_num_buckets, attention.relative_attention_max_distance
    ).to(table.weight.device)
    return table(buckets_LL).permute(2, 0, 1).unsqueeze(0)


def relative_buckets(length: int, buckets: int, max_distance: int) -> torch.Tensor:
    """Bucket of each (query, key) position in a bidirectional encoder, int64 [L, L].

    Half of the buckets look back, half ahead; of each half, half are exact distances and half grow
    logarithmically up to `max_distance`.
    """
    position_L = torch.arange(length)
    ahead_LL = position_L[None, :] - position_L[:, None]
    half = buckets // 2
    exact = half // 2
    distance_LL = ahead_LL.abs()
    # The logarithm in float32, as the reference has it: float64 rounds some distances to another bucket.
    growth_LL = torch.log(distance_LL.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    far_LL = (exact + (growth_LL * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(distance_LL < exact, distance_LL, far_LL) + (ahead_LL > 0).long() * half


def masked(bias_HLL: torch.Tensor, mask_BL: torch.Tensor | None) -> torch.Tensor:
    """The bias with the keys that are padding pushed out of the softmax; shared by the batch without a mask."""
    if mask_BL is None:
        return bias_HLL
    return bias_HLL.masked_fill(~mask_BL[:, None, None, :], torch.finfo(bias_HLL.dtype).min)
