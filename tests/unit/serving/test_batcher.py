"""Batches by tokens: what is scored together, in what order, and what happens when something goes wrong."""

import asyncio
import threading
from collections.abc import Callable

import numpy as np
import pytest

from inranker.rerankers.encode import EncodedPairs
from inranker.serving.batcher import TokenBatcher


def pairs(*lengths: int, first: int = 0) -> EncodedPairs:
    """Inputs of these lengths; each is filled with a number of its own, which is its score below."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.repeat(np.arange(first, first + len(lengths)), lengths).astype(np.int32)
    return EncodedPairs(ids, offsets, np.zeros(len(lengths), bool))


class Model:
    """Scores an input by its first token; keeps what it saw, and waits where it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.tokens: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def __call__(self, encoded: EncodedPairs) -> np.ndarray:
        self.entered.set()
        assert self.gate.wait(20)
        first = encoded.token_ids[encoded.offsets[:-1]]
        self.batches.append(first.tolist())
        self.tokens.append(int(encoded.offsets[-1]))
        if (first < 0).any():
            raise ValueError("no such token")
        return first.astype(np.float32)


def with_batcher(budget: int, scenario: Callable[[TokenBatcher, Model], object]) -> Model:
    """Run a coroutine against a batcher and close it."""
    model = Model()
    batcher = TokenBatcher(model, budget)
    try:
        asyncio.run(asyncio.wait_for(scenario(batcher, model), 30))  # type: ignore[arg-type]
    finally:
        model.gate.set()
        batcher.close()
    assert not batcher.alive
    return model


async def held(batcher: TokenBatcher, model: Model, *requests: EncodedPairs) -> list["asyncio.Task[np.ndarray]"]:
    """Requests that came while a batch of one (token 99) was being scored."""
    model.gate.clear()
    first = asyncio.create_task(batcher.submit(pairs(1, first=99)))
    await asyncio.to_thread(model.entered.wait, 20)
    tasks = [first]
    for request in requests:
        tasks.append(asyncio.create_task(batcher.submit(request)))
        await asyncio.sleep(0)
    return tasks


def test_requests_that_wait_share_a_batch_and_get_their_own_scores() -> None:
    async def scenario(batcher: TokenBatcher, model: Model) -> None:
        tasks = await held(batcher, model, pairs(2, 2, first=10), pairs(3, first=20), pairs(1, 1, first=30))
        model.gate.set()
        _, a, b, c = await asyncio.gather(*tasks)
        assert a.tolist() == [10, 11] and b.tolist() == [20] and c.tolist() == [30, 31]

    model = with_batcher(100, scenario)
    assert len(model.batches) == 2 and sorted(model.batches[1]) == [10, 11, 20, 30, 31]


def test_no_batch_exceeds_the_budget_unless_a_pair_does() -> None:
    async def scenario(batcher: TokenBatcher, model: Model) -> None:
        tasks = await held(batcher, model, pairs(*[3] * 20), pairs(50, first=50), pairs(*[2] * 9, first=60))
        model.gate.set()
        answers = await asyncio.gather(*tasks)
        assert answers[1].tolist() == list(range(20)) and answers[3].tolist() == list(range(60, 69))

    model = with_batcher(10, scenario)
    assert all(tokens <= 10 for tokens, batch in zip(model.tokens, model.batches, strict=True) if batch != [50])
    assert [50] in model.batches


def test_a_small_request_overtakes_a_large_one_and_equal_ones_keep_their_order() -> None:
    async def scenario(batcher: TokenBatcher, model: Model) -> None:
        tasks = await held(batcher, model, pairs(*[10] * 10), pairs(10, first=50), pairs(10, first=60))
        model.gate.set()
        await asyncio.gather(*tasks)

    order = [token for batch in with_batcher(10, scenario).batches for token in batch]
    assert order == [99, 50, 60, *range(10)]


def test_a_large_request_is_not_starved_by_small_ones_that_keep_coming() -> None:
    async def scenario(batcher: TokenBatcher, model: Model) -> None:
        large = asyncio.create_task(batcher.submit(pairs(*[10] * 10)))
        served = 0
        while not large.done():
            await batcher.submit(pairs(10, first=50))
            served += 1
            assert served < 100

    with_batcher(10, scenario)


def test_a_cancelled_request_is_dropped_and_the_others_are_not() -> None:
    async def scenario(batcher: TokenBatcher, model: Model) -> None:
        tasks = await held(batcher, model, pairs(1, first=10), pairs(1, first=20))
        tasks[1].cancel()
        await asyncio.sleep(0)
        model.gate.set()
        assert (await tasks[2]).tolist() == [20]
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]

    assert with_batcher(1, scenario).batches == [[99], [20]]


def test_a_batch_that_fails_fails_its_requests_alone() -> None:
    async def scenario(batcher: TokenBatcher, model: Model) -> None:
        with pytest.raises(ValueError, match="no such token"):
            await batcher.submit(pairs(1, first=-5))
        assert (await batcher.submit(pairs(1, first=7))).tolist() == [7]
        assert (await batcher.submit(pairs())).tolist() == []

    with_batcher(10, scenario)


def test_closing_answers_what_waits_and_takes_no_more() -> None:
    async def scenario(batcher: TokenBatcher, model: Model) -> None:
        tasks = await held(batcher, model, pairs(1, 1, first=10))
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        await asyncio.sleep(0.05)
        with pytest.raises(RuntimeError, match="shutting down"):
            await batcher.submit(pairs(1))
        model.gate.set()
        await closing
        assert (await tasks[1]).tolist() == [10, 11]

    with_batcher(10, scenario)
