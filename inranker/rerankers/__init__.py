"""Rerankers: one contract from (query, passage) to raw logits [n, 2], whatever the model.

Importing this package imports neither torch nor transformers; loading something does.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .contract import Contract, load_contract, save_contract, token_ids
from .encode import EncodedPairs, PairEncoder

if TYPE_CHECKING:
    from .reranker import Reranker

__all__ = [
    "Contract",
    "EncodedPairs",
    "PairEncoder",
    "load_contract",
    "load_encoder",
    "load_reranker",
    "save_contract",
    "scorer_identity",
    "token_ids",
]


def load_encoder(name: str | Path, **overrides: Any) -> PairEncoder:
    """Tokenizer and contract of a checkpoint, without its weights: what tokenising workers need."""
    from .checkpoint import load_tokenizer, local_path

    path = local_path(name)
    return PairEncoder(load_tokenizer(path), load_contract(path, **overrides))


def load_reranker(name: str | Path, device: str = "cpu", dtype: str = "float32", **overrides: Any) -> "Reranker":
    """Load a reranker; see `reranker.load`."""
    from .reranker import load

    return load(name, device, dtype, **overrides)


def scorer_identity(name: str | Path, dtype: str = "float32", **overrides: Any) -> dict[str, Any]:
    """What makes logits interchangeable; see `checkpoint.scorer_identity`."""
    from .checkpoint import scorer_identity as identity

    return identity(name, dtype, **overrides)
