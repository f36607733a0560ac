"""Where two systems differ: wins, ties and losses by query, and the queries that lose most."""

from collections.abc import Mapping
from typing import Any, NamedTuple

WORST = 10
# Two sums of the same terms in another order may differ in the last bits; that is no win.
EQUAL_WITHIN = 1e-9


class Outcome(NamedTuple):
    """Queries on which a system is better than, as good as, and worse than the baseline."""

    wins: int
    ties: int
    losses: int


def win_tie_loss(baseline: Mapping[str, float], system: Mapping[str, float]) -> Outcome:
    """Count queries by the sign of system − baseline."""
    differences = [system[query_id] - value for query_id, value in baseline.items()]
    wins = sum(difference > EQUAL_WITHIN for difference in differences)
    losses = sum(difference < -EQUAL_WITHIN for difference in differences)
    return Outcome(wins, len(differences) - wins - losses, losses)


def worst_queries(
    baseline: Mapping[str, float], system: Mapping[str, float], texts: Mapping[str, str], count: int = WORST
) -> list[dict[str, Any]]:
    """The queries that lose most against the baseline, worst first; only such as lose at all.

    Returns:
        `{"query_id", "query", "baseline", "system"}` each.
    """
    losing = [query_id for query_id, value in baseline.items() if system[query_id] < value - EQUAL_WITHIN]
    losing.sort(key=lambda query_id: (system[query_id] - baseline[query_id], query_id))
    return [
        {
            "query_id": query_id,
            "query": texts[query_id],
            "baseline": baseline[query_id],
            "system": system[query_id],
        }
        for query_id in losing[:count]
    ]
