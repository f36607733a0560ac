"""Quality without qrels: how far a system ranks as its judge does, on queries that it was not trained on.

The judge is a teacher, whose P(true) is what a passage is worth, or a language model with its grades. Every query's
values are kept, so that systems are compared as they are on qrels.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

# N: pairs. 2: the classes, in the order false, true.

MEASURES = ("nDCG@10", "top-1", "tau", "overlap@10")
CUTOFF = 10

PerQuery = dict[str, dict[str, float]]


def gains(logits_N2: np.ndarray) -> np.ndarray:
    """What a teacher thinks a passage is worth: P(true), float64 [N]."""
    wide_N2 = logits_N2.astype(np.float64)
    return 1 / (1 + np.exp(np.clip(wide_N2[:, 0] - wide_N2[:, 1], -700, 700)))


def agreement(query_ids: Sequence[str], gain_N: np.ndarray, judge_N: np.ndarray, system_N: np.ndarray) -> PerQuery:
    """Per-query agreement of a system with its judge.

    A query of which the judge says nothing (all passages alike) is left out.

    Args:
        query_ids: query of each pair.
        gain_N: what each passage is worth to the judge, 0 or more.
        judge_N: the judge's scores, by which it ranks; ties are ties.
        system_N: the system's scores. Its ties rank the passages that the judge likes least first, so that a system
            which cannot tell passages apart gains nothing by it.

    Returns:
        measure -> query_id -> value: `nDCG@10` with the judge's gains; `top-1`, 1 where the system's first passage is
        one that the judge puts first; `tau`, Kendall's tau-b; `overlap@10`, the share of the judge's ten best that are
        among the system's. The last is left out for queries of ten passages and fewer, where it is always 1.
    """
    found: PerQuery = {name: {} for name in MEASURES}
    for query_id, rows in rows_by_query(query_ids).items():
        judge, system, gain = judge_N[rows], system_N[rows], gain_N[rows]
        if np.ptp(judge) == 0:
            continue
        order = np.lexsort((judge, -system))
        best = np.argsort(-judge, kind="stable")
        ideal = dcg(np.sort(gain)[::-1])
        if ideal > 0:
            found["nDCG@10"][query_id] = dcg(gain[order]) / ideal
        found["top-1"][query_id] = float(judge[order[0]] == judge.max())
        tied = np.ptp(system) == 0
        found["tau"][query_id] = 0.0 if tied else float(stats.kendalltau(system, judge).statistic)
        if len(rows) > CUTOFF:
            # Ties at the judge's tenth place: each passage that is as good as the tenth counts as one of the ten.
            tenth = judge[best[CUTOFF - 1]]
            found["overlap@10"][query_id] = float(np.mean(judge[order[:CUTOFF]] >= tenth))
    return found


def mean_agreement(values: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Means over the queries that a measure is defined for; NaN where there is none."""
    return {
        name: float(np.mean(list(by_query.values()))) if by_query else float("nan") for name, by_query in values.items()
    }


def dcg(gain_L: np.ndarray) -> float:
    """Discounted gain of the first ten, gains taken as they are (linear), as trec_eval has it."""
    head = gain_L[:CUTOFF].astype(np.float64)
    return float((head / np.log2(np.arange(2, len(head) + 2))).sum())


def rows_by_query(query_ids: Sequence[str]) -> dict[str, np.ndarray]:
    """Where each query's pairs stand."""
    rows: dict[str, list[int]] = {}
    for row, query_id in enumerate(query_ids):
        rows.setdefault(query_id, []).append(row)
    return {query_id: np.array(own) for query_id, own in rows.items()}
