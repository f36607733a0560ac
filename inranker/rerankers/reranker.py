"""A loaded reranker: texts or token ids in, raw logits or scores out."""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import UserError
from .batching import pad
from .causal import load_causal
from .checkpoint import load_tokenizer, local_path
from .contract import Contract, load_contract, save_contract, token_ids
from .cpu import FastT5, supports
from .embeddings import Embeddings
from .encode import EncodedPairs, PairEncoder
from .encoder import load_cross_encoder
from .running import BatchRunner, keep_freed_memory
from .similarity import SimilarityEncoder, load_similarity
from .t5 import OneStepT5

# int8 keeps float32 weights in the module and makes 8-bit copies for inference.
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.float32,
}
# Tokens of a batch: on a CPU as many as keep a core's products efficient, on a GPU enough to fill it.
TOKEN_BUDGET = {"cpu": 4096, "cuda": 65536}


class Reranker:
    """A pointwise reranker, teacher and student alike.

    `module(input_ids_BL, mask_BL)` is the differentiable forward for training; `logits` and `score` are inference.
    """

    def __init__(self, module: nn.Module, encoder: PairEncoder, device: str = "cpu", dtype: str = "float32") -> None:
        self.module = module.to(device)
        self.encoder = encoder
        self.device = torch.device(device)
        self.dtype = dtype
        self._fast: tuple[Any, FastT5] | None = None
        self._freezing = Lock()
        compiled = partial(torch.compile, dynamic=True) if self.device.type == "cuda" else lambda function: function
        self._forward = compiled(module)
        self._embeddings: Embeddings | None = None
        if isinstance(module, SimilarityEncoder):
            self._embeddings = Embeddings(module, encoder.pad_id, self.device, compiled(module.embed))

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
        budget = token_budget or TOKEN_BUDGET.get(self.device.type, TOKEN_BUDGET["cpu"])
        lengths = encoded.lengths
        with torch.inference_mode():
            if self.dtype != "float16" and supports(self.module):
                fast = self._frozen(self.module, int(lengths.max(initial=1)))
                runner = BatchRunner(lambda rows: _fast_logits(fast, encoded, rows), lengths, budget, packed=True)
                return runner.run(torch.get_num_threads())
            was_training = self.module.training
            self.module.eval()
            try:
                if self._embeddings is not None:
                    return self._embeddings.logits(encoded, budget, self._weights())
                return BatchRunner(lambda rows: self._module_logits(encoded, rows), lengths, budget).run()
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

    def _module_logits(self, encoded: EncodedPairs, rows: np.ndarray) -> np.ndarray:
        input_ids_BL, mask_BL = pad(encoded, rows, self.encoder.pad_id)
        mask_BL = None if mask_BL is None else mask_BL.to(self.device)
        return self._forward(input_ids_BL.to(self.device), mask_BL).float().cpu().numpy()

    def _weights(self) -> Hashable:
        """What tells the weights from those before a training step or a load."""
        return tuple(
            (weight.data_ptr(), weight._version, float(weight.detach().view(-1)[:8].double().sum()))
            for weight in self.module.parameters()
        )

    def _frozen(self, module: OneStepT5, longest: int) -> FastT5:
        """The CPU copy of the weights, made again when they have changed (a training step, a load)."""
        with self._freezing:  # several threads may score
            state = self._weights()
            if self._fast is None or self._fast[0] != state:
                keep_freed_memory()
                self._fast = state, FastT5(module, self.dtype)
            self._fast[1].prepare(longest)
            return self._fast[1]


def _fast_logits(fast: FastT5, encoded: EncodedPairs, rows: np.ndarray) -> np.ndarray:
    taken = encoded.take(rows)
    # Grad mode is a thread's own; workers start with gradients on.
    with torch.inference_mode():
        return fast.logits(torch.from_numpy(taken.token_ids.astype(np.int64)), taken.lengths).numpy()


def scores(logits: np.ndarray, contract: Contract) -> np.ndarray:
    """What ranks, from raw logits [n, 2]: the margin true − false in float32, or the true logit alone."""
    return logits[:, 1] - logits[:, 0] if contract.score == "margin" else logits[:, 1].copy()


def load(name: str | Path, device: str = "cpu", dtype: str = "float32", **overrides: Any) -> Reranker:
    """Load a reranker from a directory or a hub id.

    Args:
        name: directory written by `save_pretrained` (or `Reranker.save`), or a hub id.
        device: where it runs, e.g. `cpu`, `cuda`.
        dtype: `float32`, `bfloat16`, (GPU) `float16`, or (T5 on a CPU) `int8`, which trains as float32 and scores
            with 8-bit products; logits leave as float32 whatever it is.
        overrides: fields of the contract (max_length, truncation, template, false_token, true_token, …).

    Raises:
        UserError: unknown family, tokens not in the vocabulary, no such checkpoint or dtype.
    """
    if dtype not in DTYPES:
        raise UserError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
    path = local_path(name)
    contract = load_contract(path, **overrides)
    encoder = PairEncoder(load_tokenizer(path), contract)
    module = MODULES[contract.architecture](path, encoder, DTYPES[dtype]).to(device).eval()
    if dtype == "int8" and not supports(module):
        raise UserError(f"{path}: int8 is for T5 rerankers on a CPU; use bfloat16 or float32")
    return Reranker(module, encoder, device, dtype)


def _load_t5(path: Path, encoder: PairEncoder, dtype: torch.dtype) -> nn.Module:
    from transformers import AutoModelForSeq2SeqLM

    t5 = AutoModelForSeq2SeqLM.from_pretrained(path, dtype=dtype)
    return OneStepT5(t5, *token_ids(encoder.contract, encoder.tokenizer))


MODULES: dict[str, Callable[[Path, PairEncoder, torch.dtype], nn.Module]] = {
    "t5": _load_t5,
    "encoder": load_cross_encoder,
    "similarity": load_similarity,
    "causal": load_causal,
}
