"""A T5 reranker as a CTranslate2 model."""

from pathlib import Path
from typing import Any

from ..errors import UserError
from ..rerankers.t5 import OneStepT5, head_scale

# Model types that CTranslate2 converts and that a one-step reranker can be.
MODEL_TYPES = ("t5", "mt5", "umt5")


def write_ct2(module: Any, checkpoint: Path, folder: Path, precision: str) -> None:
    """Write a CTranslate2 model into `folder`.

    Args:
        module: the loaded reranker's module; says how its family scales the head.
        checkpoint: the directory it came from; the converter reads it again.
        folder: a directory that does not exist yet.
        precision: `float32` or `int8` (8-bit weights, activations quantised row by row).

    Raises:
        UserError: the extra `export` is not installed, or CTranslate2 has no form of this model.
    """
    if not isinstance(module, OneStepT5) or module.t5.config.model_type not in MODEL_TYPES:
        raise UserError(f"{checkpoint}: CTranslate2 takes T5 rerankers alone; use format onnx")
    try:
        from ctranslate2.converters import TransformersConverter
    except ImportError as error:
        raise UserError("an export to CTranslate2 needs ctranslate2; pip install 'inranker[export]'") from error

    class Converter(TransformersConverter):
        """CTranslate2 scales the head of a T5 by whether its embeddings are tied, which recent transformers says of
        every T5; each family's own rule is told instead."""

        def load_model(self, model_class: Any, path: str, **options: Any) -> Any:
            model = super().load_model(model_class, path, **options)
            model.config.tie_word_embeddings = head_scale(model.config) != 1.0
            return model

    try:
        Converter(str(checkpoint)).convert(str(folder), quantization=precision)
    except (ValueError, NotImplementedError, KeyError) as error:
        raise UserError(f"{checkpoint}: CTranslate2 cannot convert it ({error}); use format onnx") from error
