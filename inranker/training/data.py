"""Tokenised pairs and their targets, memory-mapped: joined and tokenised once per node, shared by its workers.

Dimensions: N pairs of the data set, B of a batch, L tokens, 2 classes (false, true).
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from inranker.errors import UserError
from inranker.losses import Targets
from inranker.rerankers.batching import pad
from inranker.rerankers.encode import EncodedPairs, PairEncoder

ROWS_AT_ONCE = 16384  # tokenised together: enough to share a query's tokens, little enough to stay small
TOKENS, OFFSETS, TEACHER, POSITIVE, GROUPS, ABOUT = (
    "token_ids.int32",
    "offsets.npy",
    "teacher_logits.npy",
    "positive.npy",
    "groups.npy",
    "about.json",
)


@dataclass(frozen=True)
class Batch:
    """Input ids [B, L] int64 and mask (None where no padding), padded on the right, with their targets."""

    input_ids_BL: torch.Tensor
    mask_BL: torch.Tensor | None
    targets: Targets

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""
        if device.type == "cpu":
            return self

        def move(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else tensor.pin_memory().to(device, non_blocking=True)

        targets = self.targets
        moved = Targets(move(targets.teacher_logits_B2), move(targets.labels_B), move(targets.groups_B))
        input_ids_BL = move(self.input_ids_BL)
        assert input_ids_BL is not None
        return Batch(input_ids_BL, move(self.mask_BL), moved)


class TrainingData:
    """The data set in a directory that `write` filled.

    Attributes:
        lengths: tokens of each pair, int32 [N].
        positive: whether it is relevant, bool [N].
        groups: number of its query, int32 [N].
    """

    def __init__(self, place: Path) -> None:
        self.about: dict[str, Any] = json.loads((place / ABOUT).read_text())
        self.offsets: np.ndarray = np.load(place / OFFSETS, mmap_mode="r")
        self.token_ids = np.memmap(place / TOKENS, dtype=np.int32, mode="r") if self.offsets[-1] else np.zeros(0)
        self.positive: np.ndarray = np.load(place / POSITIVE, mmap_mode="r")
        self.groups: np.ndarray = np.load(place / GROUPS, mmap_mode="r")
        self.teacher = np.load(place / TEACHER, mmap_mode="r") if (place / TEACHER).exists() else None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each pair, int32 [N]."""
        return np.diff(self.offsets).astype(np.int32)

    def batch(self, rows: np.ndarray) -> Batch:
        """Rows as tensors, in the order given, padded to the longest of them."""
        starts, stops = self.offsets[rows], self.offsets[rows + 1]
        tokens = [self.token_ids[start:stop] for start, stop in zip(starts, stops, strict=True)]
        offsets = np.concatenate([[0], np.cumsum(stops - starts)])
        encoded = EncodedPairs(np.concatenate(tokens), offsets, np.zeros(len(rows), dtype=bool))
        input_ids_BL, mask_BL = pad(encoded, np.arange(len(rows)), self.about["pad_id"])
        teacher = None if self.teacher is None else torch.from_numpy(self.teacher[rows])
        labels = torch.from_numpy(self.positive[rows].astype(np.int64))
        groups = torch.from_numpy(self.groups[rows].astype(np.int64))
        return Batch(input_ids_BL, mask_BL, Targets(teacher, labels, groups))


def write(
    place: Path, tables: Iterator[pa.Table], encoder: PairEncoder, said: Callable[[], dict[str, Any]] = dict
) -> None:
    """Tokenise pairs into a directory.

    Args:
        place: an empty directory.
        tables: pairs with columns query_id, query, passage, kind and, where there is a teacher, false_logit and
            true_logit; `set` tells apart the ids of several sets.
        encoder: the student's.
        said: what to keep beside the data, asked for when all tables have been read.

    Raises:
        UserError: there is no pair, or a column is missing.
    """
    lengths: list[np.ndarray] = []
    teacher: list[np.ndarray] = []
    positive: list[np.ndarray] = []
    groups: list[np.ndarray] = []
    number_of_query: dict[tuple[int, str], int] = {}  # ids are a set's own: two sets may both have a query 1
    truncated = 0
    with open(place / TOKENS, "wb") as file:
        for table in _slices(tables):
            encoded = encoder.encode(table["query"].to_pylist(), table["passage"].to_pylist())
            file.write(np.ascontiguousarray(encoded.token_ids, dtype=np.int32).tobytes())
            lengths.append(encoded.lengths)
            truncated += int(encoded.truncated.sum())
            positive.append(np.array([kind == "positive" for kind in table["kind"].to_pylist()], dtype=bool))
            queries = zip(_sets(table), table["query_id"].to_pylist(), strict=True)
            numbers = [number_of_query.setdefault(query, len(number_of_query)) for query in queries]
            groups.append(np.array(numbers, dtype=np.int32))
            if "true_logit" in table.column_names:
                teacher.append(np.stack([table[f"{side}_logit"].to_numpy() for side in ("false", "true")], axis=1))
    if not lengths:
        raise UserError("there are no pairs to train on; check the labels or pairs directory")
    np.save(place / OFFSETS, np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64))
    np.save(place / POSITIVE, np.concatenate(positive))
    np.save(place / GROUPS, np.concatenate(groups))
    if teacher:
        np.save(place / TEACHER, np.concatenate(teacher).astype(np.float32))
    about = {"pad_id": int(encoder.pad_id), "queries": len(number_of_query), "truncated": truncated, **said()}
    (place / ABOUT).write_text(json.dumps(about))


def _sets(table: pa.Table) -> list[int]:
    return table["set"].to_pylist() if "set" in table.column_names else [0] * table.num_rows


def _slices(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    for table in tables:
        for start in range(0, table.num_rows, ROWS_AT_ONCE):
            yield table.slice(start, ROWS_AT_ONCE)
