"""A dense first stage: any encoder in the layout of sentence-transformers, exact search in blocks, no vector database.

Passages and queries become mean-pooled, normalised vectors (Reimers and Gurevych 2019, https://arxiv.org/abs/1908.10084)
and every passage is compared with every query, so nothing is missed; vectors are kept as float16 and memory-mapped:
768 of them take 13 GB for MS MARCO's passages. What the encoder's own files say of pooling and normalising holds.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from inranker.errors import UserError
from inranker.fingerprint import fingerprint, sha256_file
from inranker.retrieval.index_cache import describe, described, kept
from inranker.retrieval.passage_ids import PassageIds, PassageIdsBuilder, load_passage_ids
from inranker.types import Passage, Query, ScoredDoc

VECTORS = "vectors.npy"
BATCH = 64
PASSAGES_AT_A_TIME = 4096
ROWS_OF_A_BLOCK = 65_536
QUERIES_AT_A_TIME = 256
FORMAT = 1


class Encoder:
    """Texts to unit vectors.

    Args:
        path: directory of a Hugging Face encoder, with or without sentence-transformers' own files.

    Raises:
        UserError: no such model, or one that pools or scales in a way this class does not know.
    """

    def __init__(self, path: str) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        self.pooling, self.max_length = _settings(path)
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(path)
            self.model = AutoModel.from_pretrained(path, dtype=torch.float32).eval()
        except (OSError, ValueError) as error:
            raise UserError(f"encoder {path} cannot be loaded ({' '.join(str(error).split())[:200]})") from error
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model.to(self.device)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors, float32 [texts, dimensions]; texts of like length share a batch."""
        import torch

        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        vectors: list[Any] = [None] * len(texts)
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            encoded = self.tokenizer(
                [texts[row] for row in rows], padding=True, truncation=True, max_length=self.max_length,
                return_tensors="pt",
            ).to(self.device)  # fmt: skip
            with torch.inference_mode():
                hidden_BLD = self.model(**encoded).last_hidden_state
                mask_BL1 = encoded["attention_mask"].unsqueeze(-1).to(hidden_BLD.dtype)
                if self.pooling == "mean":
                    pooled_BD = (hidden_BLD * mask_BL1).sum(1) / mask_BL1.sum(1)
                else:
                    pooled_BD = hidden_BLD[:, 0]
                unit_BD = torch.nn.functional.normalize(pooled_BD, dim=1).cpu().numpy()
            for place, row in enumerate(rows):
                vectors[row] = unit_BD[place]
        return np.stack(vectors)


class DenseIndex:
    """Vectors of passages, in corpus order."""

    def __init__(self, encoder: Encoder, vectors: np.ndarray, ids: PassageIds) -> None:
        self.encoder = encoder
        self.vectors_ND = vectors
        self.ids = ids
        self.temporary: tempfile.TemporaryDirectory[str] | None = None  # of an index that nobody keeps

    def search(self, queries: list[Query], depth: int, threads: int | None = None) -> dict[str, list[ScoredDoc]]:
        """The nearest passages of each query by cosine, nearest first; equal ones in corpus order."""
        run: dict[str, list[ScoredDoc]] = {}
        for start in range(0, len(queries), QUERIES_AT_A_TIME):
            asked = queries[start : start + QUERIES_AT_A_TIME]
            for query, (rows, scores) in zip(asked, self._nearest(asked, depth), strict=True):
                named = zip(self.ids.at(rows), scores.tolist(), strict=True)
                run[query.query_id] = [ScoredDoc(query.query_id, name, score) for name, score in named]
        return run

    def _nearest(self, queries: list[Query], depth: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Rows and cosines of each query's nearest passages."""
        queries_QD = self.encoder.encode([query.text for query in queries])
        best = [(np.empty(0, np.int64), np.empty(0, np.float32))] * len(queries)
        for start in range(0, len(self.ids), ROWS_OF_A_BLOCK):
            block_ND = np.asarray(self.vectors_ND[start : start + ROWS_OF_A_BLOCK], dtype=np.float32)
            scores_QN = queries_QD @ block_ND.T
            best = [merge(held, scores_N, start, depth) for held, scores_N in zip(best, scores_QN, strict=True)]
        return best


def merge(
    held: tuple[np.ndarray, np.ndarray], scores_N: np.ndarray, start: int, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best `depth` of what is held (rows, scores; best first) and of a block whose rows begin at `start`; equal
    scores by row."""
    bound = held[1][-1] if len(held[1]) == depth else np.float32(-np.inf)
    if depth < len(scores_N):
        bound = max(bound, np.partition(scores_N, len(scores_N) - depth)[len(scores_N) - depth])
    found = np.flatnonzero(scores_N >= bound)
    rows = np.concatenate([held[0], found + start])
    scores = np.concatenate([held[1], scores_N[found]])
    order = np.argsort(-scores, kind="stable")[:depth]
    return rows[order], scores[order]


def load_or_build(
    passages: Callable[[], Iterable[Passage]], corpus_hash: str, path: str, cache: str | Path
) -> DenseIndex:
    """The index of a corpus from the cache directory, encoded and kept there first where it is not.

    Raises:
        UserError: no such encoder, or a damaged index.
    """
    encoder, name = Encoder(path), model_hash(path)
    key = fingerprint([corpus_hash, name, FORMAT])
    place = kept(cache, f"dense-{key[:32]}", lambda directory: _build(directory, passages(), encoder, name))
    count = described(place, name)["passages"]
    vectors = np.memmap(place / VECTORS, np.float16, "r").reshape(count, -1)
    return DenseIndex(encoder, vectors, load_passage_ids(place))


def model_hash(path: str) -> str:
    """sha256 of an encoder's weights, tokenizer and settings.

    Raises:
        UserError: there are no weights in safetensors there.
    """
    directory = Path(path).expanduser()
    weights = sorted(directory.glob("*.safetensors"))
    if not weights:
        raise UserError(f"encoder {path}: there is no directory with weights in safetensors; download the model first")
    settings = [*directory.glob("*.json"), *directory.glob("*/config.json"), *directory.glob("*.txt")]
    return fingerprint(
        [[str(file.relative_to(directory)), sha256_file(file)] for file in [*weights, *sorted(settings)]]
    )


def _build(directory: Path, passages: Iterable[Passage], encoder: Encoder, name: str) -> None:
    ids = PassageIdsBuilder()
    stream = iter(passages)
    with open(directory / VECTORS, "wb") as file:
        while chunk := list(islice(stream, PASSAGES_AT_A_TIME)):
            file.write(encoder.encode([passage.contents for passage in chunk]).astype(np.float16).tobytes())
            for passage in chunk:
                ids.append(passage.passage_id)
    finished = ids.finish()
    finished.save(directory)
    describe(directory, analyser=name, passages=len(finished))


def _settings(path: str) -> tuple[str, int]:
    """Pooling and longest input, as sentence-transformers' files say: mean and 512 where there are none."""
    directory = Path(path).expanduser()
    pooling, longest = "mean", 512
    if (file := directory / "1_Pooling" / "config.json").is_file():
        told = json.loads(file.read_text())
        chosen = [key for key, value in told.items() if key.startswith("pooling_mode") and value is True]
        known = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first"}
        if len(chosen) != 1 or chosen[0] not in known:
            raise UserError(f"encoder {path} pools by {', '.join(chosen) or 'nothing'}; mean and cls are known here")
        pooling = known[chosen[0]]
    if (file := directory / "sentence_bert_config.json").is_file():
        longest = json.loads(file.read_text()).get("max_seq_length") or longest
    return pooling, longest
