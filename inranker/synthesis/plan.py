"""`synthesize.py --plan`: tokens, hours and money, of the job and of the whole of the paper's collections.

Prompts of a seeded sample of passages are filled and, where the engine has a tokenizer here, really tokenised. Nothing
is claimed or written, no weights are loaded and no Ray is started.
"""

import random
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from inranker.corpora import Collection
from inranker.evaluation.table import render_rows
from inranker.fingerprint import fingerprint
from inranker.jobs.plan import actor_rate, render_time_and_money, time_and_money
from inranker.jobs.resume import expected_units
from inranker.manifest import MANIFEST, Shard, read_manifest
from inranker.retrieval.sampling import stable_hash
from inranker.storage import Store
from inranker.synthesis.config import SynthesizeConfig
from inranker.synthesis.generators import engine
from inranker.synthesis.generators.base import Prompt
from inranker.synthesis.job import SYNTHESIZE, chosen_unit_rows, engine_settings, job_identity, open_job
from inranker.synthesis.prompts import Book
from inranker.synthesis.sampling import fits, sample_store
from inranker.types import Passage
from inranker.units import finished_units, read_receipts

SAMPLED_PASSAGES = 300  # the mean length of so many is known to a few percent
LOOKED_AT = 20_000  # passages of a big collection that the sample is drawn from
CHARACTERS_PER_TOKEN = 4.0  # of English, for engines whose tokenizer is not here
PAPER_COLLECTIONS, PAPER_PASSAGES = 16, 100_000
SAMPLED_RECEIPTS = 64


@dataclass(frozen=True)
class Lengths:
    """Tokens of prompts, read and written.

    Attributes:
        read_N: tokens of N sampled prompts.
        written: tokens generated for one, on average or at most.
        counted: how the first are known.
        expected: how the second are.
    """

    read_N: np.ndarray
    written: float
    counted: str
    expected: str


def plan(config: SynthesizeConfig) -> dict[str, Any]:
    """What a job still has to do.

    Returns:
        `units`, `units_left`, `prompts`, `prompts_left`, `prompt_tokens` and `generated_tokens` in all that is left,
        `flops`, `prompts_per_second` with its `rate_from`, `hours`, `actor_hours`, `cost` (null where no rate or price
        is known), `token_cost` where the engine charges by the token, the same under `paper` for 16 collections of
        100,000 passages, and a `table`.

    Raises:
        UserError: a field, the collection, a prompt or the model cannot be used, or the output belongs to another job.
    """
    collection, book = open_job(config)
    store, execution = Store(config.output), config.execution
    prompts = _prompts(config, collection)
    identity = job_identity(config, collection, book)
    shards = _shards(config, fingerprint(identity), prompts)
    units = expected_units(store, SYNTHESIZE, identity, shards, chosen_unit_rows(collection, config))
    finished = finished_units(store)
    left = sum(unit.rows for unit in units if unit.name not in finished)
    lengths = measure(config, collection, book, sorted(finished))
    each = float(np.mean(lengths.read_N)) + lengths.written
    flops = _flops(config, lengths)
    rate, origin = actor_rate(
        SYNTHESIZE, execution.prompts_per_second, execution, store, sorted(finished), each, flops or 0.0
    )
    at_paper = PAPER_COLLECTIONS * PAPER_PASSAGES * config.identity.queries_per_passage
    summary = {
        "stage": SYNTHESIZE.stage,
        "plan": True,
        "output": config.output,
        "units": len(units),
        "units_left": len([unit for unit in units if unit.name not in finished]),
        "prompts": sum(unit.rows for unit in units),
        "prompts_left": left,
        **_work(config, lengths, left, flops, rate),
        "rate_from": origin,
        "sample": {"prompts": len(lengths.read_N), "prompt_tokens": lengths.counted, "tokens": lengths.expected},
        "paper": {"prompts": at_paper, **_work(config, lengths, at_paper, flops, rate), "rate_from": origin},
    }
    return {**summary, "table": render(summary)}


def measure(config: SynthesizeConfig, collection: Collection, book: Book, finished: list[str]) -> Lengths:
    """Tokens of the prompts of some passages, and of what finished units generated."""
    filled = sampled_prompts(config, collection, book)
    chosen, chosen_engine = config.identity, engine(config.identity.generator)
    if hasattr(chosen_engine, "count_tokens"):
        read = chosen_engine.count_tokens(chosen.model, engine_settings(config)[0], filled)
        counted = "tokenised"
    else:
        read = [len(_text(prompt)) / CHARACTERS_PER_TOKEN for prompt in filled]
        counted = f"one for {CHARACTERS_PER_TOKEN:g} characters"
    some = random.Random(chosen.seed).sample(finished, min(SAMPLED_RECEIPTS, len(finished)))
    receipts = read_receipts(Store(config.output), some)
    if rows := sum(receipt.rows for receipt in receipts):
        written = sum(receipt.figures["generated_tokens"] for receipt in receipts) / rows
        return Lengths(np.asarray(read, float), written, counted, f"as in {len(receipts)} finished units")
    return Lengths(np.asarray(read, float), float(chosen.decoding.max_tokens), counted, "at most")


