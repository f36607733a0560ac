"""Wins, ties, losses and the worst queries."""

from inranker.evaluation.per_query import Outcome, win_tie_loss, worst_queries

BASELINE = {"q1": 0.5, "q2": 0.1 + 0.2, "q3": 1.0, "q4": 0.8, "q5": 0.6}
SYSTEM = {"q5": 0.4, "q4": 0.2, "q3": 0.8, "q2": 0.3, "q1": 0.75}
TEXTS = {query_id: f"text of {query_id}" for query_id in BASELINE}


def test_counts() -> None:
    assert win_tie_loss(BASELINE, SYSTEM) == Outcome(wins=1, ties=1, losses=3)
    assert win_tie_loss(BASELINE, BASELINE) == Outcome(0, 5, 0)


def test_worst_first_and_ties_by_id() -> None:
    worst = worst_queries(BASELINE, SYSTEM, TEXTS, count=2)
    assert [row["query_id"] for row in worst] == ["q4", "q3"]
    assert worst[0] == {"query_id": "q4", "query": "text of q4", "baseline": 0.8, "system": 0.2}
    assert [row["query_id"] for row in worst_queries(BASELINE, SYSTEM, TEXTS)] == ["q4", "q3", "q5"]


def test_a_query_that_does_not_lose_is_never_among_the_worst() -> None:
    assert worst_queries(BASELINE, BASELINE, TEXTS) == []
