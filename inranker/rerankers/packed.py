"""Linear maps for CPU inference: weights laid out once for oneDNN, activations as float32, bfloat16 or 8-bit.

torch's own `F.linear` re-orders the weight on every call in bfloat16 and goes through MKL in float32, which is
slower than oneDNN on AMD.

Dimensions: T tokens, K inputs, N outputs.
"""

import platform
from typing import Any

import torch

# Rows that oneDNN is told to expect when it chooses a weight layout.
EXPECTED_ROWS = 2048
# Signed activations are stored as unsigned bytes around this value, the form VNNI multiplies.
MIDDLE = 128


def available() -> bool:
    """Whether this build of torch has the oneDNN operators that this module calls."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def multiplies_bfloat16() -> bool:
    """Whether this CPU has bfloat16 products (AVX-512 BF16 or AMX)."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def working_dtype() -> torch.dtype:
    """What a forward in less than float32 computes in: bfloat16, or float32 where bfloat16 would only be slower.

    Without the instructions oneDNN refuses packed bfloat16 weights, and runs plain ones far more slowly than float32.
    """
    return torch.bfloat16 if multiplies_bfloat16() else torch.float32


class PackedLinear:
    """y = x Wᵀ in the weight's own dtype, optionally with ReLU or with a residual added in the same pass."""

    def __init__(self, weight_NK: torch.Tensor) -> None:
        self._weight: Any = torch.ops.mkldnn._reorder_linear_weight(weight_NK.contiguous(), EXPECTED_ROWS)

    def __call__(self, input_TK: torch.Tensor, activation: str = "none") -> torch.Tensor:
        """x Wᵀ, with `activation` `none` or `relu`."""
        return torch.ops.mkldnn._linear_pointwise(input_TK, self._weight, None, activation, [], "")

    def added(self, input_TK: torch.Tensor, residual_TN: torch.Tensor) -> torch.Tensor:
        """residual + x Wᵀ."""
        return torch.ops.mkldnn._linear_pointwise.binary(input_TK, residual_TN, self._weight, None, "add")


def multiplies_in_16_bits() -> bool:
    """Whether this is an x86 processor without VNNI: it adds two products of bytes in 16 bits and cuts off the rest."""
    return platform.machine().lower() in ("x86_64", "amd64") and not torch.cpu._is_vnni_supported()


def multiplies_bytes() -> bool:
    """Whether 8-bit products are exact here and may leave as bfloat16."""
    return torch.cpu._is_vnni_supported() and multiplies_bfloat16()


class QuantizedLinear:
    """y = x Wᵀ with 8-bit weights (one scale an output) and 8-bit activations; the caller keeps the scale of
    each token, which multiplies the result. Where the CPU has no such products, the same numbers are multiplied in
    float32."""

    def __init__(self, weight_NK: torch.Tensor) -> None:
        weight_NK = weight_NK.float()
        self._scale_N = weight_NK.abs().amax(1).clamp(min=1e-12) / 127
        rounded_NK = torch.round(weight_NK / self._scale_N[:, None])
        self._emulated = None if multiplies_bytes() else PackedLinear(rounded_NK * self._scale_N[:, None])
        if self._emulated is None:
            self._zero_N = torch.zeros(len(rounded_NK), dtype=torch.int32)
            shape = [EXPECTED_ROWS, rounded_NK.shape[1]]
            self._weight: Any = torch.ops.onednn.qlinear_prepack(rounded_NK.to(torch.int8), shape)

    def __call__(self, input_TK: torch.Tensor, zero: int, activation: str = "none") -> torch.Tensor:
        """(x − zero) Wᵀ in `working_dtype` for x uint8."""
        if self._emulated is not None:
            return self._emulated(input_TK.float().sub_(zero), activation).to(working_dtype())
        return torch.ops.onednn.qlinear_pointwise(
            input_TK, 1.0, zero, self._weight, self._scale_N, self._zero_N, None, 1.0, 0, torch.bfloat16,
            activation, [], "",
        )  # fmt: skip
