"""A reranker as `model.onnx`."""

import tempfile
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import UserError
from ..rerankers.similarity import SimilarityEncoder
from ..rerankers.t5 import OneStepT5
from .record import MODEL
from .t5_graph import t5_graph
from .traced import trace

WEIGHTS = "model.onnx.data"
# Small arrays (shapes, axes) stay in the model file.
LEAST_EXTERNAL_BYTES = 1024


def write_onnx(
    module: nn.Module, folder: Path, precision: str, external_data_bytes: int, reduce_range: bool = False
) -> None:
    """Write `model.onnx` (and, for a large model, `model.onnx.data` beside it) into `folder`.

    Args:
        module: a reranker's module, float32 weights on the CPU.
        folder: an empty directory.
        precision: `float32` or `int8`.
        external_data_bytes: weights of more bytes than this are kept in a file of their own.
        reduce_range: 7-bit weights, for processors whose 8-bit products overflow.

    Raises:
        UserError: the extra `export` is not installed, or the model has no ONNX form.
    """
    try:
        import onnx  # noqa: F401
        from onnxruntime.quantization import quantize_dynamic  # noqa: F401
    except ImportError as error:
        raise UserError(f"an ONNX export needs {error.name}; pip install 'inranker[export]'") from error
    if isinstance(module, SimilarityEncoder):
        raise UserError("a reranker by similarity has no ONNX form here; export a cross-encoder or a T5")
    size = sum(weight.numel() * weight.element_size() for weight in module.parameters())
    external = size > external_data_bytes
    quantised = precision == "int8"
    if isinstance(module, OneStepT5):
        _save(t5_graph(module, quantised, reduce_range), folder / MODEL, external)
    elif quantised:
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            _save(trace(module), Path(scratch) / MODEL, external)
            _quantise(Path(scratch) / MODEL, folder / MODEL, external, reduce_range)
    else:
        _save(trace(module), folder / MODEL, external)


def _quantise(source: Path, target: Path, external: bool, reduce_range: bool) -> None:
    """The runtime's dynamic quantisation: 8-bit weights with one scale an output; a tensor of activations gets its
    scale when it is there."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        reduce_range=reduce_range,
        weight_type=QuantType.QInt8,
        use_external_data_format=external,
        extra_options={"MatMulConstBOnly": True},
    )


def _save(model: Any, path: Path, external: bool) -> None:
    import onnx

    if external:
        onnx.save_model(
            model,
            path,
            save_as_external_data=True,
            location=WEIGHTS,
            size_threshold=LEAST_EXTERNAL_BYTES,
        )
    else:
        onnx.save_model(model, path)
