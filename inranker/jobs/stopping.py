"""SIGTERM to a driver (`ray job stop`, a pod that is taken away): end at once and say what stands."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Never

STOPPED_BY_SIGNAL = 143  # what a shell reports of a process that SIGTERM ended


@contextmanager
def stoppable(standing: Callable[[], str]) -> Iterator[None]:
    """While open, SIGTERM ends a job whose finished work is safe at any time.

    Args:
        standing: what is done, for people; asked when the job has ended.

    Raises:
        SystemExit: SIGTERM came.
    """
    if threading.current_thread() is not threading.main_thread():  # no handler can be set in another
        yield
        return
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> Never:
        stopped.set()
        raise SystemExit(STOPPED_BY_SIGNAL)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        if stopped.is_set():
            print(f"stopped: {standing()}; the same command goes on from there", file=sys.stderr, flush=True)
