"""Is a difference between two systems more than chance? Paired tests over queries, corrected for their number.

Sources: Smucker, Allan & Carterette 2007, https://doi.org/10.1145/1321440.1321528 (which tests to use for retrieval);
Holm 1979, https://www.jstor.org/stable/4615733.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

RESAMPLES = 10_000
CONFIDENCE = 0.95


def paired_t_test(a: np.ndarray, b: np.ndarray) -> float:
    """Two-sided p-value of Student's paired t-test on per-query values.

    1.0 where no query differs (nothing speaks against equality), 0.0 where all differ by the same amount.
    """
    difference = a - b
    if np.ptp(difference) == 0:
        return 1.0 if len(difference) < 2 or difference[0] == 0 else 0.0
    return float(stats.ttest_rel(a, b).pvalue)


def randomisation_test(a: np.ndarray, b: np.ndarray, seed: int, resamples: int = RESAMPLES) -> float:
    """Two-sided p-value of Fisher's paired randomisation test on the mean difference.

    Under the null hypothesis the two systems' values of a query may be exchanged. All exchanges are tried where they
    are no more than `resamples`; else so many are drawn with the seed. 1.0 for a single query, which says nothing.
    """
    if len(a) < 2:
        return 1.0
    result = stats.permutation_test(
        (a, b),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, 10_000_000 // max(1, len(a))),
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted by Holm's step-down method, in the order given: a family-wise error of α where p ≤ α."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = largest
    return adjusted


def bootstrap_interval(values: np.ndarray, seed: int, resamples: int = RESAMPLES) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean over queries; a point where all values are the same."""
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    result = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        confidence_level=CONFIDENCE,
        method="percentile",
        vectorized=True,
        batch=max(1, 10_000_000 // len(values)),
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def compare(
    baseline: Mapping[str, float], others: Mapping[str, Mapping[str, float]], seed: int, resamples: int = RESAMPLES
) -> dict[str, dict[str, float]]:
    """Every system against one baseline, on one measure.

    Args:
        baseline: query_id -> value.
        others: system -> query_id -> value, over the same queries.
        seed: of the randomisation test and the bootstrap.
        resamples: random exchanges and bootstrap samples.

    Returns:
        system -> `difference` of the means, its 95 % interval `low`, `high`, the p-values `p_t_test` and
        `p_randomisation`, and both after Holm's correction over the systems, `p_t_test_holm`, `p_randomisation_holm`.
    """
    query_ids = list(baseline)
    base = np.array([baseline[query_id] for query_id in query_ids])
    found: dict[str, dict[str, float]] = {}
    for name, values in others.items():
        own = np.array([values[query_id] for query_id in query_ids])
        low, high = bootstrap_interval(own - base, seed, resamples)
        found[name] = {
            "difference": float((own - base).mean()),
            "low": low,
            "high": high,
            "p_t_test": paired_t_test(own, base),
            "p_randomisation": randomisation_test(own, base, seed, resamples),
        }
    for test in ("p_t_test", "p_randomisation"):
        for name, adjusted in zip(found, holm([row[test] for row in found.values()]), strict=True):
            found[name][f"{test}_holm"] = adjusted
    return found
