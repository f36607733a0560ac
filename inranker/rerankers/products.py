"""Training on CPUs in float32: a layer's products, norm and attention with fewer passes over memory.

What differs from torch's modules: products go through oneDNN with weights laid out for it, which on AMD is faster than
MKL, and are laid out anew for every pass because an update changes them; q, k and v are one product; ReLU is part of
its product; a norm is one function with a backward pass of its own. The numbers are those of the modules but for the
last bits.

Dimensions: T tokens of a batch (pairs · length), B pairs, L tokens of a pair, H heads, K head width, D model, F
feed-forward, I inputs, O outputs.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from .packed import PackedLinear, available


def fits(block: nn.Module, states_BLD: torch.Tensor) -> bool:
    """Whether `encoder_layer` can stand in for a T5 block: in training, in float32, on a CPU, with whole weights
    (ZeRO-3 gathers a weight only for its own module's forward).

    The batch's size must not matter, though few tokens are not worth laying out a weight: gradients come in another
    order here, and ZeRO-2 adds up what its workers have in the order in which it comes.
    """
    return (
        torch.is_grad_enabled()
        and available()
        and states_BLD.device.type == "cpu"
        and states_BLD.dtype == torch.float32
        and all(_is_whole(weight) for weight in block.parameters())
        and all(module.bias is None for module in block.modules() if isinstance(module, nn.Linear))
    )


def _is_whole(weight: nn.Parameter) -> bool:
    return weight.dtype == torch.float32 and weight.device.type == "cpu" and not hasattr(weight, "ds_id")


def encoder_layer(block: nn.Module, states_BLD: torch.Tensor, bias_HLL: torch.Tensor) -> torch.Tensor:
    """One encoder block of a T5: self-attention and feed-forward, each with its residual; ask `fits` first."""
    layer: Any = block.layer
    attention = layer[0].SelfAttention
    normed_BLD = norm(states_BLD, layer[0].layer_norm.weight, layer[0].layer_norm.variance_epsilon)
    pooled_BLD = attend(attention, normed_BLD, bias_HLL)
    states_BLD = states_BLD + layer[0].dropout(product(pooled_BLD, attention.o.weight))
    normed_BLD = norm(states_BLD, layer[1].layer_norm.weight, layer[1].layer_norm.variance_epsilon)
    dense = layer[1].DenseReluDense
    hidden_BLF = dense.dropout(feed_forward(dense, normed_BLD))
    return states_BLD + layer[1].dropout(product(hidden_BLF, dense.wo.weight))


def feed_forward(dense: Any, normed_BLD: torch.Tensor) -> torch.Tensor:
    """The inner activations [B, L, F] of either feed-forward of the family."""
    if hasattr(dense, "wi_0"):
        return dense.act(product(normed_BLD, dense.wi_0.weight)) * product(normed_BLD, dense.wi_1.weight)
    if isinstance(dense.act, nn.ReLU):
        return product(normed_BLD, dense.wi.weight, relu=True)
    return dense.act(product(normed_BLD, dense.wi.weight))


def attend(attention: Any, normed_BLD: torch.Tensor, bias_HLL: torch.Tensor) -> torch.Tensor:
    """What each head pools, [B, L, H · K]; products are not scaled, `bias_HLL` is added before the softmax."""
    batch, length, _ = normed_BLD.shape
    weight = torch.cat([attention.q.weight, attention.k.weight, attention.v.weight])
    joined = product(normed_BLD, weight).view(batch, length, 3, attention.n_heads, -1)
    query_BHLK, key_BHLK, value_BHLK = joined.permute(2, 0, 3, 1, 4).unbind()
    scores_BHLL = torch.matmul(query_BHLK, key_BHLK.transpose(2, 3)) + bias_HLL
    weights_BHLL = torch.softmax(scores_BHLL, dim=-1)
    if attention.training and attention.dropout:
        weights_BHLL = F.dropout(weights_BHLL, attention.dropout)
    return torch.matmul(weights_BHLL, value_BHLK).transpose(1, 2).reshape(batch, length, -1)


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


def product(input_BLI: torch.Tensor, weight_OI: torch.Tensor, relu: bool = False) -> torch.Tensor:
    """x Wᵀ [B, L, O], with ReLU if asked for."""
    output_TO = _Product.apply(input_BLI.flatten(0, -2), weight_OI, relu)
    return output_TO.view(*input_BLI.shape[:-1], -1)


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


def norm(input_BLD: torch.Tensor, weight_D: torch.Tensor, epsilon: float) -> torch.Tensor:
    """T5's norm (https://arxiv.org/abs/1910.07467): x / √(mean x² + ε) · w, [B, L, D] as its input."""
    return _Norm.apply(input_BLD.flatten(0, -2), weight_D, epsilon).view_as(input_BLD)
