"""Runs a plan of batches: on several threads, in any order, with less memory when it runs out.

On a CPU one single-threaded worker for each core beats one batch on all cores: nothing waits at the end of each
operation, and the small steps between matrix products run on all cores too.
"""

import ctypes
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from threading import Barrier

import numpy as np
import torch

from .batching import plan_batches, plan_packed

log = logging.getLogger(__name__)

BatchLogits = Callable[[np.ndarray], np.ndarray]
# glibc's names for what mallopt sets.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


class BatchRunner:
    """Logits of every row, whatever the order and size of the batches.

    Args:
        batch_logits: rows [b] -> logits [b, 2]; must be safe to call from several threads when workers > 1.
        lengths: tokens of each input, [n].
        token_budget: tokens of a batch, padding included.
        packed: whether `batch_logits` needs no padding.
        width: numbers of a row; 2 are logits.
    """

    def __init__(
        self, batch_logits: BatchLogits, lengths: np.ndarray, token_budget: int, packed: bool = False, width: int = 2
    ) -> None:
        self._batch_logits = batch_logits
        self._width = width
        self._packed = packed
        self._lengths = lengths
        self.token_budget = token_budget
        self._warned = False

    def run(self, workers: int = 1) -> np.ndarray:
        """Logits [n, 2] float32 in input order; [n, width] where the rows are wider."""
        logits = np.empty((len(self._lengths), self._width), dtype=np.float32)

        def fill(rows: np.ndarray) -> None:
            for part, values in self._attempt(rows):
                logits[part] = values

        plan = self._plan(np.arange(len(self._lengths)), workers)
        if workers == 1 or len(plan) == 1:
            for rows in plan:
                fill(rows)
        else:
            _on_threads(fill, plan, workers)
        return logits

    def _plan(self, rows: np.ndarray, workers: int = 1) -> list[np.ndarray]:
        lengths = self._lengths[rows]
        if self._packed:
            return [rows[part] for part in plan_packed(lengths, self.token_budget, workers)]
        return [rows[part] for part in plan_batches(lengths, self.token_budget)]

    def _attempt(self, rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Logits of these rows in one piece, or in smaller ones once memory has run out."""
        done, left = [], [rows]
        while left:
            rows = left.pop()
            if len(rows) > 1 and self._tokens(rows) > self.token_budget:
                left += self._plan(rows)
                continue
            try:
                done.append((rows, self._batch_logits(rows)))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(rows) == 1:
                    raise
                self._halve(self._tokens(rows))
                left.append(rows)
        return done

    def _tokens(self, rows: np.ndarray) -> int:
        lengths = self._lengths[rows]
        return int(lengths.sum()) if self._packed else len(rows) * int(lengths.max())

    def _halve(self, failed: int) -> None:
        """Lower the budget below the batch that failed; a batch of another thread may have done so before."""
        self.token_budget = max(1, min(self.token_budget, failed // 2))
        if not self._warned:
            self._warned = True
            log.warning("out of memory: continuing with batches of at most %d tokens", self.token_budget)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on a GPU or on the CPU (where torch has no exception of its own for it)."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return "not enough memory" in str(error) or "out of memory" in str(error)


def _on_threads(fill: Callable[[np.ndarray], None], plan: list[np.ndarray], workers: int) -> None:
    """Run the plan on threads that each use one core; the first error ends it."""
    pool = _core_threads(workers)
    futures = [pool.submit(fill, rows) for rows in plan]
    try:
        for future in futures:
            future.result()
    except BaseException:
        for future in futures:
            future.cancel()
        wait(futures)  # those that run still write into the caller's array
        raise


@cache
def _core_threads(workers: int) -> ThreadPoolExecutor:
    """This process's threads of one core each, for all its callers: what the first has in hand goes first, and a core
    that finds nothing left of it takes the next one's."""
    threads = torch.get_num_threads()
    all_there = Barrier(workers)

    def begin() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # at its first use of torch a thread takes the default, which is 1 only now
        all_there.wait()

    pool = ThreadPoolExecutor(workers, thread_name_prefix="one-core")
    try:
        for started in [pool.submit(begin) for _ in range(workers)]:
            started.result()
    finally:
        # The number is a thread's own, but also the default of threads to come, so it is put back.
        torch.set_num_threads(threads)
    return pool


if hasattr(os, "register_at_fork"):
    # A forked process has none of these threads.
    os.register_at_fork(after_in_child=_core_threads.cache_clear)


@contextmanager
def threads_kept() -> Iterator[None]:
    """Put torch's number of threads back: CTranslate2 shares its OpenMP runtime and sets the number for both."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@cache
def keep_freed_memory() -> bool:
    """Ask glibc to keep freed memory for the next batch instead of returning it to the system.

    Activations of some megabytes are otherwise unmapped after every layer, and mapping them again costs up to a
    tenth of the time. Returns whether the allocator understood (not on macOS, musl or Windows).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, 1 << 30) and mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1))
