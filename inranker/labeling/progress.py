"""What a person watching a job sees: pairs done, pairs/s, tokens/s, time left."""

from types import TracebackType
from typing import Any, Self

from tqdm import tqdm


class UnitProgress:
    """A progress bar in pairs, fed one finished unit at a time.

    Args:
        total: pairs of the job.
        done: pairs that earlier starts finished; they count as progress but not as speed.
        shown: whether to draw it (on stderr).
    """

    def __init__(self, total: int, done: int, shown: bool) -> None:
        self.bar = tqdm(
            total=total, initial=done, unit="pair", unit_scale=True, desc="label", disable=not shown, smoothing=0.1
        )
        self.tokens = 0
        self.quarantined = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bar.close()

    def advance(self, committed: dict[str, Any]) -> None:
        """Count a unit: `rows`, `quarantined`, `tokens`."""
        self.tokens += committed["tokens"]
        self.quarantined += committed["quarantined"]
        elapsed = self.bar.format_dict["elapsed"]
        if elapsed:
            self.bar.set_postfix_str(
                f"{self.tokens / elapsed:,.0f} tokens/s, {self.quarantined} quarantined", refresh=False
            )
        self.bar.update(committed["rows"])
