"""A loaded reranker: texts or token ids in, raw logits or scores out."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import UserError
from .batching import pad, plan_batches
from .causal import load_causal
from .checkpoint import load_tokenizer, local_path
from .contract import Contract, load_contract, save_contract, token_ids
from .encode import EncodedPairs, PairEncoder
from .encoder import load_cross_encoder
from .t5 import OneStepT5

log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Tokens of a batch: on a CPU as many as stay in cache, on a GPU enough to fill it.
TOKEN_BUDGET = {"cpu": 4096, "cuda": 65536}


class Reranker:
    """A pointwise reranker, teacher and student alike.

    `module(input_ids_BL, mask_BL)` is the differentiable forward for training; `logits` and `score` are inference.
    """

    def __init__(self, module: nn.Module, encoder: PairEncoder, device: str = "cpu") -> None:
        self.module = module.to(device)
        self.encoder = encoder
        self.device = torch.device(device)

    @property
    def contract(self) -> Contract:
        """Template, tokens and score convention."""
        return self.encoder.contract

    @property
    def parameters_count(self) -> int:
        """Number of weights, shared ones counted once."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    def logits(self, encoded: EncodedPairs, token_budget: int | None = None) -> np.ndarray:
        """Raw logits [n, 2] float32, order (false, true), in input order.

        Args:
            encoded: inputs from this reranker's encoder.
            token_budget: tokens of a batch, padding included; halved for the rest when memory runs out.
        """
        budget = token_budget or TOKEN_BUDGET.get(self.device.type, 4096)
        was_training = self.module.training
        self.module.eval()
        try:
            with torch.no_grad():
                return _all_rows(encoded, budget, self._batch_logits)
        finally:
            self.module.train(was_training)

    def score(self, queries: Sequence[str], passages: Sequence[str], token_budget: int | None = None) -> np.ndarray:
        """What ranks: float32 [n], higher is better, in input order."""
        logits = self.logits(self.encoder.encode(queries, passages), token_budget)
        return scores(logits, self.contract)

    def save(self, path: str | Path) -> None:
        """Write weights (safetensors), config, tokenizer and reranker.json into the directory `path`."""
        hugging_face: Any = self.module.t5 if isinstance(self.module, OneStepT5) else self.module.model
        hugging_face.save_pretrained(path)
        self.encoder.tokenizer.save_pretrained(path)
        save_contract(path, self.contract)

    def _batch_logits(self, encoded: EncodedPairs, rows: np.ndarray) -> np.ndarray:
        input_ids_BL, mask_BL = pad(encoded, rows, self.encoder.pad_id)
        mask_BL = None if mask_BL is None else mask_BL.to(self.device)
        return self.module(input_ids_BL.to(self.device), mask_BL).float().cpu().numpy()


def scores(logits: np.ndarray, contract: Contract) -> np.ndarray:
    """What ranks, from raw logits [n, 2]: the margin true − false in float32, or the true logit alone."""
    return logits[:, 1] - logits[:, 0] if contract.score == "margin" else logits[:, 1].copy()


def load(name: str | Path, device: str = "cpu", dtype: str = "float32", **overrides: Any) -> Reranker:
    """Load a reranker from a directory or a hub id.

    Args:
        name: directory written by `save_pretrained` (or `Reranker.save`), or a hub id.
        device: where it runs, e.g. `cpu`, `cuda`.
        dtype: `float32`, `bfloat16` or (GPU) `float16`; logits leave as float32 whatever it is.
        overrides: fields of the contract (max_length, truncation, template, false_token, true_token, …).

    Raises:
        UserError: unknown family, tokens not in the vocabulary, no such checkpoint or dtype.
    """
    if dtype not in DTYPES:
        raise UserError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
    path = local_path(name)
    contract = load_contract(path, **overrides)
    encoder = PairEncoder(load_tokenizer(path), contract)
    return Reranker(MODULES[contract.architecture](path, encoder, DTYPES[dtype]), encoder, device)


def _load_t5(path: Path, encoder: PairEncoder, dtype: torch.dtype) -> nn.Module:
    from transformers import AutoModelForSeq2SeqLM

    t5 = AutoModelForSeq2SeqLM.from_pretrained(path, dtype=dtype)
    return OneStepT5(t5, *token_ids(encoder.contract, encoder.tokenizer))


MODULES: dict[str, Callable[[Path, PairEncoder, torch.dtype], nn.Module]] = {
    "t5": _load_t5,
    "encoder": load_cross_encoder,
    "causal": load_causal,
}


def _all_rows(
    encoded: EncodedPairs, budget: int, batch_logits: Callable[[EncodedPairs, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Logits of every row in order; out of memory halves the budget for the rows that are left."""
    logits = np.empty((len(encoded), 2), dtype=np.float32)
    lengths = encoded.lengths
    left, warned = np.arange(len(encoded)), False
    while len(left):
        rows = left[plan_batches(lengths[left], budget)[0]]
        try:
            logits[rows] = batch_logits(encoded, rows)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(rows) == 1:
                raise
            budget = max(1, min(budget, len(rows) * int(lengths[rows].max())) // 2)
            if not warned:
                log.warning("out of memory: continuing with batches of %d tokens", budget)
            warned = True
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        left = np.setdiff1d(left, rows, assume_unique=True)
    return logits


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on a GPU or on the CPU (where torch has no exception of its own for it)."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return "not enough memory" in str(error) or "out of memory" in str(error)
