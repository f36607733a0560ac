"""The `transformers` engine: any causal language model of a directory or the hub, GGUF included."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TransformersIdentity:
    """What the text depends on besides model and decoding."""

    gguf_file: str | None = None
    """Name of a GGUF file in the model's directory or repository; its weights are taken back to `dtype`."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Arithmetic of the forward pass."""
    tokenizer: str | None = None
    """Directory or hub id of the tokenizer; null: the model's own."""


@dataclass(frozen=True)
class TransformersExecution:
    """How the engine runs."""

    batch_tokens: int = 16_384
    """Tokens of a batch, padding and the tokens to come included; out of memory halves it."""
