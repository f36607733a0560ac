"""sentence-transformers: `predict` and `rank` as its `CrossEncoder` has them, so that code around one goes on.

    from inranker.adapters.cross_encoder import InRankerCrossEncoder

    model = InRankerCrossEncoder("unicamp-dl/InRanker-small")
    scores = model.predict([("how do reefs form", "Corals …"), …])
    ranks = model.rank("how do reefs form", passages, top_k=10, return_documents=True)

sentence-transformers itself is not needed.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inranker.ranking.ranker import Ranker

Pair = tuple[str, str] | list[str]


class InRankerCrossEncoder:
    """A reranker with the methods of a `CrossEncoder`.

    Args:
        model: a `Ranker`, or what one is made from: a checkpoint directory or a hub id.
        ranker: options of the `Ranker` that is made (device, precision, backend, max_length, …).
    """

    def __init__(self, model: Ranker | str | Path, **ranker: Any) -> None:
        self.ranker = model if isinstance(model, Ranker) else Ranker(model, **ranker)

    def predict(
        self,
        inputs: Sequence[Pair] | Pair,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: Callable[[torch.Tensor], torch.Tensor] | None = None,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
    ) -> Any:
        """The score of each pair: a NumPy array, a tensor, or a list of tensors; of a single pair its score alone.

        Args:
            inputs: (query, passage) pairs, or one of them.
            batch_size, show_progress_bar: taken for compatibility; batches are made by length, and all at once.
            activation_fn: applied to the scores, which are margins; torch.nn.Sigmoid() makes P(true) of them.
            convert_to_numpy, convert_to_tensor: the form of the answer; a tensor goes before an array.

        Raises:
            UserError: a pair is not two strings.
        """
        single = len(inputs) == 2 and all(isinstance(text, str) for text in inputs)
        pairs: list[Any] = [inputs] if single else list(inputs)
        scores = torch.from_numpy(self.ranker.score(pairs))
        if activation_fn is not None:
            scores = activation_fn(scores)
        if convert_to_tensor:
            return scores[0] if single else scores
        if convert_to_numpy:
            array: np.ndarray = scores.numpy()
            return array[0] if single else array
        return scores[0] if single else list(scores)

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        top_k: int | None = None,
        return_documents: bool = False,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> list[dict[str, Any]]:
        """`corpus_id`, `score` (and `text`) of the documents, best first; arguments as `predict`.

        Raises:
            UserError: a document is no string, or `top_k` is below 1.
        """
        hits = self.ranker.rank(query, documents, top_k)
        scores = torch.tensor([hit.score for hit in hits])
        shown = (scores if activation_fn is None else activation_fn(scores)).tolist()
        ranked = [{"corpus_id": hit.index, "score": score} for hit, score in zip(hits, shown, strict=True)]
        if return_documents:
            return [{**row, "text": hit.passage} for row, hit in zip(ranked, hits, strict=True)]
        return ranked
