"""`label.py --plan`: what is left to score, and the hours and money that takes, before any accelerator starts.

Lengths and duplicates come from a seeded sample of the units that are left (all of them where there are few), read and
tokenised here with the teacher's tokenizer. No weights are loaded and no Ray is started.
"""

import random
from dataclasses import dataclass
from typing import Any

import numpy as np

from inranker.evaluation.table import render_rows
from inranker.fingerprint import fingerprint, plain
from inranker.labeling.config import LabelConfig, LabelExecution
from inranker.labeling.dedupe import first_occurrences, text_keys
from inranker.labeling.job import chosen_unit_rows, job_identity, read_pairs, reranker_overrides
from inranker.labeling.reuse import reuse_sources
from inranker.labeling.rows import UnitReader
from inranker.manifest import IDENTITY, Manifest, read_identity, require_same_identity
from inranker.rerankers import PairEncoder, load_encoder
from inranker.rerankers.flops import teacher_flops
from inranker.storage import Store
from inranker.units import Unit, finished_units, plan_units, read_receipts

SAMPLED_UNITS = 12
SAMPLED_PAIRS = 3000  # the mean length of so many is known to about 1 %
SAMPLED_RECEIPTS = 64
SEED = 0


@dataclass(frozen=True)
class Sample:
    """What some units hold.

    Attributes:
        pairs: rows of the sampled units.
        unusable: rows without query or passage text.
        duplicates: rows whose texts occur earlier in their unit: scored once, they cost nothing.
        lengths_N: tokens of N of the others, after truncation.
        truncated: of those N, how many were cut.
        whole: whether every unit that is left was read.
    """

    pairs: int
    unusable: int
    duplicates: int
    lengths_N: np.ndarray
    truncated: int
    whole: bool


def plan(config: LabelConfig) -> dict[str, Any]:
    """What a job still has to do.

    Returns:
        `units`, `units_left`, `shards`, `shards_left`, `pairs`, `pairs_left`, `pairs_to_score`, `duplicates`,
        `tokens`, `tokens_per_pair`, `truncated`, `flops`, `pairs_per_second` with its `rate_from`, `hours`,
        `actor_hours`, `cost` (null where no rate or price is known), `sample`, and a `table`.

    Pairs that labels to `reuse` know are counted as to be scored: which they are is found when the job starts.

    Raises:
        UserError: pairs or teacher cannot be read, the output belongs to another job, or labels to reuse to another
            scorer.
    """
    store, manifest = Store(config.output), read_pairs(config)
    identity = job_identity(config, manifest)
    earlier = reuse_sources(config.execution.reuse, identity["scorer"])
    units = _units(config, store, manifest, identity)
    finished = finished_units(store)
    left = [unit for unit in units if unit.name not in finished]
    sample = take_sample(config, left)
    pairs_left = sum(unit.rows for unit in left)
    scale = pairs_left / sample.pairs if sample.pairs else 0.0
    to_score = round(scale * (sample.pairs - sample.unusable - sample.duplicates))
    mean, square = (float(np.mean(sample.lengths_N**power)) if len(sample.lengths_N) else 0.0 for power in (1, 2))
    flops = teacher_flops(config.identity.teacher)(to_score, to_score * mean, to_score * square)
    rate, origin = actor_rate(config, store, sorted(finished), mean, flops / to_score if to_score else 0.0)
    summary = {
        "stage": "label",
        "plan": True,
        "output": config.output,
        "units": len(units),
        "units_left": len(left),
        "shards": len(manifest.shards),
        "shards_left": len({unit.number for unit in left}),
        "pairs": sum(unit.rows for unit in units),
        "pairs_left": pairs_left,
        "unusable": round(scale * sample.unusable),
        "duplicates": round(scale * sample.duplicates),
        "pairs_to_score": to_score,
        "tokens": round(to_score * mean),
        "tokens_per_pair": round(mean, 1),
        "truncated": round(sample.truncated / len(sample.lengths_N), 4) if len(sample.lengths_N) else 0.0,
        "flops": flops,
        **_time_and_money(config.execution, to_score, rate),
        "rate_from": origin,
        "reuse": [source["path"] for source in earlier],
        "sample": {"pairs": sample.pairs, "tokenised": len(sample.lengths_N), "whole": sample.whole},
    }
    return {**summary, "table": render(summary)}


def _units(config: LabelConfig, store: Store, manifest: Manifest, identity: dict[str, Any]) -> list[Unit]:
    """The job's units: as fixed at its first start, or as it would fix them now."""
    unit_rows = chosen_unit_rows(sum(shard.rows for shard in manifest.shards), config.execution)
    if store.exists(IDENTITY):
        require_same_identity(
            store, {"stage": "label", "fingerprint": fingerprint(identity), "identity": plain(identity)}
        )
        unit_rows = read_identity(store)["unit_rows"]
    return plan_units(manifest.shards, unit_rows)


