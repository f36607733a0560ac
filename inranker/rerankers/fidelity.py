"""How much a precision (or another backend) changes a reranker's answers: the price of its speed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from .contract import Contract
from .reranker import load, scores


@dataclass(frozen=True)
class Fidelity:
    """Differences between two sets of logits on the same pairs."""

    pairs: int
    """Pairs compared."""
    max_error: float
    """Largest |Δlogit|."""
    mean_error: float
    """Mean |Δlogit|."""
    flips: int
    """Couples of one query's passages that change order."""
    couples: int
    """Couples of one query's passages whose reference scores differ."""
    kendall_tau: float
    """Mean over queries of Kendall's τ (ties in the reference left out) between the two orders."""


def compare(logits: np.ndarray, reference: np.ndarray, query_ids: Sequence[str], contract: Contract) -> Fidelity:
    """Fidelity of `logits` [n, 2] to `reference` [n, 2]; rows of one query carry the same id.

    Raises:
        ValueError: shapes differ or nothing is compared.
    """
    if logits.shape != reference.shape or len(query_ids) != len(logits) or not len(logits):
        raise ValueError(f"cannot compare logits {logits.shape} with {reference.shape}, {len(query_ids)} ids")
    error = np.abs(logits.astype(np.float64) - reference)
    ours, theirs = scores(logits, contract), scores(reference, contract)
    rows_of: dict[str, list[int]] = {}
    for row, query_id in enumerate(query_ids):
        rows_of.setdefault(query_id, []).append(row)
    flips = couples = 0
    taus = []
    for rows in rows_of.values():
        changed, compared = _flips(ours[rows], theirs[rows])
        flips, couples = flips + changed, couples + compared
        if compared:
            taus.append(1 - 2 * changed / compared)
    tau = float(np.mean(taus)) if taus else 1.0
    return Fidelity(len(logits), float(error.max()), float(error.mean()), flips, couples, tau)


def kendall_tau(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Kendall's τ of one query's scores to the reference's; ties in the reference are left out, a new tie is a flip."""
    changed, compared = _flips(ours, theirs)
    return 1 - 2 * changed / compared if compared else 1.0


def report(
    name: str | Path, dtype: str, queries: Sequence[str], passages: Sequence[str], **overrides: Any
) -> dict[str, Any]:
    """Score a sample in `dtype` and in float32 and compare: the fields of `Fidelity` and the two names."""
    reference = load(name, dtype="float32", **overrides)
    encoded = reference.encoder.encode(queries, passages)
    expected = reference.logits(encoded)
    actual = load(name, dtype=dtype, **overrides).logits(encoded)
    found = compare(actual, expected, queries, reference.contract)
    return {"model": str(name), "dtype": dtype, **asdict(found)}


def _flips(ours: np.ndarray, theirs: np.ndarray) -> tuple[int, int]:
    """(couples in another order or newly tied, couples whose reference scores differ)."""
    changed = compared = 0
    for i, j in combinations(range(len(ours)), 2):
        if theirs[i] != theirs[j]:
            compared += 1
            changed += bool((ours[i] > ours[j]) != (theirs[i] > theirs[j]) or ours[i] == ours[j])
    return changed, compared
