"""Cross-encoders and causal rerankers as ONNX graphs, traced by torch's own exporter."""

import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import UserError
from .graph import OPSET

# Lengths of the two example inputs; torch takes 0 and 1 for constants.
EXAMPLE = (2, 12)


class WithIntegerMask(nn.Module):
    """A reranker whose mask is int64 and always there, as other engines' users give it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Logits [batch, 2] float32."""
        return self.module(input_ids, attention_mask.bool())


def trace(module: nn.Module) -> Any:
    """The module's graph, with the inputs and the output of `Graph.model`.

    Raises:
        UserError: torch cannot trace it, or `onnxscript` is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"an ONNX export of this model needs {error.name}; pip install 'inranker[export]'") from error
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    axes = {0: batch, 1: length}
    input_ids = torch.full(EXAMPLE, 5)
    mask = torch.ones(EXAMPLE, dtype=torch.int64)
    mask[1, -3:] = 0
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad(), tempfile.TemporaryDirectory() as scratch:
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                WithIntegerMask(module.eval()),
                (input_ids, mask),
                input_names=["input_ids", "attention_mask"],
                output_names=["logits"],
                dynamic_shapes=(axes, axes),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        except Exception as error:
            # The tracer has no exception of its own that covers what a model's code may run into.
            reason = str(error).strip().partition("\n")[0]
            raise UserError(
                f"torch cannot trace {type(module).__name__} to ONNX ({reason}); use the backend torch"
            ) from error
        assert program is not None
        file = Path(scratch) / "model.onnx"
        program.save(file)
        model = onnx.load(file)
    if not all(axis.dim_param for value in model.graph.input for axis in value.type.tensor_type.shape.dim):
        raise UserError(f"{type(module).__name__} fixes its batch or length when traced to ONNX; use the backend torch")
    return model