def sampled_prompts(config: SynthesizeConfig, collection: Collection, book: Book) -> list[Prompt]:
    """The prompts of some passages of the asked length, drawn by hash from the collection's first ones."""
    chosen = config.identity
    fitting = (passage for passage in collection.passages_iter() if fits(passage, chosen))
    looked_at = sorted(islice(fitting, LOOKED_AT), key=lambda each: _order(config, each))
    some = looked_at[:SAMPLED_PASSAGES]
    return [book.prompt(book.choose(each.passage_id, 0), each.passage_id, each.contents, 0) for each in some]


def _order(config: SynthesizeConfig, passage: Passage) -> int:
    return stable_hash(config.identity.seed, passage.passage_id)


def _text(prompt: Prompt) -> str:
    return prompt.text or "\n".join(message["content"] for message in prompt.messages or [])


def _prompts(config: SynthesizeConfig, collection: Collection) -> int:
    """Prompts of the job; a length limit can only be reckoned with once the passages were read."""
    chosen = config.identity
    passages = collection.counts()["passages"]
    if chosen.min_characters > 1 or chosen.max_characters is not None:
        passages = sum(fits(passage, chosen) for passage in collection.passages_iter())
    return min(passages, chosen.passages or passages) * chosen.queries_per_passage


def _shards(config: SynthesizeConfig, job: str, prompts: int) -> list[Shard]:
    """The sample's files: as they were written at the first start, or as it would write them."""
    store = sample_store(config.output)
    if store.exists(MANIFEST):
        return read_manifest(store).shards
    rows = config.identity.shard_rows
    return [Shard(f"sample-{at}", min(rows, prompts - at), "") for at in range(0, prompts, rows)]


def _flops(config: SynthesizeConfig, lengths: Lengths) -> float | None:
    """Operations of one prompt; None where the engine does not know its model."""
    chosen, chosen_engine = config.identity, engine(config.identity.generator)
    if not hasattr(chosen_engine, "flops"):
        return None
    count = chosen_engine.flops(chosen.model, engine_settings(config)[0])
    all_N = lengths.read_N + lengths.written
    return float(count(len(all_N), all_N.sum(), (all_N**2).sum()) / len(all_N))


def _work(
    config: SynthesizeConfig, lengths: Lengths, prompts: int, flops: float | None, rate: float | None
) -> dict[str, Any]:
    read, written = prompts * float(np.mean(lengths.read_N)), prompts * lengths.written
    settings = engine_settings(config)[1]
    cost = settings.cost(read, written) if hasattr(settings, "cost") else None
    return {
        "prompt_tokens": round(read),
        "generated_tokens": round(written),
        "flops": None if flops is None else flops * prompts,
        **time_and_money(SYNTHESIZE, config.execution, prompts, rate),
        "token_cost": None if cost is None else round(cost, 4),
    }


def render(summary: dict[str, Any]) -> str:
    """The plan as a person reads it."""
    sample, paper = summary["sample"], summary["paper"]
    rows = [
        ["units", f"{summary['units']:,}", f"{summary['units_left']:,}"],
        ["prompts", f"{summary['prompts']:,}", f"{summary['prompts_left']:,}"],
    ]
    title = f"{PAPER_COLLECTIONS} collections of {PAPER_PASSAGES:,} passages: {paper['prompts']:,} prompts, "
    return "\n".join(
        [
            render_rows(["", "in all", "left"], rows),
            f"{sample['prompts']} prompts sampled; tokens read: {sample['prompt_tokens']}; tokens written: "
            f"{sample['tokens']}",
            f"left: {_render_work(summary)}",
            title + _render_work(paper),
        ]
    )


def _render_work(work: dict[str, Any]) -> str:
    parts = [f"{work['prompt_tokens']:,} tokens read, {work['generated_tokens']:,} written"]
    parts += [f"{work['flops'] / 1e12:,.1f} × 10¹² operations"] if work["flops"] is not None else []
    parts += [f"{work['token_cost']:,.2f} for tokens"] if work["token_cost"] else []
    return "; ".join([*parts, render_time_and_money(SYNTHESIZE, work)])
