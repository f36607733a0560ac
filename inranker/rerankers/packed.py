"""Linear maps for CPU inference: weights laid out once for oneDNN, activations as float32, bfloat16 or 8-bit.

torch's own `F.linear` re-orders the weight on every call in bfloat16 and goes through MKL in float32, which is
slower than oneDNN on AMD.

Dimensions: T tokens, K inputs, N outputs.
"""

from typing import Any

import torch

# Rows that oneDNN is told to expect when it chooses a weight layout.
EXPECTED_ROWS = 2048
# Signed activations are stored as unsigned bytes around this value, the form VNNI multiplies.
MIDDLE = 128


def available() -> bool:
    """Whether this build of torch has the oneDNN operators that this module calls."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


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


class QuantizedLinear:
    """y = x Wᵀ with 8-bit weights (one scale an output) and 8-bit activations; the caller keeps the scale of
    each token, which multiplies the result."""

    def __init__(self, weight_NK: torch.Tensor) -> None:
        weight_NK = weight_NK.float()
        self._scale_N = weight_NK.abs().amax(1).clamp(min=1e-12) / 127
        rounded_NK = torch.round(weight_NK / self._scale_N[:, None]).to(torch.int8)
        self._zero_N = torch.zeros(len(rounded_NK), dtype=torch.int32)
        self._weight: Any = torch.ops.onednn.qlinear_prepack(rounded_NK, [EXPECTED_ROWS, rounded_NK.shape[1]])

    def __call__(self, input_TK: torch.Tensor, zero: int, activation: str = "none") -> torch.Tensor:
        """(x − zero) Wᵀ in bfloat16 for x uint8."""
        return torch.ops.onednn.qlinear_pointwise(
            input_TK, 1.0, zero, self._weight, self._scale_N, self._zero_N, None, 1.0, 0, torch.bfloat16,
            activation, [], "",
        )  # fmt: skip
