"""`Ranker`: passages in, the same passages best first.

from inranker import Ranker

ranker = Ranker("unicamp-dl/InRanker-small")
for hit in ranker.rank("how do reefs form", passages, top_k=10):
    print(hit.score, hit.passage)
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch

from inranker.errors import UserError
from inranker.rerankers import load_reranker
from inranker.rerankers.calibration import calibrated
from inranker.rerankers.encode import EncodedPairs
from inranker.rerankers.reranker import scores as scores_of
from inranker.types import Passage

from .hardware import pick_device, pick_precision, usable_cores
from .passages import as_passages
from .windows import split_long

LongPassages = Literal["truncate", "windows"]
LONG_PASSAGES = ("truncate", "windows")


@dataclass(frozen=True)
class RankedPassage:
    """A passage in its place."""

    index: int
    """Its place in the list that was given, from 0."""
    score: float
    """What ranks: the margin true − false (or the true logit, where the reranker's contract says so)."""
    probability: float
    """For display and thresholds: calibrated where `reranker.json` holds a calibration, else sigmoid(score)."""
    passage: Any
    """The caller's own object."""


class Ranker:
    """A reranker ready for use, on the device and in the precision that suit this machine.

    Args:
        model: directory of a checkpoint, or a hub id.
        backend: `torch`, `onnx` or `ct2`; the latter two read what `inranker export` wrote.
        device: `cuda`, `cuda:1`, `mps`, `cpu`; None takes the best that is here.
        precision: `float32`, `bfloat16` or (T5 on a CPU) `int8`; None takes bfloat16 where the chip multiplies it
            natively and float32 elsewhere.
        threads: CPU threads, for the whole process; None uses the cores that the process may use.
        token_budget: tokens of a batch; None leaves it to the backend.
        overrides: fields of the contract: max_length, truncation, template, false_token, true_token.

    Raises:
        UserError: no such model, device, backend or precision.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        backend: str = "torch",
        device: str | None = None,
        precision: str | None = None,
        threads: int | None = None,
        token_budget: int | None = None,
        **overrides: Any,
    ) -> None:
        if threads is not None and threads < 1:
            raise UserError(f"threads {threads} must be 1 or more")
        if token_budget is not None and token_budget < 1:
            raise UserError(f"token_budget {token_budget} must be 1 or more")
        self.model = str(model)
        self.backend = backend
        self.threads = threads or _default_threads()
        self.token_budget = token_budget
        if backend == "torch":
            self.device = pick_device(device)
            self.precision = pick_precision(self.device, precision)
            if self.precision == "float16":
                raise UserError("precision float16 overflows in T5; use bfloat16 or float32")
            self.reranker: Any = load_reranker(model, self.device, self.precision, **overrides)
        else:
            self.reranker = _load_exported(model, backend, device, precision, self.threads, overrides)
            self.device, self.precision = self.reranker.device, self.reranker.precision

    def logits(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Raw logits [n, 2] float32, order (false, true), of (query, passage) pairs, in their order.

        All pairs are sorted by length together, whatever their queries.

        Raises:
            UserError: a pair is not two strings, or a text cannot be written as UTF-8.
        """
        for row, pair in enumerate(pairs):
            if isinstance(pair, str) or len(pair) != 2:
                raise UserError(f"pair {row} is not (query, passage)")
        encoded = self._encode([query for query, _ in pairs], [passage for _, passage in pairs])
        return self._run(encoded)

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """What ranks, float32 [n], higher is better, in the order of the pairs.

        Raises:
            UserError: as `logits`.
        """
        return scores_of(self.logits(pairs), self.reranker.contract)

    def probabilities(self, scores: np.ndarray | Sequence[float]) -> np.ndarray:
        """Probabilities of relevance, float64 [n], for scores from `score`: for display, they never rank."""
        return calibrated(scores, self.reranker.contract.calibration)

    @overload
    def rank(
        self, query: str, passages: Sequence[Any], top_k: int | None = None, long_passages: LongPassages = "truncate"
    ) -> list[RankedPassage]: ...

    @overload
    def rank(
        self,
        query: Sequence[str],
        passages: Sequence[Sequence[Any]],
        top_k: int | None = None,
        long_passages: LongPassages = "truncate",
    ) -> list[list[RankedPassage]]: ...

    def rank(
        self, query: Any, passages: Any, top_k: int | None = None, long_passages: LongPassages = "truncate"
    ) -> Any:
        """Passages best first; equal scores keep the order in which they were given.

        Args:
            query: one query, or several (then `passages` is a list of lists), which are scored in one pass.
            passages: strings, mappings with `text` (perhaps `title` and an id), or `Passage`s.
            top_k: how many to return of each query; None returns all.
            long_passages: a passage longer than the model reads is cut (`truncate`), or read in overlapping
                windows of which the best counts (`windows`).

        Raises:
            UserError: a query is no string, a passage is none, lists do not match, `top_k` is below 1.
        """
        if top_k is not None and top_k < 1:
            raise UserError(f"top_k {top_k} must be 1 or more (None returns all)")
        if long_passages not in LONG_PASSAGES:
            raise UserError(f"long_passages {long_passages!r} is not one of {', '.join(LONG_PASSAGES)}")
        if isinstance(query, str):
            return self._rank([query], [passages], top_k, long_passages)[0]
        _require_queries(query)
        if len(query) != len(passages):
            raise UserError(f"{len(query)} queries for {len(passages)} lists of passages; give one list for each")
        return self._rank(list(query), list(passages), top_k, long_passages)

    def _rank(
        self, queries: list[str], lists: list[Sequence[Any]], top_k: int | None, long_passages: LongPassages
    ) -> list[list[RankedPassage]]:
        own_queries = [query for query, passages in zip(queries, lists, strict=True) for _ in passages]
        read = [passage for passages in lists for passage in as_passages(passages)]
        scores = self._scores(own_queries, read, long_passages == "windows")
        _require_finite(scores)
        probabilities = self.probabilities(scores)
        ranked, start = [], 0
        for passages in lists:
            own = slice(start, start + len(passages))
            start = own.stop
            order = np.argsort(-scores[own], kind="stable")[:top_k]
            ranked.append(
                [
                    RankedPassage(
                        int(index),
                        float(scores[own][index]),
                        float(probabilities[own][index]),
                        passages[index],
                    )
                    for index in order
                ]
            )
        return ranked

    def _scores(self, queries: list[str], passages: list[Passage], in_windows: bool) -> np.ndarray:
        encoded = self._encode(queries, [passage.contents for passage in passages])
        if not in_windows or not encoded.truncated.any():
            return scores_of(self._run(encoded), self.reranker.contract)
        split = split_long(self.reranker.encoder, queries, passages, encoded.truncated)
        logits = self._run(self.reranker.encoder.encode(split.queries, split.passages))
        return split.best(scores_of(logits, self.reranker.contract))

    def _encode(self, queries: list[str], passages: list[str]) -> EncodedPairs:
        require_utf8(queries, passages)
        return self.reranker.encoder.encode(queries, passages)

    def _run(self, encoded: EncodedPairs) -> np.ndarray:
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        return self.reranker.logits(encoded, self.token_budget)


def _load_exported(
    model: str | Path, backend: str, device: str | None, precision: str | None, threads: int, overrides: dict[str, Any]
) -> Any:
    from inranker.export.backends import BACKENDS, load_backend

    if backend not in BACKENDS:
        raise UserError(f"backend {backend!r} is not one of {', '.join(BACKENDS)}")
    device, precision = (None if value == "auto" else value for value in (device, precision))
    return load_backend(model, backend, device, precision, threads, **overrides)


def _default_threads() -> int:
    if os.environ.get("OMP_NUM_THREADS", "").isdecimal():
        return torch.get_num_threads()
    return min(torch.get_num_threads(), usable_cores())


def _require_queries(query: Any) -> None:
    if not isinstance(query, Sequence):
        raise UserError(f"query is {type(query).__name__}; give a string, or a list of strings")
    for row, text in enumerate(query):
        if not isinstance(text, str):
            raise UserError(f"query {row} is {type(text).__name__}, not a string")


def _require_finite(scores: np.ndarray) -> None:
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise UserError(f"passage {row} scored {scores[row]}, which cannot rank; check the model's weights")


def require_utf8(queries: Sequence[str], passages: Sequence[str]) -> None:
    """Refuse texts that no tokenizer takes.

    Raises:
        UserError: a text is no string, or holds half of a surrogate pair; the row of the pair is named.
    """
    for row, texts in enumerate(zip(queries, passages, strict=True)):
        for name, text in zip(("query", "passage"), texts, strict=True):
            if not isinstance(text, str):
                raise UserError(f"pair {row}: its {name} is {type(text).__name__}, not a string")
            if not text.isascii():
                _require_whole_characters(text, f"pair {row}: its {name}")


def _require_whole_characters(text: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{what} holds half of a surrogate pair at character {error.start}; repair the text") from error
