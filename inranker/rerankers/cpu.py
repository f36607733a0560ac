"""T5 inference on CPUs: the same logits as `OneStepT5`, laid out for speed.

What differs from the module: tokens of a batch lie end to end without padding; only attention looks at one
length at a time; norm weights are folded into the next matrix; q, k and v are one product; ReLU and residual
are part of a product; the position bias is made once for the longest input and cut to each length. Held to
Hugging Face's own forward by the same tests as the module.

Dimensions: n pairs of one length L, T tokens of a batch, B pairs of a batch, D model, H heads, K head width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import torch
import torch.nn.functional as F

from . import attention, kernels, packed
from .t5 import OneStepT5, position_bias

RELU = "relu"
GATED = "gelu_new"


class Group(NamedTuple):
    """Inputs of one length that lie side by side: tokens [start, start + pairs · length)."""

    start: int
    pairs: int
    length: int


def groups_of(lengths: Sequence[int] | np.ndarray) -> list[Group]:
    """Runs of equal lengths."""
    groups: list[Group] = []
    start = 0
    for length in (int(value) for value in lengths):
        if groups and groups[-1].length == length:
            groups[-1] = groups[-1]._replace(pairs=groups[-1].pairs + 1)
        else:
            groups.append(Group(start, 1, length))
        start += length
    return groups


def lengths_of(groups: list[Group]) -> np.ndarray:
    """The length of each input, in order."""
    return np.repeat([group.length for group in groups], [group.pairs for group in groups])


@dataclass
class EncoderLayer:
    """Packed weights of one encoder block; the norms' weights are in `qkv` and `up`."""

    qkv: Any
    out: Any
    up: Any
    down: Any


