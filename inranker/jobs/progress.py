"""What a person watching a job sees: items (pairs, prompts) done, items/s, tokens/s, share of the peak, time left,
cost so far.

The same figures go to the terminal as a bar, to `progress.json` in the output, and to whoever else is told (the graph
tells Ray, which serves them to Prometheus). `progress.json` is for looking at: no stage reads it.
"""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from inranker.bars import bar_stream
from inranker.jobs.kind import Costs, JobKind
from inranker.manifest import to_json
from inranker.patience import is_transient
from inranker.storage import Store
from inranker.units import Unit

PROGRESS = "progress.json"
INTERVAL_SECONDS = 10.0

Figures = dict[str, Any]
Listener = Callable[[Figures], None]
log = logging.getLogger(__name__)


class UnitProgress:
    """Counts finished units and tells the figures to a bar and to listeners.

    Args:
        kind: the job's; figures and bar carry its stage and its noun.
        units: all units of the job.
        pending: those that this start has to do; the others count as progress but not as speed.
        execution: number and price of the actors, peak of their accelerators, whether to draw the bar (on stderr).
        flops: (items, tokens, squared lengths) -> operations; None where no peak is known to hold them against.
        listeners: called with the figures every ten seconds and at the end.
    """

    def __init__(
        self,
        kind: JobKind,
        units: Sequence[Unit],
        pending: Sequence[Unit],
        execution: Costs,
        flops: Callable[[int, int, int], float] | None,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self.kind, self.execution, self.flops, self.listeners = kind, execution, flops, listeners
        self.items = sum(unit.rows for unit in units)
        self.before = self.items - sum(unit.rows for unit in pending)
        self.units, self.units_done = len(units), len(units) - len(pending)
        self.done = self.scored = self.tokens = self.squares = self.quarantined = 0
        self.busy_seconds = 0.0
        self.state = "running"
        self.started = self.told = time.monotonic()
        self.bar = tqdm(
            total=self.items,
            initial=self.before,
            unit=kind.item,
            unit_scale=True,
            desc=kind.stage,
            file=bar_stream(),
            disable=not execution.progress,
            smoothing=0.1,
        )

    def __enter__(self) -> Self:
        self._tell()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.state = "stopped" if error else "done"
        self._tell()
        self.bar.close()

    def advance(self, committed: dict[str, Any]) -> None:
        """Count a unit: `rows`, `quarantined`, and of the items done in it their number, `tokens`, the sum of their
        squared lengths, and the actor's `seconds`."""
        self.units_done += 1
        self.done += committed["rows"]
        for name in ("scored", "tokens", "squares", "quarantined"):
            setattr(self, name, getattr(self, name) + committed[name])
        self.busy_seconds += committed["seconds"]
        self.bar.set_postfix_str(describe(self.figures()), refresh=False)
        self.bar.update(committed["rows"])
        if time.monotonic() - self.told >= INTERVAL_SECONDS:
            self._tell()

    def figures(self) -> Figures:
        """Where the job stands; speed, time left and cost are of this start."""
        elapsed = time.monotonic() - self.started
        # The actors are paid for from the start, busy or not; a pool that has grown shows in the busy seconds.
        actor_seconds = max(elapsed * self.execution.actors, self.busy_seconds)
        rate = self.done / elapsed if elapsed else 0.0
        price = self.execution.price_per_hour
        return {
            "stage": self.kind.stage,
            "state": self.state,
            self.kind.items: self.items,
            f"{self.kind.items}_done": self.before + self.done,
            "units": self.units,
            "units_done": self.units_done,
            "quarantined": self.quarantined,
            f"{self.kind.items}_per_second": round(rate, 2),
            "tokens_per_second": round(self.tokens / elapsed, 1) if elapsed else 0.0,
            "share_of_peak": self._share_of_peak(actor_seconds),
            "elapsed_seconds": round(elapsed, 1),
            "eta_seconds": round((self.items - self.before - self.done) / rate, 1) if rate else None,
            "actor_hours": round(actor_seconds / 3600, 4),
            "cost": None if price is None else round(actor_seconds / 3600 * price, 4),
            "updated_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def _share_of_peak(self, actor_seconds: float) -> float | None:
        peak = self.execution.peak_tflops
        if self.flops is None or not peak or not actor_seconds:
            return None
        flops = self.flops(self.scored, self.tokens, self.squares)
        return float(f"{flops / actor_seconds / (peak * 1e12):.4g}")

    def _tell(self) -> None:
        self.told = time.monotonic()
        figures = self.figures()
        for listener in self.listeners:
            listener(figures)


def describe(figures: Figures) -> str:
    """What stands behind the bar; items, items/s and the time left are the bar's own."""
    parts = [f"{figures['tokens_per_second']:,.0f} tokens/s"]
    if figures["share_of_peak"] is not None:
        parts.append(f"{figures['share_of_peak']:.0%} of peak")
    if figures["cost"] is not None:
        parts.append(f"cost {figures['cost']:,.2f}")
    return ", ".join([*parts, f"{figures['quarantined']} quarantined"])


def to_store(store: Store) -> Listener:
    """Keep the figures in the output's `progress.json`; a store that is away for a moment only misses a report."""

    def write(figures: Figures) -> None:
        try:
            store.replace(PROGRESS, to_json(figures))
        except Exception as error:
            if not isinstance(error, OSError) and not is_transient(error):
                raise
            log.warning("%s could not be written: %s", PROGRESS, type(error).__name__)

    return write