def take_sample(config: LabelConfig, left: list[Unit]) -> Sample:
    """Read some of the units that are left, one at a time, and tokenise a share of each."""
    draw = random.Random(SEED)
    chosen = sorted(draw.sample(left, min(SAMPLED_UNITS, len(left))), key=lambda unit: unit.name)
    read = UnitReader(Store(config.identity.pairs))
    encoder = load_encoder(config.identity.teacher, **reranker_overrides(config))
    lengths: list[np.ndarray] = [np.zeros(0, np.int64)]
    pairs = unusable = duplicates = truncated = 0
    for unit in chosen:
        rows = read(unit)
        queries, passages = rows.pairs["query"].to_pylist(), rows.pairs["passage"].to_pylist()
        first, _ = first_occurrences(text_keys(queries, passages))
        pairs += unit.rows
        unusable += rows.quarantine.num_rows
        duplicates += len(queries) - len(first)
        some = sorted(draw.sample(first.tolist(), min(len(first), -(-SAMPLED_PAIRS // len(chosen)))))
        found, cut = _lengths(encoder, [queries[row] for row in some], [passages[row] for row in some])
        lengths.append(found)
        truncated += cut
    return Sample(pairs, unusable, duplicates, np.concatenate(lengths), truncated, len(chosen) == len(left))


def _lengths(encoder: PairEncoder, queries: list[str], passages: list[str]) -> tuple[np.ndarray, int]:
    encoded = encoder.encode(queries, passages)
    return encoded.lengths, int(encoded.truncated.sum())


def actor_rate(
    config: LabelConfig, store: Store, finished: list[str], tokens_per_pair: float, flops_per_pair: float
) -> tuple[float | None, str | None]:
    """Pairs that one actor scores in a second, and where that is known from.

    A given rate comes first, then what this job's finished units took, then a share of the accelerator's peak.
    """
    execution = config.execution
    if execution.pairs_per_second is not None:
        return execution.pairs_per_second, "pairs_per_second"
    some = random.Random(SEED).sample(finished, min(SAMPLED_RECEIPTS, len(finished)))
    figures = [receipt.figures for receipt in read_receipts(store, some)]
    seconds, tokens = (sum(each[name] for each in figures) for name in ("seconds", "tokens"))
    if seconds and tokens and tokens_per_pair:
        return tokens / seconds / tokens_per_pair, f"{len(some)} finished units"
    if execution.peak_tflops is not None and flops_per_pair:
        rate = execution.peak_tflops * 1e12 * execution.utilisation / flops_per_pair
        return rate, f"{execution.utilisation:.0%} of peak_tflops"
    return None, None


def _time_and_money(execution: LabelExecution, pairs: int, rate: float | None) -> dict[str, float | None]:
    if rate is None:
        return {"pairs_per_second": None, "hours": None, "actor_hours": None, "cost": None}
    actor_hours = pairs / rate / 3600
    price = execution.price_per_hour
    return {
        "pairs_per_second": round(rate, 2),
        "hours": round(actor_hours / (execution.max_actors or execution.actors), 3),
        "actor_hours": round(actor_hours, 3),
        "cost": None if price is None else round(actor_hours * price, 2),
    }


def render(summary: dict[str, Any]) -> str:
    """The plan as a person reads it."""
    about = "" if summary["sample"]["whole"] else "about "
    rows = [
        ["shards", f"{summary['shards']:,}", f"{summary['shards_left']:,}"],
        ["units", f"{summary['units']:,}", f"{summary['units_left']:,}"],
        ["pairs", f"{summary['pairs']:,}", f"{summary['pairs_left']:,}"],
    ]
    lines = [
        render_rows(["", "in all", "left"], rows),
        f"to score: {about}{summary['pairs_to_score']:,} pairs ({summary['duplicates']:,} duplicates and "
        f"{summary['unusable']:,} without text are not), {summary['tokens']:,} tokens: {summary['tokens_per_pair']} a "
        f"pair after truncation, which cuts {summary['truncated']:.1%} ({summary['sample']['tokenised']:,} pairs "
        "tokenised)",
        f"{summary['flops'] / 1e12:,.1f} × 10¹² operations",
    ]
    if summary["reuse"]:
        lines.append(f"pairs that {', '.join(summary['reuse'])} know will not be scored, but are counted here")
    if summary["hours"] is None:
        lines.append("hours: not known; give --pairs_per_second or --peak_tflops, or let some units finish")
    else:
        cost = "give --price_per_hour to see" if summary["cost"] is None else f"{summary['cost']:,.2f}"
        lines.append(
            f"{summary['hours']:,.2f} hours, {summary['actor_hours']:,.2f} actor-hours at "
            f"{summary['pairs_per_second']:,} pairs/s an actor ({summary['rate_from']}); cost: {cost}"
        )
    return "\n".join(lines)