class FastT5:
    """A frozen copy of a `OneStepT5` for CPU inference.

    Args:
        module: the model; its weights are copied in the layout that inference wants.
        precision: `float32`, `bfloat16`, or `int8` (8-bit products, the rest bfloat16 and float32). On a CPU without
            bfloat16 products float32 takes bfloat16's place.

    `supports` says whether it can stand in for a module; ask it first.
    """

    def __init__(self, module: OneStepT5, precision: str) -> None:
        config = module.t5.config
        self.quantized = precision == "int8"
        self.dtype = torch.float32 if precision == "float32" else packed.working_dtype()
        self.epsilon: float = config.layer_norm_epsilon
        self.heads: int = config.num_heads
        self.gated: bool = config.is_gated_act
        stack = module.t5.encoder
        self.table_VD = stack.embed_tokens.weight.detach().to(torch.float32 if self.quantized else self.dtype)
        self.layers = [self._encoder_layer(block) for block in stack.block]
        self.bias_sources = [
            block.layer[0].SelfAttention
            for block in stack.block
            if block.layer[0].SelfAttention.has_relative_attention_bias
        ]
        self.biases: list[torch.Tensor] = []
        self.longest = 0
        self.one_pass = self.dtype == torch.bfloat16 and attention.available(config.d_kv)
        # Beside 8-bit products bfloat16 rounding in the decoder is most of what order loses, and float32 costs 4 %.
        self.decoder = Decoder(module, torch.float32 if self.quantized else self.dtype)

    def prepare(self, longest: int) -> None:
        """Make the position biases for inputs up to `longest` tokens: [H, L, L], of which a shorter input takes a
        corner because a bias depends on the distance alone, or by distance for attention in one pass."""
        if longest > self.longest:
            self.longest = longest
            biases = [position_bias(source, longest)[0].detach() for source in self.bias_sources]
            if self.one_pass:
                self.biases = [attention.distance_biases(bias.float()) for bias in biases]
            else:
                self.biases = [bias.to(self.dtype).contiguous() for bias in biases]

    def logits(self, token_ids_T: torch.Tensor, lengths: Sequence[int] | np.ndarray) -> torch.Tensor:
        """Logits [B, 2] float32 of inputs that lie end to end; call `prepare` with the longest length first.

        Inputs of equal lengths should be neighbours.
        """
        groups = groups_of(lengths)
        states_TD = F.embedding(token_ids_T, self.table_VD)
        encode = self._encode_quantized if self.quantized else self._encode
        return self.decoder(encode(states_TD, groups), groups)

    def _encode(self, states_TD: torch.Tensor, groups: list[Group]) -> torch.Tensor:
        """Encoder states [T, D], normalised, without the last norm's weight."""
        for index, layer in enumerate(self.layers):
            qkv_T3HK = layer.qkv(norm(states_TD, self.epsilon))
            context_THK = self._attend(qkv_T3HK, groups, index)
            states_TD = layer.out.added(context_THK, states_TD)
            hidden_TF = layer.up(norm(states_TD, self.epsilon), "none" if self.gated else RELU)
            if self.gated:
                left_TF, right_TF = hidden_TF.chunk(2, dim=-1)
                hidden_TF = F.gelu(left_TF, approximate="tanh").mul_(right_TF)
            states_TD = layer.down.added(hidden_TF, states_TD)
        return norm(states_TD, self.epsilon)

    def _encode_quantized(self, states_TD: torch.Tensor, groups: list[Group]) -> torch.Tensor:
        """`_encode` with 8-bit products; the residual and what comes out stay float32."""
        add_norm = kernels.fused(kernels.add_norm_quantize)
        small_TD, scale_T1 = kernels.fused(kernels.norm_quantize)(states_TD, self.epsilon)
        for index, layer in enumerate(self.layers):
            qkv_T3HK = layer.qkv(small_TD, packed.MIDDLE)
            small_TD, scale_T1 = self._attend_quantized(qkv_T3HK, scale_T1, groups, index)
            update_TD = layer.out(small_TD, packed.MIDDLE)
            states_TD, small_TD, scale_T1 = add_norm(states_TD, update_TD, scale_T1, self.epsilon)
            hidden_TF = layer.up(small_TD, packed.MIDDLE, "none" if self.gated else RELU)
            shrink = kernels.gate_quantize if self.gated else kernels.quantize_positive
            small_TF, scale_T1 = kernels.fused(shrink)(hidden_TF, scale_T1)
            update_TD = layer.down(small_TF, packed.MIDDLE if self.gated else 0)
            states_TD, small_TD, scale_T1 = add_norm(states_TD, update_TD, scale_T1, self.epsilon)
        return norm(states_TD, self.epsilon)

    def _attend_quantized(
        self, qkv_T3HK: torch.Tensor, scale_T1: torch.Tensor, groups: list[Group], index: int
    ) -> kernels.Quantized:
        """`_attend` between 8-bit products: q, k and v still lack their token's scale; bytes and scales come out."""
        if self.one_pass:
            bias = self.biases[index % len(self.biases)]
            return attention.attend_quantized(qkv_T3HK, scale_T1, bias, lengths_of(groups), self.heads)
        return kernels.fused(kernels.quantize)(
            self._attend(kernels.fused(kernels.rescale)(qkv_T3HK, scale_T1), groups, index)
        )

    def _attend(self, qkv_T3HK: torch.Tensor, groups: list[Group], index: int) -> torch.Tensor:
        """Self-attention of each length by itself in the layer of that number; [T, H · K]."""
        bias_HLL = self.biases[index % len(self.biases)]
        if self.one_pass:
            return attention.attend(qkv_T3HK, bias_HLL, lengths_of(groups), self.heads)
        inner = qkv_T3HK.shape[1] // 3
        context_THK = torch.empty((len(qkv_T3HK), inner), dtype=qkv_T3HK.dtype)
        for start, pairs, length in groups:
            tokens = slice(start, start + pairs * length)
            split = qkv_T3HK[tokens].view(pairs, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            bias = bias_HLL[:, :length, :length]
            if self.dtype == torch.float32:
                query, key, value = split
                pooled = F.scaled_dot_product_attention(query, key, value, attn_mask=bias[None], scale=1.0)
            else:
                # For bfloat16 three plain products beat the fused kernel, once heads lie apart in memory.
                query, key, value = split.contiguous()
                scores = torch.matmul(query, key.transpose(2, 3)).add_(bias)
                pooled = torch.matmul(torch.softmax(scores, dim=-1), value)
            context_THK[tokens].view(pairs, length, self.heads, -1).copy_(pooled.transpose(1, 2))
        return context_THK

    def _encoder_layer(self, block: Any) -> EncoderLayer:
        attention, feed_forward = block.layer[0].SelfAttention, block.layer[1].DenseReluDense
        before, between = block.layer[0].layer_norm.weight, block.layer[1].layer_norm.weight
        projections = [attention.q.weight, attention.k.weight, attention.v.weight]
        up = [feed_forward.wi_0.weight, feed_forward.wi_1.weight] if self.gated else [feed_forward.wi.weight]
        return EncoderLayer(
            self._pack(torch.cat(projections).detach().float() * before.detach().float()),
            self._pack(attention.o.weight.detach()),
            self._pack(torch.cat(up).detach().float() * between.detach().float()),
            self._pack(feed_forward.wo.weight.detach()),
        )

    def _pack(self, weight: torch.Tensor) -> Any:
        if self.quantized:
            return packed.QuantizedLinear(weight)
        return packed.PackedLinear(weight.to(self.dtype))


@dataclass
class DecoderLayer:
    """Packed weights of one decoder block: `itself` is W_o W_v of the self-attention, `key` and `value` are
    [H, K, D] with the encoder's last norm folded in."""

    itself: packed.PackedLinear
    query: packed.PackedLinear
    key_HKD: torch.Tensor
    value_HDK: torch.Tensor
    out: packed.PackedLinear
    up: packed.PackedLinear
    down: packed.PackedLinear


class Decoder:
    """The first decoder step over packed encoder states."""

    def __init__(self, module: OneStepT5, dtype: torch.dtype) -> None:
        t5 = module.t5
        config = t5.config
        self.dtype = dtype
        self.gated: bool = config.is_gated_act
        self.heads: int = config.num_heads
        self.epsilon: float = config.layer_norm_epsilon
        self.start_D = t5.decoder.embed_tokens.weight[module.start_id].detach().to(dtype)
        states_weight_D = t5.encoder.final_layer_norm.weight.detach().float()
        self.layers = [self._layer(block, states_weight_D) for block in t5.decoder.block]
        answers = t5.lm_head.weight[list(module.answer_ids)].detach().float()
        self.one_pass = dtype == torch.bfloat16 and attention.available(config.d_model)
        self.head_2D = answers * t5.decoder.final_layer_norm.weight.detach().float() * module.head_scale

    def __call__(self, states_TD: torch.Tensor, groups: list[Group]) -> torch.Tensor:
        """Logits [B, 2] float32."""
        pairs = sum(group.pairs for group in groups)
        state_BD = self.start_D.expand(pairs, -1).contiguous()
        for layer in self.layers:
            state_BD = layer.itself.added(norm(state_BD, self.epsilon), state_BD)
            query_BHK = layer.query(norm(state_BD, self.epsilon)).view(pairs, self.heads, -1)
            query_BHD = torch.matmul(query_BHK.transpose(0, 1), layer.key_HKD).transpose(0, 1)
            if self.one_pass:
                pooled_BHD = attention.pool(query_BHD, states_TD, lengths_of(groups))
            else:
                pooled_BHD = torch.cat(list(pool(query_BHD, states_TD, groups)))
            value_BHK = torch.matmul(pooled_BHD.transpose(0, 1), layer.value_HDK).transpose(0, 1)
            state_BD = layer.out.added(value_BHK.reshape(pairs, -1), state_BD)
            hidden_BF = layer.up(norm(state_BD, self.epsilon), "none" if self.gated else RELU)
            if self.gated:
                left_BF, right_BF = hidden_BF.chunk(2, dim=-1)
                hidden_BF = F.gelu(left_BF, approximate="tanh").mul_(right_BF)
            state_BD = layer.down.added(hidden_BF, state_BD)
        return F.linear(norm(state_BD.float(), self.epsilon), self.head_2D)

    def _layer(self, block: Any, states_weight_D: torch.Tensor) -> DecoderLayer:
        own, cross, feed_forward = block.layer[0], block.layer[1], block.layer[2]
        attention, dense = cross.EncDecAttention, feed_forward.DenseReluDense
        up = [dense.wi_0.weight, dense.wi_1.weight] if self.gated else [dense.wi.weight]

        def plain(weight: torch.Tensor) -> torch.Tensor:
            return weight.detach().float()

        def pack(weight: torch.Tensor) -> packed.PackedLinear:
            return packed.PackedLinear(weight.to(self.dtype))

        def by_head(weight: torch.Tensor) -> torch.Tensor:
            return (plain(weight) * states_weight_D).unflatten(0, (self.heads, -1))

        collapsed = plain(own.SelfAttention.o.weight) @ plain(own.SelfAttention.v.weight)
        return DecoderLayer(
            itself=pack(collapsed * plain(own.layer_norm.weight)),
            query=pack(plain(attention.q.weight) * plain(cross.layer_norm.weight)),
            key_HKD=by_head(attention.k.weight).to(self.dtype).contiguous(),
            value_HDK=by_head(attention.v.weight).transpose(1, 2).to(self.dtype).contiguous(),
            out=pack(plain(attention.o.weight)),
            up=pack(plain(torch.cat(up)) * plain(feed_forward.layer_norm.weight)),
            down=pack(plain(dense.wo.weight)),
        )


def pool(query_BHD: torch.Tensor, states_TD: torch.Tensor, groups: list[Group]) -> Any:
    """Encoder states averaged by one query's attention, [n, H, D] for each length."""
    first = 0
    for start, pairs, length in groups:
        states_nLD = states_TD[start : start + pairs * length].view(pairs, length, -1)
        scores_nHL = torch.bmm(query_BHD[first : first + pairs], states_nLD.transpose(1, 2))
        yield torch.bmm(torch.softmax(scores_nHL, dim=-1), states_nLD)
        first += pairs


def norm(states_TD: torch.Tensor, epsilon: float) -> torch.Tensor:
    """RMS norm without its weight, summed in float32."""
    width = states_TD.shape[-1]
    if states_TD.dtype == torch.float32:
        return F.rms_norm(states_TD, (width,), None, epsilon)
    length_T1 = torch.linalg.vector_norm(states_TD, dim=-1, keepdim=True, dtype=torch.float32)
    inverse_T1 = torch.rsqrt(length_T1.square() / width + epsilon)
    return torch.mul(states_TD, inverse_T1, out=torch.empty_like(states_TD))


def supports(module: Any) -> TypeGuard[OneStepT5]:
    """Whether `FastT5` can stand in for this module: a T5 on the CPU whose weights are all here, with one of
    the two feed-forwards of the family."""
    if not isinstance(module, OneStepT5) or not packed.available():
        return False
    config, weight = module.t5.config, module.t5.lm_head.weight
    known = config.dense_act_fn == (GATED if config.is_gated_act else RELU)
    return known and weight.device.type == "cpu" and not hasattr(weight, "ds_id")
