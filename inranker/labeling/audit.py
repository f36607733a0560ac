"""The audit: some of a job's pairs are scored again by another process in other batches, and the logits compared.

It finds what receipts cannot: an accelerator that computes wrongly, a batch layout that matters, a label that is not
its pair's. Which rows are audited is a function of the seed and the unit alone, so any process can work it out.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from inranker.crashpoints import crash_point
from inranker.fingerprint import plain
from inranker.labeling.config import LabelConfig
from inranker.labeling.job import reranker_overrides
from inranker.labeling.rows import from_parquet, read_unit
from inranker.manifest import read_shard
from inranker.rerankers import load_reranker
from inranker.storage import Store
from inranker.units import Unit, read_receipt

PAIRS_AT_LEAST = 64  # of a small job, whose share would be no pair at all
BLOCK = 8  # neighbours, which mostly are candidates of one query: their order can be compared


@dataclass(frozen=True)
class AuditSettings:
    """What an auditing process needs to know.

    `job` is the job's fingerprint (another teacher at the same path is another one), `share` that of the pairs to
    audit, `overrides` as for the scorer.
    """

    job: str
    pairs: str
    output: str
    teacher: str
    precision: str
    device: str
    threads: int | None
    token_budget: int | None
    overrides: tuple[tuple[str, Any], ...]
    share: float
    seed: int


@dataclass(frozen=True)
class Findings:
    """What an audit saw.

    Attributes:
        pairs, units: how many were scored again, and of how many units.
        max_logit_difference: the largest |difference| of either logit; `worst` names its unit and row.
        orders_compared: pairs of audited passages of one query (within a unit) whose labels differ in score.
        rank_flips: how many of those the second scoring puts in the other order, or on a par.
    """

    pairs: int = 0
    units: int = 0
    max_logit_difference: float = 0.0
    orders_compared: int = 0
    rank_flips: int = 0
    worst: str | None = None


def audit_settings(config: LabelConfig, job: str, total: int, threads: int) -> AuditSettings:
    """The audit of the label job of this fingerprint over `total` pairs; `threads` are those of a CPU process."""
    chosen, execution = config.identity, config.execution
    on_gpu = execution.gpus_per_actor > 0
    return AuditSettings(
        job=job,
        pairs=chosen.pairs,
        output=config.output,
        teacher=chosen.teacher,
        precision=chosen.precision,
        device="cuda" if on_gpu else "cpu",
        threads=None if on_gpu else execution.threads or threads,
        token_budget=execution.token_budget,
        overrides=tuple(reranker_overrides(config).items()),
        share=effective_share(execution.audit_share, total),
        seed=execution.audit_seed,
    )


def audit_figures(settings: AuditSettings, findings: Findings) -> dict[str, Any]:
    """What the manifest says of an audit."""
    return {"share": settings.share, "seed": settings.seed, **plain(findings)}


def effective_share(share: float, total: int) -> float:
    """The share of pairs to audit, raised for small jobs to `PAIRS_AT_LEAST` pairs."""
    return min(1.0, max(share, PAIRS_AT_LEAST / max(1, total))) if share else 0.0


def audited_rows(unit: Unit, share: float, seed: int) -> range:
    """The rows of a unit that are audited: some blocks of neighbours at one place, or none.

    The number of blocks is rounded at random, so that over many small units the share is right.
    """
    digest = hashlib.blake2b(f"{seed} {unit.name}".encode(), digest_size=16).digest()
    rounding, place = (int.from_bytes(part, "little") / 2**64 for part in (digest[:8], digest[8:]))
    block = min(BLOCK, unit.rows)
    rows = min(unit.rows, int(share * unit.rows / block + rounding) * block)
    start = unit.start + int(place * (unit.rows - rows + 1))
    return range(start, start + rows)


def audit_units(settings: AuditSettings, units: Sequence[Unit]) -> Findings:
    """Score the audited rows of some units again; the model is loaded once in each process."""
    findings = _auditor(settings)(units)
    crash_point("during-audit")
    return findings


def merge(parts: Iterable[Findings]) -> Findings:
    """The findings of several processes as one."""
    total = Findings()
    for part in parts:
        worse = part.max_logit_difference > total.max_logit_difference
        total = Findings(
            pairs=total.pairs + part.pairs,
            units=total.units + part.units,
            max_logit_difference=part.max_logit_difference if worse else total.max_logit_difference,
            orders_compared=total.orders_compared + part.orders_compared,
            rank_flips=total.rank_flips + part.rank_flips,
            worst=part.worst if worse else total.worst,
        )
    return total


def share_out(units: Sequence[Unit], share: float, seed: int, processes: int) -> list[list[Unit]]:
    """The units with audited rows, in at most `processes` parts; the units of a pairs shard mostly stay together."""
    chosen = [unit for unit in units if audited_rows(unit, share, seed)]
    size = -(-len(chosen) // max(1, processes))
    return [chosen[start : start + size] for start in range(0, len(chosen), size)] if chosen else []


class Auditor:
    """Scores rows of committed units again and compares; one model per instance."""

    def __init__(self, settings: AuditSettings) -> None:
        import torch

        from inranker.rerankers.reranker import TOKEN_BUDGET

        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.settings = settings
        self.output, self.pairs = Store(settings.output), Store(settings.pairs)
        self.reranker = load_reranker(
            settings.teacher, device=settings.device, dtype=settings.precision, **dict(settings.overrides)
        )
        # Half the budget: other neighbours, other padding, other sizes of every product.
        self.token_budget = max(1, (settings.token_budget or TOKEN_BUDGET[settings.device]) // 2)

    def __call__(self, units: Sequence[Unit]) -> Findings:
        """Audit units, one pairs shard at a time."""
        by_shard: dict[int, list[Unit]] = {}
        for unit in units:
            by_shard.setdefault(unit.number, []).append(unit)
        return merge(self._audit_shard(group) for group in by_shard.values())

    def _audit_shard(self, units: list[Unit]) -> Findings:
        """All units of one pairs shard, so that it is read once and its rows share batches."""
        labels = [self._labels(unit) for unit in units]
        span = Unit(units[0].number, units[0].shard, units[0].start, units[-1].stop)
        pairs = read_unit(self.pairs, span).pairs
        rows = np.concatenate([part["row"].to_numpy() for part in labels])
        texts = pairs.take(np.searchsorted(pairs["row"].to_numpy(), rows))
        encoded = self.reranker.encoder.encode(texts["query"].to_pylist(), texts["passage"].to_pylist())
        logits_N2 = self.reranker.logits(encoded, self.token_budget)
        stops = np.cumsum([part.num_rows for part in labels])
        parts = np.split(logits_N2, stops[:-1])
        return merge(self._compare(*one) for one in zip(units, labels, parts, strict=True))

    def _labels(self, unit: Unit) -> pa.Table:
        rows = audited_rows(unit, self.settings.share, self.settings.seed)
        table = from_parquet(read_shard(self.output, read_receipt(self.output, unit.name).data))
        place = table["row"].to_numpy()
        return table.filter(pa.array((place >= rows.start) & (place < rows.stop)))

    def _compare(self, unit: Unit, labels: pa.Table, again_N2: np.ndarray) -> Findings:
        from inranker.rerankers.reranker import scores

        if not labels.num_rows:
            return Findings(units=1)  # all of them are in quarantine
        first_N2 = np.stack([labels["false_logit"].to_numpy(), labels["true_logit"].to_numpy()], axis=1)
        # A logit that is no number the second time is as far off as can be.
        difference_N = np.nan_to_num(np.abs(first_N2 - again_N2), nan=np.inf).max(axis=1)
        worst = int(difference_N.argmax())
        contract = self.reranker.contract
        compared, flipped = compare_orders(
            labels["query_id"].to_numpy(zero_copy_only=False), scores(first_N2, contract), scores(again_N2, contract)
        )
        return Findings(
            pairs=labels.num_rows,
            units=1,
            max_logit_difference=float(difference_N[worst]),
            orders_compared=compared,
            rank_flips=flipped,
            worst=f"unit {unit.name}, row {labels['row'][worst].as_py()}",
        )


def compare_orders(query_ids_N: np.ndarray, first_N: np.ndarray, again_N: np.ndarray) -> tuple[int, int]:
    """Pairs of rows of one query that the first scores tell apart, and how many of them the second do not order so."""
    upper_NN = np.triu(query_ids_N[:, None] == query_ids_N[None, :], k=1)
    before_NN = np.sign(first_N[:, None] - first_N[None, :])
    after_NN = np.sign(again_N[:, None] - again_N[None, :])
    compared_NN = upper_NN & (before_NN != 0)
    return int(compared_NN.sum()), int((compared_NN & (before_NN != after_NN)).sum())


@lru_cache(maxsize=1)
def _auditor(settings: AuditSettings) -> Auditor:
    return Auditor(settings)
