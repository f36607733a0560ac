"""How faithfully a student follows its teacher, on pairs that both have scored."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from inranker.evaluation.agreement import agreement, gains, mean_agreement, rows_by_query

# N: pairs. 2: the classes, in the order false, true.


def mse(student_N2: np.ndarray, teacher_N2: np.ndarray) -> float:
    """Eq. 2 of the paper: squared distance of raw student logits to centred teacher logits (Eq. 1), summed over the
    two logits, mean over pairs. https://arxiv.org/abs/2401.06910
    """
    return float(np.square(student_N2.astype(np.float64) - centre(teacher_N2)).sum(axis=1).mean())


def mse_constant(teacher_N2: np.ndarray) -> float:
    """Eq. 2 of the best predictor that gives every pair the same two logits: the targets' variance."""
    return float(centre(teacher_N2).var(axis=0).sum())


def centre(logits_N2: np.ndarray) -> np.ndarray:
    """Eq. 1: each pair's logits without their mean, float64."""
    wide_N2 = logits_N2.astype(np.float64)
    return wide_N2 - wide_N2.mean(axis=1, keepdims=True)


def kendall_tau(query_ids: Sequence[str], student_N: np.ndarray, teacher_N: np.ndarray) -> float:
    """Mean over queries of Kendall's tau-b between two systems' scores of a query's passages.

    A query for which the teacher has no preference (fewer than two different scores) is left out; one for which only
    the student has none counts as 0, no agreement. NaN when no query is left.
    """
    taus = []
    for rows in rows_by_query(query_ids).values():
        if np.ptp(teacher_N[rows]) == 0:
            continue
        tied = np.ptp(student_N[rows]) == 0
        taus.append(0.0 if tied else float(stats.kendalltau(student_N[rows], teacher_N[rows]).statistic))
    return float(np.mean(taus)) if taus else float("nan")


def rank_flips(query_ids: Sequence[str], student_N: np.ndarray, teacher_N: np.ndarray) -> float:
    """Share of a query's passage pairs that the student orders against the teacher's strict order, over all queries.

    A student's tie is no flip. NaN when the teacher orders no pair.
    """
    flipped = ordered = 0
    for rows in rows_by_query(query_ids).values():
        teacher_LL = np.sign(teacher_N[rows][:, None] - teacher_N[rows][None, :])
        student_LL = np.sign(student_N[rows][:, None] - student_N[rows][None, :])
        ordered += int((teacher_LL > 0).sum())
        flipped += int(((teacher_LL > 0) & (student_LL < 0)).sum())
    return flipped / ordered if ordered else float("nan")


def fidelity(
    query_ids: Sequence[str],
    teacher_N2: np.ndarray,
    teacher_N: np.ndarray,
    student_N2: np.ndarray,
    student_N: np.ndarray,
    before_N2: np.ndarray | None = None,
) -> dict[str, float]:
    """Every figure of fidelity of one student.

    Args:
        query_ids: query of each pair.
        teacher_N2: the teacher's raw logits.
        teacher_N: the teacher's scores, by which it ranks.
        student_N2: the student's raw logits.
        student_N: the student's scores, by which it ranks.
        before_N2: raw logits of the student before it was trained, for `mse_before`.

    Returns:
        `mse`, `mse_constant`, `kendall_tau`, `rank_flips`, `top_1` and `ndcg_10` (see `agreement`), and `mse_before`
        when asked for. A figure that is not defined on these pairs is left out.
    """
    agreed = mean_agreement(agreement(query_ids, gains(teacher_N2), teacher_N, student_N))
    figures = {
        "mse": mse(student_N2, teacher_N2),
        "mse_constant": mse_constant(teacher_N2),
        "kendall_tau": kendall_tau(query_ids, student_N, teacher_N),
        "rank_flips": rank_flips(query_ids, student_N, teacher_N),
        "top_1": agreed["top-1"],
        "ndcg_10": agreed["nDCG@10"],
    }
    if before_N2 is not None:
        figures["mse_before"] = mse(before_N2, teacher_N2)
    return {name: value for name, value in figures.items() if not np.isnan(value)}
