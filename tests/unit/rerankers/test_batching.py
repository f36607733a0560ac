"""Plans, padding, and running out of memory."""

import logging
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inranker.rerankers.batching import pad, padding_share, plan_batches, plan_packed
from inranker.rerankers.encode import EncodedPairs
from inranker.rerankers.running import BatchRunner

LENGTHS = st.lists(st.integers(1, 600), max_size=200)


@settings(deadline=None)
@given(lengths=LENGTHS, budget=st.integers(1, 5000), most=st.one_of(st.none(), st.integers(1, 20)))
def test_plans_hold_every_row_once_within_the_budget(lengths, budget, most):
    lengths = np.array(lengths, dtype=np.int64)
    batches = plan_batches(lengths, budget, most)
    rows = np.concatenate([np.zeros(0, np.int64), *batches])
    assert sorted(rows.tolist()) == list(range(len(lengths)))
    assert all(len(b) == 1 or len(b) * lengths[b].max() <= budget for b in batches)
    assert all(most is None or len(b) <= most for b in batches)
    assert np.all(np.diff(lengths[rows]) <= 0)
    again = plan_batches(lengths, budget, most)
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))


def test_a_budget_of_nothing_is_refused():
    with pytest.raises(ValueError, match="token_budget 0"):
        plan_batches(np.array([3]), 0)


def test_padding_of_a_shard_is_small():
    """A shard's lengths are about log-normal; 20,000 of them sorted leave next to no padding."""
    lengths = np.random.default_rng(0).lognormal(4.6, 0.5, 20_000).astype(int).clip(8, 512)
    for budget in (2048, 65536):
        assert padding_share(lengths, plan_batches(lengths, budget)) < 0.02
    unsorted = [np.arange(start, min(start + 32, 20_000)) for start in range(0, 20_000, 32)]
    assert padding_share(lengths, unsorted) > 0.3
    assert padding_share(np.array([4, 2]), [np.array([0, 1])]) == 0.25


def flat(rows: list[list[int]]) -> EncodedPairs:
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    ids = np.array([token for row in rows for token in row], dtype=np.int32)
    return EncodedPairs(ids, offsets, np.zeros(len(rows), bool))


def test_padded_batches_have_a_mask_only_where_lengths_differ():
    encoded = flat([[5, 6, 7], [8], [9, 10, 11]])
    input_ids, mask = pad(encoded, np.array([0, 1]), 0)
    assert input_ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert mask is not None and mask.tolist() == [[True] * 3, [True, False, False]]
    input_ids, mask = pad(encoded, np.array([2, 0]), 0)
    assert input_ids.tolist() == [[9, 10, 11], [5, 6, 7]]
    assert mask is None


def runner(limit: int, lengths: np.ndarray, budget: int, seen: list[int]) -> BatchRunner:
    """A scorer that runs out of memory above `limit` tokens and answers (row, −row)."""

    def score(rows: np.ndarray) -> np.ndarray:
        tokens = len(rows) * int(lengths[rows].max())
        seen.append(tokens)
        if tokens > limit:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")
        return np.stack([rows, -rows], axis=1).astype(np.float32)

    return BatchRunner(score, lengths, budget)


@pytest.mark.parametrize("workers", [1, 3])
def test_out_of_memory_halves_the_budget_once_for_all(workers, caplog):
    lengths = np.random.default_rng(1).integers(1, 50, 500)
    seen: list[int] = []
    running = runner(900, lengths, 8000, seen)
    with caplog.at_level(logging.WARNING):
        logits = running.run(workers)
    assert logits[:, 0].tolist() == list(range(500))
    assert logits[:, 1].tolist() == [-row for row in range(500)]
    assert running.token_budget <= 900
    assert len([record for record in caplog.records if "out of memory" in record.message]) == 1
    assert 1 <= sum(tokens > 900 for tokens in seen) <= 4 * workers


@pytest.mark.parametrize("workers", [1, 2])
def test_other_errors_and_hopeless_rows_end_the_run(workers):
    lengths = np.full(10, 100)
    with pytest.raises(RuntimeError, match="not enough memory"):
        runner(50, lengths, 400, []).run(workers)

    def broken(rows: np.ndarray) -> np.ndarray:
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        BatchRunner(broken, lengths, 200).run(workers)


def test_threads_share_the_work_and_leave_torch_as_it_was():
    import torch

    before = torch.get_num_threads()
    used, barrier = {}, threading.Barrier(2, timeout=60)

    def score(rows: np.ndarray) -> np.ndarray:
        if threading.get_ident() not in used:
            used[threading.get_ident()] = torch.get_num_threads()
            barrier.wait()
        return np.zeros((len(rows), 2), np.float32)

    BatchRunner(score, np.full(64, 10), 40).run(2)
    assert list(used.values()) == [1, 1]
    assert torch.get_num_threads() == before


def test_nothing_to_score_gives_nothing():
    assert BatchRunner(lambda rows: np.zeros((len(rows), 2)), np.zeros(0, np.int64), 10).run(2).shape == (0, 2)


@settings(deadline=None)
@given(lengths=LENGTHS, budget=st.integers(1, 5000), workers=st.integers(1, 4))
def test_packed_plans_hold_every_row_once_and_end_together(lengths, budget, workers):
    lengths = np.array(lengths, dtype=np.int64)
    batches = plan_packed(lengths, budget, workers)
    rows = np.concatenate([np.zeros(0, np.int64), *batches])
    assert sorted(rows.tolist()) == list(range(len(lengths)))
    assert np.all(np.diff(lengths[rows]) <= 0)
    totals = [int(lengths[batch].sum()) for batch in batches]
    assert all(total <= budget or len(batch) == 1 for total, batch in zip(totals, batches, strict=True))
    if len(lengths) >= workers and lengths.max(initial=0) * workers <= lengths.sum():
        assert len(batches) >= workers
    again = plan_packed(lengths, budget, workers)
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))
