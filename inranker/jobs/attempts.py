"""How often a unit may be started: a small module, since the process that counts imports nothing else."""

import sys
from collections import defaultdict
from collections.abc import Callable

from inranker.errors import UserError


class UnitAttempts:
    """Counts the starts of each unit, outside the processes that a unit may kill (Ray's own retries are unbounded).

    A start on a node that has died since says nothing against the unit and does not count: machines that may be taken
    away at any time are what a job runs on.

    Args:
        limit: starts of one unit on nodes that live.
        items: what the rows of a unit are called.
        living_nodes: ids of the nodes that live; None where there are no nodes.
    """

    def __init__(self, limit: int, items: str = "rows", living_nodes: Callable[[], set[str]] | None = None) -> None:
        self.limit = limit
        self.items = items
        self.living_nodes = living_nodes
        self.starts: defaultdict[tuple[str, str], list[str]] = defaultdict(list)

    def begin(self, unit_name: str, stage: str, node: str = "") -> int:
        """Note a start of a stage's work on a unit.

        Returns:
            How often it has been started, this time included.

        Raises:
            UserError: it has been started as often as it may.
        """
        nodes = self.starts[stage, unit_name]
        nodes.append(node)
        if len(nodes) > 1:
            print(f"unit {unit_name} is started again in {stage}: start {len(nodes)}", file=sys.stderr, flush=True)
        # Asked only now, when the deaths of the earlier starts' nodes are known to the cluster.
        if len(nodes) > self.limit and self._counted(nodes) > self.limit:
            raise UserError(
                f"unit {unit_name} ended its process {self.limit} times in {stage}; look at its {self.items} "
                f"(number-start-stop are the {self.items} shard and rows) or raise --execution.max_attempts"
            )
        return len(nodes)

    def _counted(self, nodes: list[str]) -> int:
        if self.living_nodes is None:
            return len(nodes)
        living = self.living_nodes()
        return sum(node in living for node in nodes)
