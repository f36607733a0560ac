"""Batches of tokens across requests: what waits is scored together, whoever asked for it.

One thread scores. Whenever it is free it takes what waits, up to a budget of tokens, so batches are as large as the
load is and an idle server adds no delay. As in fair queueing (Demers, Keshav and Shenker, 1989) requests are served in
the order of virtual finishing times: tokens scored before a request came, plus its own. Equal requests are served in
the order they came; a small one overtakes a large one that is being scored in parts; none starves.
"""

import asyncio
import heapq
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from inranker.rerankers.encode import EncodedPairs

log = logging.getLogger(__name__)

Score = Callable[[EncodedPairs], np.ndarray]


@dataclass(order=True)
class Waiting:
    """A request of which rows are yet to be taken."""

    finish: int
    number: int
    encoded: EncodedPairs = field(compare=False)
    scores: np.ndarray = field(compare=False)
    answer: "asyncio.Future[np.ndarray]" = field(compare=False)
    taken: int = field(default=0, compare=False)
    scored: int = field(default=0, compare=False)
    dropped: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Part:
    """Rows of a request in a batch."""

    request: Waiting
    start: int
    stop: int


class TokenBatcher:
    """Scores encoded pairs of many requests in shared batches.

    Args:
        score: encoded pairs -> scores [n] float32; called in one thread of the batcher's own.
        batch_tokens: tokens of a batch; a single longer pair is a batch by itself.
    """

    def __init__(self, score: Score, batch_tokens: int) -> None:
        self._score = score
        self._budget = batch_tokens
        self._queue: list[Waiting] = []
        self._changed = threading.Condition()
        self._number = self._served = 0
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="scoring", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the scoring thread runs."""
        return self._thread.is_alive()

    async def submit(self, encoded: EncodedPairs) -> np.ndarray:
        """Scores [n] of a request's pairs, in order; cancelling it drops the rows that are not scored yet.

        Raises:
            RuntimeError: the batcher is closed.
            Exception: whatever the model raised for a batch with rows of this request.
        """
        count = len(encoded)
        if not count:
            return np.empty(0, np.float32)
        answer = asyncio.get_running_loop().create_future()
        with self._changed:
            if self._closing:
                raise RuntimeError("the server is shutting down")
            self._number += 1
            finish = self._served + int(encoded.lengths.sum())
            request = Waiting(finish, self._number, encoded, np.empty(count, np.float32), answer)
            heapq.heappush(self._queue, request)
            self._changed.notify()
        try:
            return await answer
        finally:
            request.dropped = True

    def close(self) -> None:
        """Score what waits, then end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while parts := self._next_batch():
            try:
                scores = self._score(_joined(parts))
            except Exception as error:
                log.exception("a batch of %d passages failed", sum(part.stop - part.start for part in parts))
                for part in parts:
                    part.request.dropped = True
                    _settle(part.request, error)
                continue
            self._hand_out(parts, scores)

    def _next_batch(self) -> list[Part]:
        """Rows of the requests that are first in order, up to the budget; nothing once closed and empty."""
        with self._changed:
            while True:
                parts = self._take()
                if parts or self._closing:
                    return parts
                self._changed.wait()

    def _take(self) -> list[Part]:
        parts: list[Part] = []
        left = self._budget
        while self._queue and left > 0:
            request = self._queue[0]
            if request.dropped:
                heapq.heappop(self._queue)
                continue
            ends = np.cumsum(request.encoded.lengths[request.taken :])
            rows = int(np.searchsorted(ends, left, side="right"))
            if rows == 0 and parts:
                break
            rows = max(1, rows)
            part = Part(request, request.taken, request.taken + rows)
            parts.append(part)
            request.taken = part.stop
            left -= int(ends[rows - 1])
            self._served += int(ends[rows - 1])
            if part.stop < len(request.encoded):
                break
            heapq.heappop(self._queue)
        return parts

    def _hand_out(self, parts: list[Part], scores: np.ndarray) -> None:
        start = 0
        for part in parts:
            rows = part.stop - part.start
            request = part.request
            request.scores[part.start : part.stop] = scores[start : start + rows]
            start += rows
            request.scored += rows
            if request.scored == len(request.encoded):
                _settle(request, None)


def _joined(parts: list[Part]) -> EncodedPairs:
    """The parts' rows end to end."""
    taken = [part.request.encoded.take(np.arange(part.start, part.stop)) for part in parts]
    if len(taken) == 1:
        return taken[0]
    lengths = np.concatenate([encoded.lengths for encoded in taken])
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    ids = np.concatenate([encoded.token_ids for encoded in taken])
    return EncodedPairs(ids, offsets, np.concatenate([encoded.truncated for encoded in taken]))


def _settle(request: Waiting, error: Exception | None) -> None:
    """Answer a request from the scoring thread; one that gave up meanwhile hears nothing."""

    def settle() -> None:
        if request.answer.done():
            return
        if error is not None:
            request.answer.set_exception(error)
        else:
            request.answer.set_result(request.scores)

    try:
        request.answer.get_loop().call_soon_threadsafe(settle)
    except RuntimeError:
        log.warning("a request's event loop ended before its answer")
