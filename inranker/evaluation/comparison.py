"""Every system against a baseline: how big, how sure, on which queries, and whether re-ranking helps at all."""

from collections.abc import Mapping
from typing import Any

from inranker.evaluation.per_query import win_tie_loss, worst_queries
from inranker.evaluation.significance import RESAMPLES, compare
from inranker.evaluation.table import render_rows


def comparison(
    baseline: str,
    values: Mapping[str, Mapping[str, float]],
    texts: Mapping[str, str],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Compare every other system with the baseline on one measure.

    Args:
        baseline: name of the baseline.
        values: system -> query_id -> value of the measure.
        texts: query_id -> query.
        seed: of the randomisation test and the bootstrap.
        resamples: random exchanges and bootstrap samples.

    Returns:
        `baseline`, and `systems`: name -> the figures of `significance.compare`, `wins`, `ties`, `losses`, `better`
        (`yes` or `no` where the interval of the difference lies on one side of 0, else `unclear`) and `worst`, the
        queries that lose most.
    """
    base = values[baseline]
    others = {name: own for name, own in values.items() if name != baseline}
    systems: dict[str, Any] = {}
    for name, figures in compare(base, others, seed, resamples).items():
        systems[name] = {
            **figures,
            **win_tie_loss(base, others[name])._asdict(),
            "better": _verdict(figures["low"], figures["high"]),
            "worst": worst_queries(base, others[name], texts),
        }
    return {"baseline": baseline, "systems": systems}


def render_comparison(found: Mapping[str, Any], measure: str) -> str:
    """The comparison as a table; p-values are Holm's."""
    header = [
        f"{measure} against {found['baseline']}",
        "difference",
        "95 % interval",
        "p (t-test)",
        "p (randomisation)",
        "wins/ties/losses",
        "better",
    ]
    rows = [
        [
            name,
            f"{row['difference']:+.4f}",
            f"{row['low']:+.4f} … {row['high']:+.4f}",
            _p_value(row["p_t_test_holm"]),
            _p_value(row["p_randomisation_holm"]),
            f"{row['wins']}/{row['ties']}/{row['losses']}",
            row["better"],
        ]
        for name, row in found["systems"].items()
    ]
    return render_rows(header, rows)


def _verdict(low: float, high: float) -> str:
    if low > 0:
        return "yes"
    return "no" if high < 0 else "unclear"


def _p_value(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"
