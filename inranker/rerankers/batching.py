"""Length-sorted batches under a token budget: few padding tokens, and the same plan every time."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from .encode import EncodedPairs


# A batch ends early rather than be padded more than this, once it holds this share of the budget.
PADDING_LIMIT = 0.015
ENOUGH = 0.25


def plan_batches(lengths: np.ndarray, token_budget: int, max_rows: int | None = None) -> list[np.ndarray]:
    """Rows of each batch, longest inputs first, so that rows × longest length ≤ `token_budget`.

    Longest first, so that a budget that does not fit into memory shows at once. An input longer than the budget
    is a batch by itself. Equal lengths keep their order. Every row is in one batch. A batch at least a quarter
    full ends where padding would pass 1.5 % of its tokens.

    Args:
        lengths: tokens of each input, [n].
        token_budget: tokens in a batch, padding included.
        max_rows: inputs in a batch at most (None: no limit).
    """
    if token_budget < 1:
        raise ValueError(f"token_budget {token_budget} must be 1 or more")
    lengths = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        rows = max(1, token_budget // longest)
        batch = order[start : start + (rows if max_rows is None else min(rows, max_rows))]
        batch = batch[: _unpadded(lengths[batch], longest, least=max(1, int(rows * ENOUGH)))]
        batches.append(batch)
        start += len(batch)
    return batches


def _unpadded(lengths: np.ndarray, longest: int, least: int) -> int:
    """How many of these descending lengths a batch may hold before padding passes the limit."""
    padded = longest * np.arange(1, len(lengths) + 1)
    within = np.cumsum(lengths) >= (1 - PADDING_LIMIT) * padded
    # Padding only grows along descending lengths.
    return min(len(lengths), max(least, int(within.sum())))


def plan_packed(lengths: np.ndarray, token_budget: int, multiple: int = 1) -> list[np.ndarray]:
    """Rows of each batch, longest inputs first, for a scorer that lays inputs end to end without padding.

    As few batches of at most `token_budget` tokens as there can be, their number a multiple of `multiple` where
    there are rows enough, all about equally large, so that as many workers end together. An input longer than
    the budget is a batch by itself.
    """
    if token_budget < 1:
        raise ValueError(f"token_budget {token_budget} must be 1 or more")
    lengths = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    total = int(lengths.sum())
    number = max(1, -(-total // (token_budget * multiple))) * multiple
    target = min(token_budget, -(-total // number))
    batches: list[np.ndarray] = []
    start = 0
    while start < len(order):
        ends = np.cumsum(lengths[order[start:]])
        rows = max(1, int(np.searchsorted(ends, target, side="right")))
        batches.append(order[start : start + rows])
        start += rows
    return batches


def padding_share(lengths: np.ndarray, batches: list[np.ndarray]) -> float:
    """Share of padding among the tokens of these batches, each padded to its longest input."""
    lengths = np.asarray(lengths)
    padded = sum(len(rows) * int(lengths[rows].max()) for rows in batches)
    return 1.0 - float(lengths.sum()) / padded if padded else 0.0


def pad(encoded: "EncodedPairs", rows: np.ndarray, pad_id: int) -> tuple["torch.Tensor", "torch.Tensor | None"]:
    """(input_ids_BL int64, mask_BL bool) of these rows, padded on the right; the mask is None where all
    lengths are equal, which lets every layer share one position bias."""
    import torch

    input_ids, mask = padded(encoded.take(rows), pad_id)
    equal = bool(mask.all())
    return torch.from_numpy(input_ids), None if equal else torch.from_numpy(mask)


def padded(encoded: "EncodedPairs", pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """(input_ids_BL int64, mask_BL bool) of all inputs, padded on the right."""
    lengths = encoded.lengths
    mask = np.arange(int(lengths.max(initial=1)))[None, :] < lengths[:, None]
    input_ids = np.full(mask.shape, pad_id, dtype=np.int64)
    input_ids[mask] = encoded.token_ids
    return input_ids, mask
