"""How often a unit may be started: a small module, since the process that counts imports nothing else."""

from collections import Counter

from inranker.errors import UserError


class UnitAttempts:
    """Counts the starts of each unit, outside the processes that a unit may kill (Ray's own retries are unbounded)."""

    def __init__(self, limit: int, items: str = "rows") -> None:
        self.limit = limit
        self.items = items
        self.starts: Counter[tuple[str, str]] = Counter()

    def begin(self, unit_name: str, stage: str) -> None:
        """Note a start of a stage's work on a unit.

        Raises:
            UserError: it has been started as often as it may.
        """
        self.starts[stage, unit_name] += 1
        if self.starts[stage, unit_name] > self.limit:
            raise UserError(
                f"unit {unit_name} ended its process {self.limit} times in {stage}; look at its {self.items} "
                f"(number-start-stop are the {self.items} shard and rows) or raise --execution.max_attempts"
            )
