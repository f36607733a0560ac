"""Training on CPUs in float32: a layer's products, norm and attention with fewer passes over memory.

What differs from torch's modules: products go through oneDNN with weights laid out for it, which on AMD is faster than
MKL, and are laid out anew for every pass because an update changes them; padding is seen by attention alone; q, k and v
are one product; ReLU is part of its product; a norm is one function with a backward pass of its own. The numbers are
those of the modules but for the last bits, dropout's draws included.

Dimensions: T tokens of a batch, B pairs, L tokens of a pair, H heads, K head width, D model, F
feed-forward, I inputs, O outputs.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from .packed import PackedLinear, available


class Layout:
    """Where the tokens of a batch are: end to end without padding for all but attention, which sees one pair at a time.

    Args:
        shape: pairs and tokens of the longest, (B, L).
        mask_BL: True at real tokens; None where all are.
    """

    def __init__(self, shape: tuple[int, int], mask_BL: torch.Tensor | None) -> None:
        self.shape = shape
        self.place_T = None if mask_BL is None else mask_BL.flatten().nonzero()[:, 0]

    def pack(self, padded_BLD: torch.Tensor) -> torch.Tensor:
        """The real tokens [T, D]."""
        tokens_TD = padded_BLD.flatten(0, 1)
        return tokens_TD if self.place_T is None else _Take.apply(tokens_TD, self.place_T)

    def pad(self, tokens_TD: torch.Tensor) -> torch.Tensor:
        """The tokens in their pairs [B, L, D], zeros elsewhere."""
        if self.place_T is not None:
            tokens_TD = _Put.apply(tokens_TD, self.place_T, self.shape[0] * self.shape[1])
        return tokens_TD.unflatten(0, self.shape)

    def drop(self, dropout: nn.Module, tokens_TD: torch.Tensor) -> torch.Tensor:
        """Dropout by the draws that a padded batch would take, so that padding changes nothing."""
        if self.place_T is None or not dropout.training or not dropout.p:
            return dropout(tokens_TD)
        factors_BLD = dropout(tokens_TD.new_ones(*self.shape, tokens_TD.shape[1]))
        return tokens_TD * self.pack(factors_BLD)


class _Take(torch.autograd.Function):
    """Rows by number, none of them twice (index_select's gradient would allow for that, and is slow)."""

    @staticmethod
    def forward(ctx: Any, rows_ND: torch.Tensor, place_T: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(place_T)
        ctx.count = len(rows_ND)
        return rows_ND.index_select(0, place_T)

    @staticmethod
    def backward(ctx: Any, gradient_TD: torch.Tensor) -> tuple[torch.Tensor, None]:
        (place_T,) = ctx.saved_tensors
        return _Put.apply(gradient_TD, place_T, ctx.count), None


class _Put(torch.autograd.Function):
    """The inverse of `_Take`: zeros where no row is put."""

    @staticmethod
    def forward(ctx: Any, rows_TD: torch.Tensor, place_T: torch.Tensor, count: int) -> torch.Tensor:
        ctx.save_for_backward(place_T)
        return rows_TD.new_zeros(count, rows_TD.shape[1]).index_copy_(0, place_T, rows_TD)

    @staticmethod
    def backward(ctx: Any, gradient_ND: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (place_T,) = ctx.saved_tensors
        return _Take.apply(gradient_ND, place_T), None, None


def fits(encoder: nn.Module, embedded_BLD: torch.Tensor) -> bool:
    """Whether `encoder_layer` can stand in for the blocks of a T5's encoder: in training, in float32, on a CPU, with
    whole weights (ZeRO-3 gathers a weight only for its own module's forward).

    The batch's size must not matter, though few tokens are not worth laying out a weight: gradients come in another
    order here, and ZeRO-2 adds up what its workers have in the order in which it comes.
    """
    return (
        torch.is_grad_enabled()
        and available()
        and embedded_BLD.device.type == "cpu"
        and embedded_BLD.dtype == torch.float32
        and all(_is_whole(weight) for weight in encoder.parameters())
        and all(module.bias is None for module in encoder.modules() if isinstance(module, nn.Linear))
    )


def _is_whole(weight: nn.Parameter) -> bool:
    return weight.dtype == torch.float32 and weight.device.type == "cpu" and not hasattr(weight, "ds_id")


def encoder_layer(block: nn.Module, states_TD: torch.Tensor, bias_HLL: torch.Tensor, layout: Layout) -> torch.Tensor:
    """One encoder block of a T5: self-attention and feed-forward, each with its residual; ask `fits` first."""
    layer: Any = block.layer
    attention = layer[0].SelfAttention
    normed_TD = norm(states_TD, layer[0].layer_norm.weight, layer[0].layer_norm.variance_epsilon)
    pooled_TD = attend(attention, normed_TD, bias_HLL, layout)
    states_TD = states_TD + layout.drop(layer[0].dropout, product(pooled_TD, attention.o.weight))
    normed_TD = norm(states_TD, layer[1].layer_norm.weight, layer[1].layer_norm.variance_epsilon)
    dense = layer[1].DenseReluDense
    hidden_TF = layout.drop(dense.dropout, feed_forward(dense, normed_TD))
    return states_TD + layout.drop(layer[1].dropout, product(hidden_TF, dense.wo.weight))


def feed_forward(dense: Any, normed_TD: torch.Tensor) -> torch.Tensor:
    """The inner activations [T, F] of either feed-forward of the family."""
    if hasattr(dense, "wi_0"):
        return dense.act(product(normed_TD, dense.wi_0.weight)) * product(normed_TD, dense.wi_1.weight)
    if isinstance(dense.act, nn.ReLU):
        return product(normed_TD, dense.wi.weight, relu=True)
    return dense.act(product(normed_TD, dense.wi.weight))


def attend(attention: Any, normed_TD: torch.Tensor, bias_HLL: torch.Tensor, layout: Layout) -> torch.Tensor:
    """What each head pools, [T, H · K]; products are not scaled, `bias_HLL` is added before the softmax."""
    weight = torch.cat([attention.q.weight, attention.k.weight, attention.v.weight])
    joined_BL3HK = layout.pad(product(normed_TD, weight)).unflatten(2, (3, attention.n_heads, -1))
    query_BHLK, key_BHLK, value_BHLK = joined_BL3HK.permute(2, 0, 3, 1, 4).unbind()
    scores_BHLL = torch.matmul(query_BHLK, key_BHLK.transpose(2, 3)) + bias_HLL
    weights_BHLL = torch.softmax(scores_BHLL, dim=-1)
    if attention.training and attention.dropout:
        weights_BHLL = F.dropout(weights_BHLL, attention.dropout)
    return layout.pack(torch.matmul(weights_BHLL, value_BHLK).transpose(1, 2).flatten(2))


class _Product(torch.autograd.Function):
    """x Wᵀ, with ReLU if asked for."""

    @staticmethod
    def forward(ctx: Any, input_TI: torch.Tensor, weight_OI: torch.Tensor, relu: bool) -> torch.Tensor:
        output_TO = PackedLinear(weight_OI)(input_TI, "relu" if relu else "none")
        ctx.save_for_backward(input_TI, weight_OI, output_TO if relu else None)
        return output_TO

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_TO: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        input_TI, weight_OI, output_TO = ctx.saved_tensors
        if output_TO is not None:
            gradient_TO = torch.ops.aten.threshold_backward(gradient_TO, output_TO, 0)
        # oneDNN would lay out the tokens for W's gradient, which takes longer than MKL's product as they lie.
        return PackedLinear(weight_OI.t())(gradient_TO), gradient_TO.t() @ input_TI, None


def product(input_TI: torch.Tensor, weight_OI: torch.Tensor, relu: bool = False) -> torch.Tensor:
    """x Wᵀ [T, O], with ReLU if asked for."""
    output_TO: torch.Tensor = _Product.apply(input_TI, weight_OI, relu)
    return output_TO


class _Norm(torch.autograd.Function):
    """x / √(mean x² + ε) · w."""

    @staticmethod
    def forward(ctx: Any, input_TD: torch.Tensor, weight_D: torch.Tensor, epsilon: float) -> torch.Tensor:
        square_T1 = torch.linalg.vector_norm(input_TD, dim=-1, keepdim=True).square_()
        inverse_T1 = square_T1.div_(input_TD.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(input_TD, weight_D, inverse_T1)
        return (input_TD * inverse_T1).mul_(weight_D)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_TD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        input_TD, weight_D, inverse_T1 = ctx.saved_tensors
        weighted_TD = gradient_TD * input_TD
        of_weight_D = (inverse_T1.t() @ weighted_TD)[0]
        along_T1 = (weighted_TD @ weight_D)[:, None].mul_(inverse_T1**3).div_(input_TD.shape[-1])
        of_input_TD = torch.mul(gradient_TD, weight_D, out=weighted_TD).mul_(inverse_T1)
        return of_input_TD.addcmul_(input_TD, along_T1, value=-1), of_weight_D, None


def norm(input_TD: torch.Tensor, weight_D: torch.Tensor, epsilon: float) -> torch.Tensor:
    """T5's norm (https://arxiv.org/abs/1910.07467): x / √(mean x² + ε) · w, [T, D] as its input."""
    output_TD: torch.Tensor = _Norm.apply(input_TD, weight_D, epsilon)
    return output_TD
