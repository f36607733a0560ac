"""One model that is served: tokenises in one thread, scores in another, both shared by all requests."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inranker.ranking.ranker import Ranker
from inranker.ranking.windows import Windows, split_long
from inranker.rerankers.encode import EncodedPairs
from inranker.rerankers.reranker import TOKEN_BUDGET, scores
from inranker.serving.batcher import TokenBatcher
from inranker.serving.metrics import Metrics
from inranker.types import Passage

GENERIC = ("model", "student")  # what jobs call the checkpoint in their output
SMOOTHING = 0.2  # weight of the last batch in the estimated speed


@dataclass(frozen=True)
class Scored:
    """Scores and probabilities of passages [n], in their order, and the tokens read."""

    scores: np.ndarray
    probabilities: np.ndarray
    tokens: int


class Engine:
    """A ranker behind a queue.

    Args:
        name: what requests call it.
        ranker: the model; from now on nobody else may use it.
        batch_tokens: tokens of a batch; None takes what keeps the device busy.
        metrics: where to count.
        in_windows: read passages longer than the model reads in windows, of which the best counts.
    """

    def __init__(
        self, name: str, ranker: Ranker, batch_tokens: int | None, metrics: Metrics, in_windows: bool = False
    ) -> None:
        self.name = name
        self._in_windows = in_windows
        self.ranker = ranker
        self.created = int(time.time())
        self.queued = 0
        self.speed: float | None = None
        """passages per second, of the last batches; None before the first"""
        self._metrics = metrics
        # A tokenizer's truncation is state of its own, so it is one thread's; it works on several cores by itself.
        self._tokenizing = ThreadPoolExecutor(1, thread_name_prefix="tokenizing")
        self._batcher = TokenBatcher(self._score, batch_tokens or default_batch_tokens(ranker))

    @property
    def max_length(self) -> int:
        """Tokens of a pair that the model reads."""
        return self.ranker.reranker.contract.max_length

    @property
    def alive(self) -> bool:
        """Whether its scoring thread runs."""
        return self._batcher.alive

    async def score(self, query: str, passages: Sequence[str], max_tokens: int | None = None) -> Scored:
        """Score passages for a query; cancelling it drops what is not scored yet.

        Args:
            query: what is searched for.
            passages: texts [n].
            max_tokens: tokens of a passage to read at most; the model's own limit holds besides.

        Raises:
            FloatingPointError: a score is not finite.
        """
        self._count(len(passages))
        try:
            loop = asyncio.get_running_loop()
            encoded, windows = await loop.run_in_executor(self._tokenizing, self._encode, query, passages, max_tokens)
            values = await self._batcher.submit(encoded)
            values = values if windows is None else windows.best(values)
        finally:
            self._count(-len(passages))
        if not np.isfinite(values).all():
            raise FloatingPointError(f"model {self.name} gave a score that is not finite")
        probabilities = np.asarray(self.ranker.probabilities(values))
        return Scored(values, probabilities, int(encoded.lengths.sum()))

    def warm_up(self) -> None:
        """Score a passage in the threads that will score, so that the first request finds everything compiled."""
        # On a thread of its own, since the caller may have an event loop already.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, self.score("warm up", ["the first passage is the slowest"])).result()
        self.speed = None

    def close(self) -> None:
        """Finish what waits, then end both threads."""
        self._tokenizing.shutdown()
        self._batcher.close()

    def _encode(
        self, query: str, passages: Sequence[str], max_tokens: int | None
    ) -> tuple[EncodedPairs, Windows | None]:
        """What to score, and how scores of windows become scores of passages."""
        encoder = self.ranker.reranker.encoder
        if max_tokens is not None and max_tokens < self.max_length:
            passages = cut(passages, max_tokens, encoder.tokenizer.backend_tokenizer)
        queries = [query] * len(passages)
        encoded = encoder.encode(queries, passages)
        if not self._in_windows or not encoded.truncated.any():
            return encoded, None
        windows = split_long(encoder, queries, [Passage("", text) for text in passages], encoded.truncated)
        return encoder.encode(windows.queries, windows.passages), windows

    def _score(self, encoded: EncodedPairs) -> np.ndarray:
        start = time.perf_counter()
        if torch.get_num_threads() != self.ranker.threads:
            torch.set_num_threads(self.ranker.threads)
        values = scores(self.ranker.reranker.logits(encoded, self.ranker.token_budget), self.ranker.reranker.contract)
        seconds = max(time.perf_counter() - start, 1e-9)
        speed = len(encoded) / seconds
        self.speed = speed if self.speed is None else self.speed + SMOOTHING * (speed - self.speed)
        tokens = int(encoded.offsets[-1])
        self._metrics.add("passages", len(encoded), model=self.name)
        self._metrics.add("tokens", tokens, model=self.name)
        self._metrics.add("batch_tokens", tokens, model=self.name)
        self._metrics.add("batch_seconds", seconds, model=self.name)
        return values

    def _count(self, passages: int) -> None:
        self.queued += passages
        self._metrics.add("queued_passages", self.queued, model=self.name)


def default_batch_tokens(ranker: Ranker) -> int:
    """On a CPU one of the model's batches for each thread; on a GPU one."""
    device = str(getattr(ranker, "device", "cpu")).partition(":")[0]
    budget = ranker.token_budget or TOKEN_BUDGET.get(device, TOKEN_BUDGET["cpu"])
    return budget * (ranker.threads if device == "cpu" else 1)


def cut(passages: Sequence[str], tokens: int, tokenizer: Any) -> list[str]:
    """Each passage up to the end of its token number `tokens`."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    encodings = tokenizer.encode_batch(list(passages), add_special_tokens=False)
    return [
        passage[: encoding.offsets[tokens - 1][1]] if len(encoding.offsets) > tokens else passage
        for passage, encoding in zip(passages, encodings, strict=True)
    ]


def model_name(model: str) -> str:
    """What requests call a model: a hub id as it is, a directory by the last part of its path that says something."""
    if not Path(model).is_dir():
        return model
    path = Path(model).resolve()
    return path.parent.name if path.name in GENERIC and path.parent.name else path.name
