"""The queries that lose most, with what one must see to know why: what stood first, where the relevant one went."""

from collections.abc import Sequence
from typing import Any

from inranker.evaluation.prepared import Prepared
from inranker.retrieval.runs import Run
from inranker.types import ScoredDoc

MOST_CHARACTERS = 600  # of a passage: the summary keeps ten queries of every system


def with_passages(worst: list[dict[str, Any]], baseline: Run, system: Run, own: Prepared) -> list[dict[str, Any]]:
    """Each of the queries with passages.

    Args:
        worst: see `per_query.worst_queries`.
        baseline: the baseline's run.
        system: the system's run.
        own: judgments and texts.

    Returns:
        The same with `first` and `relevant`, both `{"passage_id", "text", "relevance", "baseline_rank",
        "system_rank"}`: the passage that the system puts first, and, of the relevant passages that the baseline found,
        its best; `relevant` is null where there is none, `relevance` where nobody judged, a rank where the run ends.
    """
    judged: dict[str, dict[str, int]] = {}
    for qrel in own.qrels:
        judged.setdefault(qrel.query_id, {})[qrel.passage_id] = qrel.relevance
    found = []
    for row in worst:
        before, after = (_ranks(run.get(row["query_id"], ())) for run in (baseline, system))
        relevance = judged.get(row["query_id"], {})
        relevant = [passage_id for passage_id in before if relevance.get(passage_id, 0) > 0]
        best = min(relevant, key=lambda passage_id: (-relevance[passage_id], before[passage_id]), default=None)
        shown = {"first": next(iter(after), None), "relevant": best}
        found.append(
            {
                **row,
                **{
                    name: None
                    if passage_id is None
                    else {
                        "passage_id": passage_id,
                        "text": own.passages.get(passage_id, "")[:MOST_CHARACTERS],
                        "relevance": relevance.get(passage_id),
                        "baseline_rank": before.get(passage_id),
                        "system_rank": after.get(passage_id),
                    }
                    for name, passage_id in shown.items()
                },
            }
        )
    return found


def _ranks(docs: Sequence[ScoredDoc]) -> dict[str, int]:
    return {doc.passage_id: rank for rank, doc in enumerate(docs, start=1)}
