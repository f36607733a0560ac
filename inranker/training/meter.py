"""What is measured while training: the loss and its parts over a window of updates, speed, and signs of collapse."""

import json
import math
import time
from dataclasses import dataclass, field
from typing import Any

import torch

from inranker.errors import UserError
from inranker.storage import Store
from inranker.training.trackers import open_trackers

METRICS = "metrics.jsonl"
# Columns of the vector that workers exchange after each update; sums first, then what is maximised.
LOSS, DELTA, S, HIGHEST, MINUS_LOWEST, STOP = range(6)
EQUAL_SCORES = 1e-7  # spread of scores, relative to their size, below which they count as all equal
COLLAPSED_WINDOWS = 20  # windows of equal scores in a row before the job stops: a fresh student starts nearly so


def exchange(vector: torch.Tensor, world: int) -> torch.Tensor:
    """The vectors of all workers as one: sums of the first columns, maxima of the rest."""
    if world == 1:
        return vector
    vectors = [torch.empty_like(vector) for _ in range(world)]
    torch.distributed.all_gather(vectors, vector)
    stacked = torch.stack(vectors)
    return torch.cat([stacked[:, :HIGHEST].sum(dim=0), stacked[:, HIGHEST:].amax(dim=0)])


@dataclass
class Meter:
    """Means over a window of updates; the same numbers on every worker, so that all decide alike."""

    window: int
    started: float = field(default_factory=time.perf_counter)
    updates: int = 0
    pairs: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0] * 3)
    highest: float = -math.inf
    lowest: float = math.inf
    equal_windows: int = 0

    def add(self, step: int, columns: torch.Tensor, pairs: int) -> bool:
        """Count an update; returns whether a worker asked to stop.

        Raises:
            UserError: its loss is not a number.
        """
        vector: list[float] = columns.tolist()
        if not math.isfinite(vector[LOSS]):
            raise UserError(
                f"the loss of update {step} is {vector[LOSS]}: training has collapsed; lower learning_rate, or raise "
                "warmup_steps, and look at the labels for outliers"
            )
        self.sums = [total + value for total, value in zip(self.sums, vector[:HIGHEST], strict=True)]
        self.highest, self.lowest = max(self.highest, vector[HIGHEST]), min(self.lowest, -vector[MINUS_LOWEST])
        self.updates += 1
        self.pairs += pairs
        return bool(vector[STOP])

    def close(self, step: int) -> dict[str, float]:
        """The means of the window, which starts anew.

        Raises:
            UserError: for many windows every pair has had the same score.
        """
        spread = self.highest - self.lowest
        equal = spread <= EQUAL_SCORES * max(1.0, abs(self.highest))
        self.equal_windows = self.equal_windows + 1 if equal else 0
        if self.equal_windows >= COLLAPSED_WINDOWS:
            raise UserError(
                f"all scores are equal ({self.highest:.4g}) in the {self.equal_windows * self.window} updates before "
                f"{step}: the student has collapsed; lower learning_rate, or raise warmup_steps"
            )
        now = time.perf_counter()
        loss, delta, s = (total / self.updates for total in self.sums)
        line = {"loss": loss, "delta": delta, "s": s, "pairs_per_second": self.pairs / max(1e-9, now - self.started)}
        self.started, self.updates, self.pairs, self.sums = now, 0, 0, [0.0] * 3
        self.highest, self.lowest = -math.inf, math.inf
        return line


class MetricsFile:
    """metrics.jsonl in the output: one line a window, appended on disk and rewritten as a whole elsewhere.

    Args:
        output: the job's directory or URL.
        step: updates made so far; lines beyond it (of a start that died after its last checkpoint) are dropped.
    """

    def __init__(self, output: str, step: int) -> None:
        self.store = Store(output)
        text = self.store.read(METRICS).decode() if self.store.exists(METRICS) else ""
        lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
        self.lines = [json.dumps(line) for line in lines if line["step"] <= step]
        self.store.write(METRICS, self._text())

    def write(self, line: dict[str, Any]) -> None:
        """Add a line."""
        self.lines.append(json.dumps(line))
        local = self.store.local_path(METRICS)
        if local is not None:
            with open(local, "a", encoding="utf-8") as file:
                file.write(self.lines[-1] + "\n")

    def flush(self) -> None:
        """Make all lines so far visible on stores that cannot append."""
        if self.store.local_path(METRICS) is None:
            self.store.write(METRICS, self._text())

    def _text(self) -> bytes:
        return "".join(line + "\n" for line in self.lines).encode()


class Books:
    """What rank 0 writes down: metrics.jsonl and the trackers.

    Args:
        output, names, about: the job's directory or URL, its trackers, and what it is.
        step: updates made before this start.
    """

    def __init__(self, output: str, names: list[str], about: dict[str, Any], step: int) -> None:
        self.file = MetricsFile(output, step)
        self.trackers = open_trackers(names, output, step, about)

    def write(self, line: dict[str, Any]) -> None:
        """Add a line."""
        self.file.write(line)
        for tracker in self.trackers:
            tracker.write(line)

    def flush(self) -> None:
        """Make all lines so far durable."""
        self.file.flush()

    def close(self) -> None:
        """No line comes after this."""
        self.file.flush()
        for tracker in self.trackers:
            tracker.close()
