"""Element-wise steps of the 8-bit forward, each one pass over memory where a C++ compiler is at hand.

A token's activations are divided by their largest magnitude and rounded to a byte (dynamic quantisation, one
scale a token, so a pair's score does not depend on its batch mates). Scales commute with the matrix product and
with ReLU, so they are applied after it.

Dimensions: T tokens, D features, F feed-forward.
"""

import os
import shutil
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F

from .packed import MIDDLE

TINY = 1e-12
Quantized = tuple[torch.Tensor, torch.Tensor]


def norm_quantize(states_TD: torch.Tensor, epsilon: float) -> Quantized:
    """RMS norm without weight, as (uint8 around MIDDLE, scale of each token [T, 1])."""
    largest_T1 = states_TD.abs().amax(-1, keepdim=True).clamp(min=TINY)
    inverse_T1 = torch.rsqrt((states_TD * states_TD).mean(-1, keepdim=True) + epsilon)
    return (states_TD * (127 / largest_T1) + (MIDDLE + 0.5)).to(torch.uint8), largest_T1 * inverse_T1 * (1 / 127)


def add_norm_quantize(
    states_TD: torch.Tensor, update_TD: torch.Tensor, scale_T1: torch.Tensor, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The residual sum states + update · scale, and its `norm_quantize`."""
    states_TD = states_TD + update_TD.float() * scale_T1
    return (states_TD, *norm_quantize(states_TD, epsilon))


def quantize(values_TD: torch.Tensor) -> Quantized:
    """(uint8 around MIDDLE, scale of each token [T, 1])."""
    values_TD = values_TD.float()
    largest_T1 = values_TD.abs().amax(-1, keepdim=True).clamp(min=TINY)
    return (values_TD * (127 / largest_T1) + (MIDDLE + 0.5)).to(torch.uint8), largest_T1 * (1 / 127)


def quantize_positive(values_TF: torch.Tensor, scale_T1: torch.Tensor) -> Quantized:
    """(uint8 from 0, scale of each token) of values that are not negative and still lack `scale`."""
    values_TF = values_TF.float()
    largest_T1 = values_TF.amax(-1, keepdim=True).clamp(min=TINY)
    return (values_TF * (255 / largest_T1) + 0.5).to(torch.uint8), largest_T1 * scale_T1 * (1 / 255)


def gate_quantize(values_TF: torch.Tensor, scale_T1: torch.Tensor) -> Quantized:
    """`quantize` of gelu(left half) · right half, the halves still lacking `scale`."""
    left_TF, right_TF = (values_TF.float() * scale_T1).chunk(2, dim=-1)
    return quantize(F.gelu(left_TF, approximate="tanh") * right_TF)


def rescale(values_TD: torch.Tensor, scale_T1: torch.Tensor) -> torch.Tensor:
    """values · scale, rounded once to the dtype of `values`."""
    return (values_TD.float() * scale_T1).to(values_TD.dtype)


@cache
def fused(function: Callable) -> Callable:
    """The function compiled for one thread and any number of tokens; itself where there is no C++ compiler."""
    if not shutil.which(os.environ.get("CXX", "g++")):
        return function
    return torch.compile(function, dynamic=True, options={"cpp.threads": 1})
