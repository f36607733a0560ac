"""What rerankers of other engines share: one batch at a time on each core, in batches of like lengths."""

from collections.abc import Callable, Sequence

import numpy as np

from ..rerankers.contract import Contract
from ..rerankers.encode import EncodedPairs, PairEncoder
from ..rerankers.reranker import scores
from ..rerankers.running import BatchRunner

# Inputs of a batch -> logits [b, 2]; called from several threads at once.
EngineBatch = Callable[[EncodedPairs], np.ndarray]


class EngineReranker:
    """A reranker that an engine runs, with the methods of `rerankers.reranker.Reranker` that inference needs.

    Args:
        encoder: tokenizer and contract.
        batch: the engine's forward.
        workers: batches at a time.
        token_budget: tokens of a batch unless `logits` is told otherwise.
        device: where it runs.
        precision: the export's.
    """

    def __init__(
        self, encoder: PairEncoder, batch: EngineBatch, workers: int, token_budget: int, device: str, precision: str
    ) -> None:
        self.encoder = encoder
        self.device = device
        self.precision = precision
        self.workers = workers
        self.token_budget = token_budget
        self._batch = batch

    @property
    def contract(self) -> Contract:
        """Template, tokens and score convention."""
        return self.encoder.contract

    def logits(self, encoded: EncodedPairs, token_budget: int | None = None) -> np.ndarray:
        """Raw logits [n, 2] float32, order (false, true), in input order.

        Args:
            encoded: inputs from this reranker's encoder.
            token_budget: tokens of a batch, padding included; halved for the rest when memory runs out.
        """
        lengths = encoded.lengths
        # A small request is cut into as many batches as there are workers, so that none stands idle.
        share = -(-int(lengths.sum()) // self.workers)
        budget = max(1, min(token_budget or self.token_budget, share))
        return BatchRunner(lambda rows: self._batch(encoded.take(rows)), lengths, budget).run(self.workers)

    def score(self, queries: Sequence[str], passages: Sequence[str], token_budget: int | None = None) -> np.ndarray:
        """What ranks: float32 [n], higher is better, in input order."""
        return scores(self.logits(self.encoder.encode(queries, passages), token_budget), self.contract)
