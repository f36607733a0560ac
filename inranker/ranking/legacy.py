"""`T5Ranker`, as the first InRanker package (1.x) had it: the same arguments, the same numbers, faster.

    from inranker import T5Ranker

    model = T5Ranker(model_name_or_path="unicamp-dl/InRanker-base")
    scores = model.get_scores(query="…", docs=["…", "…"])

Its numbers are those of its own procedure: prompts end with EOS and are cut on the right, so a long document loses
the prompt's end; P(true) is a softmax over the two answers. New code is better off with `Ranker`.
"""

import logging
from dataclasses import replace
from typing import Any, Literal, overload

import numpy as np
import torch
from tqdm.auto import tqdm

from inranker.errors import UserError
from inranker.rerankers import load_reranker
from inranker.rerankers.calibration import sigmoid
from inranker.rerankers.contract import token_ids
from inranker.rerankers.encode import PairEncoder
from inranker.rerankers.reranker import DTYPES, TOKEN_BUDGET

from .hardware import pick_device, pick_precision
from .ranker import require_utf8

log = logging.getLogger(__name__)

# Progress moves once so many batches.
BATCHES_A_STEP = 8


class T5Ranker:
    """P(true) of documents for a query.

    Args:
        model_name_or_path: directory or hub id of a monoT5. One without `reranker.json` is read as the original
            reads every model: English prompt, answers `▁false` and `▁true`.
        fp8: 8-bit products (on a CPU; the original needed a GPU and bitsandbytes).
        fp16: half precision, which is bfloat16 here: float16 overflows T5.
        bf16: bfloat16.
        batch_size: documents of a batch, at most; batches are made by length, so most hold another number.
        device: `cuda`, `mps` or `cpu`; None takes the first of them that is here.
        silent: whether to print nothing and show no progress.

    Raises:
        UserError: no such model or device, both fp16 and bf16, or fp16 on a CPU.
    """

    def __init__(
        self,
        model_name_or_path: str = "unicamp-dl/InRanker-base",
        fp8: bool = False,
        fp16: bool = False,
        bf16: bool = False,
        batch_size: int = 32,
        device: str | None = None,
        silent: bool = True,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size {batch_size} must be 1 or more")
        self.device = pick_device(device)
        self.batch_size = batch_size
        self.silent = silent
        dtype = self._precision(fp8, fp16, bf16)
        # Where there is a reranker.json, `family` only names it; elsewhere it is what the original assumes.
        self._reranker = load_reranker(
            model_name_or_path, self.device, dtype, family="monot5", truncation="legacy-inference"
        )
        self._encoders: dict[int, PairEncoder] = {}
        self.tokenizer = self._reranker.encoder.tokenizer
        self.model: Any = self._reranker.module.t5
        self.precision: torch.dtype = DTYPES[dtype]
        self.token_false_id, self.token_true_id = token_ids(self._reranker.contract, self.tokenizer)
        if not silent:
            print(f"{model_name_or_path} on {self.device} in {dtype}")

    @overload
    def get_scores(
        self, query: str, docs: list[str], max_length: int = 512, return_logits: Literal[False] = False
    ) -> list[float]: ...

    @overload
    def get_scores(
        self, query: str, docs: list[str], max_length: int = 512, *, return_logits: Literal[True]
    ) -> tuple[list[float], list[list[float]]]: ...

    def get_scores(
        self, query: str, docs: list[str], max_length: int = 512, return_logits: bool = False
    ) -> list[float] | tuple[list[float], list[list[float]]]:
        """P(true) of each document, in the order of `docs`.

        Args:
            query: what is asked.
            docs: texts.
            max_length: longest input in tokens; what is longer is cut on the right.
            return_logits: give the logits `[false, true]` of each document too.

        Raises:
            UserError: a text cannot be written as UTF-8, or max_length is too small.
        """
        logits_N2 = np.empty((len(docs), 2), np.float32)
        step = max(1, len(docs) if self.silent else BATCHES_A_STEP * self.batch_size)
        with tqdm(total=len(docs), desc="Rescoring", disable=self.silent) as bar:
            for start in range(0, len(docs), step):
                part = docs[start : start + step]
                logits_N2[start : start + len(part)] = self._logits(query, part, max_length)
                bar.update(len(part))
        scores = sigmoid(logits_N2[:, 1].astype(np.float64) - logits_N2[:, 0]).tolist()
        return (scores, logits_N2.tolist()) if return_logits else scores

    def _logits(self, query: str, docs: list[str], max_length: int) -> np.ndarray:
        encoder = self._encoder(max_length)
        require_utf8([query] * len(docs), docs)
        encoded = encoder.encode([query] * len(docs), docs)
        most = TOKEN_BUDGET["cuda" if self.device.startswith("cuda") else "cpu"]
        return self._reranker.logits(encoded, min(most, self.batch_size * max_length))

    def _encoder(self, max_length: int) -> PairEncoder:
        if max_length not in self._encoders:
            contract = replace(self._reranker.contract, max_length=max_length)
            self._encoders[max_length] = PairEncoder(self.tokenizer, contract)
        return self._encoders[max_length]

    def _precision(self, fp8: bool, fp16: bool, bf16: bool) -> str:
        if fp16 and bf16:
            raise UserError("fp16 and bf16 exclude each other; give one")
        if fp16 and self.device == "cpu":
            raise UserError("fp16 is for GPUs; leave it out, or give bf16=True")
        if fp8:
            return "int8"
        if fp16:
            log.warning("float16 overflows T5; using bfloat16 where the GPU has it, float32 elsewhere")
            return pick_precision(self.device)
        return "bfloat16" if bf16 else "float32"
