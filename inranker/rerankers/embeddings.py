"""Scores of sentence encoders: each text is read once, however many pairs it is in.

A passage is a candidate of many queries, and a query has many candidates; the vector of either does not depend on the
other. What was read stays for the next call, so re-ranking a small collection reads each of its passages once.

Dimensions: B texts, L tokens, U distinct texts, N pairs, D model.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from threading import Lock

import numpy as np
import torch

from .encode import EncodedPairs
from .running import BatchRunner
from .similarity import SCALE, SimilarityEncoder

# 65,536 vectors of 384 numbers are 100 MB.
REMEMBERED = 65_536

Embed = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Embeddings:
    """Vectors of texts by their token ids; those used longest ago are forgotten.

    Args:
        module: says where a pair is split; embeds.
        pad_id: id at padding.
        device: where `module` is.
        embed: `module.embed`, or a compiled form of it: ids and mask [B, L] -> vectors [B, D] of length 1.
        remembered: how many vectors are kept.
    """

    def __init__(
        self,
        module: SimilarityEncoder,
        pad_id: int,
        device: torch.device,
        embed: Embed,
        remembered: int = REMEMBERED,
    ) -> None:
        self.module, self.pad_id, self.device, self.embed = module, pad_id, device, embed
        self.remembered = remembered
        self._vectors: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._weights: Hashable = None
        self._lock = Lock()

    def logits(self, encoded: EncodedPairs, token_budget: int, weights: Hashable) -> np.ndarray:
        """Raw logits [N, 2] float32, order (false, true).

        Args:
            encoded: the pairs.
            token_budget: tokens of a batch, padding included.
            weights: what tells one state of the module's weights from another; vectors of another are not used.
        """
        texts = [text for row in range(len(encoded)) for text in self._halves(encoded, row)]
        place = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        vectors_UD = self._vectors_of(list(place), token_budget, weights)
        of_text = np.fromiter((place[text] for text in texts), np.int64, len(texts))
        score_N = SCALE * (vectors_UD[of_text[0::2]] * vectors_UD[of_text[1::2]]).sum(axis=1)
        return np.stack([-score_N / 2, score_N / 2], axis=1).astype(np.float32, copy=False)

    def _halves(self, encoded: EncodedPairs, row: int) -> tuple[bytes, bytes]:
        """[CLS] q [SEP] and [CLS] p [SEP], as `similarity.split` has them."""
        ids = encoded.token_ids[encoded.offsets[row] : encoded.offsets[row + 1]]
        found = np.flatnonzero(ids == self.module.separator_id)
        end = int(found[0]) + 1 if len(found) else len(ids)
        passage = np.concatenate([np.array([self.module.start_id], ids.dtype), ids[end:]])
        return ids[:end].tobytes(), passage.tobytes()

    def _vectors_of(self, texts: Sequence[bytes], token_budget: int, weights: Hashable) -> np.ndarray:
        """Vectors [U, D] of distinct texts, remembered or made."""
        with self._lock:
            if weights != self._weights:
                self._vectors.clear()
                self._weights = weights
            known = {text: self._vectors[text] for text in texts if text in self._vectors}
        missing = [text for text in texts if text not in known]
        if missing:
            known |= zip(missing, self._read(missing, token_budget), strict=True)
        with self._lock:
            if weights == self._weights:
                for text in texts:
                    self._vectors[text] = known[text]
                    self._vectors.move_to_end(text)
                while len(self._vectors) > self.remembered:
                    self._vectors.popitem(last=False)
        return np.stack([known[text] for text in texts]) if texts else np.zeros((0, 1), np.float32)

    def _read(self, texts: Sequence[bytes], token_budget: int) -> np.ndarray:
        """Vectors [U, D] of texts, in batches of like length."""
        ids = [np.frombuffer(text, np.int32) for text in texts]

        def batch(rows: np.ndarray) -> np.ndarray:
            longest = max(len(ids[row]) for row in rows)
            ids_BL = torch.full((len(rows), longest), self.pad_id)
            mask_BL = torch.zeros((len(rows), longest), dtype=torch.bool)
            for number, row in enumerate(rows):
                ids_BL[number, : len(ids[row])] = torch.from_numpy(ids[row].astype(np.int64))
                mask_BL[number, : len(ids[row])] = True
            return self.embed(ids_BL.to(self.device), mask_BL.to(self.device)).float().cpu().numpy()

        lengths = np.array([len(own) for own in ids])
        width = self.module.model.config.hidden_size
        return BatchRunner(batch, lengths, token_budget, width=width).run()
