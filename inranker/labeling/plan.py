"""`label.py --plan`: what is left to score, and the hours and money that takes, before any accelerator starts.

Lengths and duplicates come from a seeded sample of the units that are left (all of them where there are few), read and
tokenised here with the teacher's tokenizer. No weights are loaded and no Ray is started.
"""

import random
from dataclasses import dataclass
from typing import Any

import numpy as np

from inranker.evaluation.table import render_rows
from inranker.jobs.plan import actor_rate, render_time_and_money, time_and_money
from inranker.jobs.resume import expected_units
from inranker.labeling.config import LabelConfig
from inranker.labeling.dedupe import first_occurrences, text_keys
from inranker.labeling.job import LABEL, chosen_unit_rows, job_identity, read_pairs, reranker_overrides
from inranker.labeling.reuse import reuse_sources
from inranker.labeling.rows import UnitReader
from inranker.rerankers import PairEncoder, load_encoder
from inranker.rerankers.flops import teacher_flops
from inranker.storage import Store
from inranker.units import Unit, finished_units

SAMPLED_UNITS = 12
SAMPLED_PAIRS = 3000  # the mean length of so many is known to about 1 %
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
    unit_rows = chosen_unit_rows(sum(shard.rows for shard in manifest.shards), config.execution)
    units = expected_units(store, LABEL, identity, manifest.shards, unit_rows)
    finished = finished_units(store)
    left = [unit for unit in units if unit.name not in finished]
    sample = take_sample(config, left)
    pairs_left = sum(unit.rows for unit in left)
    scale = pairs_left / sample.pairs if sample.pairs else 0.0
    to_score = round(scale * (sample.pairs - sample.unusable - sample.duplicates))
    mean, square = (float(np.mean(sample.lengths_N**power)) if len(sample.lengths_N) else 0.0 for power in (1, 2))
    flops = teacher_flops(config.identity.teacher)(to_score, to_score * mean, to_score * square)
    execution, each = config.execution, flops / to_score if to_score else 0.0
    rate, origin = actor_rate(LABEL, execution.pairs_per_second, execution, store, sorted(finished), mean, each)
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
        **time_and_money(LABEL, execution, to_score, rate),
        "rate_from": origin,
        "reuse": [source["path"] for source in earlier],
        "sample": {"pairs": sample.pairs, "tokenised": len(sample.lengths_N), "whole": sample.whole},
    }
    return {**summary, "table": render(summary)}


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
    lines.append(render_time_and_money(LABEL, summary))
    return "\n".join(lines)
