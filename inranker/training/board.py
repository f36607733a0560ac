"""What the driver and the workers tell each other while a job runs: progress one way, a request to stop the other."""

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from tqdm import tqdm

from inranker.bars import bar_stream

POLL_SECONDS = 0.5


class Board:
    """Holds the last progress and whether the job is to stop; lives in an actor of its own."""

    def __init__(self) -> None:
        self.progress: dict[str, Any] = {}
        self.stop = False

    def tell(self, progress: dict[str, Any]) -> bool:
        """Note progress; returns whether the job is to stop."""
        # The step itself is made by whoever tells it, so a loop that goes on from step s tells s + 1 first.
        if progress["step"] <= (before := self.progress.get("step", 0)):
            print(
                f"a worker was lost: training goes on from step {progress['step'] - 1} after step {before}",
                file=sys.stderr,
                flush=True,
            )
        self.progress = progress
        return self.stop

    def exchange(self, stop: bool) -> dict[str, Any]:
        """The driver's side: note its wish, read the progress."""
        self.stop = self.stop or stop
        return self.progress


class Watcher:
    """The driver's thread beside a running job: draws the bar and passes SIGTERM on.

    Workers run the loop off their main thread, where Python allows no signal handler, so the driver catches the signal
    and the workers agree on a step at which to save and return.

    Args:
        exchange: what `Board.exchange` does, called with whether to stop.
        shown: whether to draw the bar (on stderr).
    """

    def __init__(self, exchange: Callable[[bool], dict[str, Any]], shown: bool) -> None:
        self.exchange = exchange
        self.bar = tqdm(unit="pair", unit_scale=True, desc="train", file=bar_stream(), disable=not shown, smoothing=0.1)
        self.stop = threading.Event()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="training-progress", daemon=True)
        self.before: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self.before = signal.signal(signal.SIGTERM, self._on_signal)
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.done.set()
        self.thread.join(timeout=10 * POLL_SECONDS)
        self.bar.close()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stop.set()

    def _watch(self) -> None:
        while not self.done.wait(POLL_SECONDS):
            try:
                self.draw(self.exchange(self.stop.is_set()))
            except Exception:
                if not self.done.is_set():
                    self.bar.write("progress is not known: the job's board cannot be reached")
                return

    def draw(self, progress: dict[str, Any]) -> None:
        """Move the bar to what a worker last said."""
        if not progress:
            return
        done = progress["pairs_before"] + progress["pairs"]
        self.bar.total = round(done * progress["steps"] / progress["step"])
        self.bar.initial = progress["pairs_before"]  # an earlier start's, no part of the speed
        self.bar.n = done
        loss = f"loss {progress['loss']:.4f}, " if "loss" in progress else ""
        self.bar.set_postfix_str(f"{loss}step {progress['step']}/{progress['steps']}", refresh=False)
        self.bar.refresh()
