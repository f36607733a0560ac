"""The work on one unit, as three plain functions of one-row Arrow tables: fill prompts, generate, commit. No Ray."""

import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from inranker.crashpoints import crash_point
from inranker.jobs.rows import ShardReader, from_parquet, to_parquet
from inranker.jobs.work import one_row, require_shared_output
from inranker.storage import Store
from inranker.synthesis.generators import engine
from inranker.synthesis.generators.base import Decoding, Place
from inranker.synthesis.prompts import Book
from inranker.synthesis.rows import generation_table, generations_of, prompt_table, prompts_of, split_answers
from inranker.synthesis.sampling import SAMPLE_SCHEMA, sample_store
from inranker.units import Receipt, commit, put_object, unit_from_json

PROMPTS = "prompts.json"
TEXTS = ("passage_id", "passage", "prompt", "source", "language")


class PromptFiller:
    """Step 1: a unit's rows of the sample -> prompts."""

    def __init__(self, output: str, fingerprint: str) -> None:
        require_shared_output(output, fingerprint)
        remedy = "name another output"
        self.read = ShardReader(sample_store(output), SAMPLE_SCHEMA.names, TEXTS, "sample", remedy)
        self.book = Book.from_json(Store(output).read(PROMPTS).decode())

    def __call__(self, work: pa.Table) -> pa.Table:
        """Columns in: unit. Columns out: unit; rows (of the sample) and prompts (`PROMPT_SCHEMA`), as Parquet bytes."""
        crash_point("before-read")
        rows = self.read(unit_from_json(work["unit"][0].as_py()))
        asked = (rows[name].to_pylist() for name in ("prompt", "passage_id", "passage", "sample"))
        prompts = [self.book.prompt(*row) for row in zip(*asked, strict=True)]
        crash_point("after-tokenise")
        return one_row(unit=work["unit"][0].as_py(), rows=to_parquet(rows), prompts=to_parquet(prompt_table(prompts)))


class TextGenerator:
    """Step 2: prompts -> generations. One engine per instance.

    Args:
        generator: name of the engine.
        model: what it runs.
        decoding: how it draws tokens.
        settings: the engine's own parts of `identity` and `execution`.
        gpus: that the actor has.
        purse: the job's budget, for engines that cost by the token; None: there is no limit.
        device: `cpu` or `cuda`.
        threads: CPU threads; None leaves the library's own.
        begin: told a unit's name before it is worked on; raises to stop a unit that has been started too often.
    """

    def __init__(
        self,
        generator: str,
        model: str,
        decoding: Decoding,
        settings: tuple[Any, Any],
        gpus: float,
        purse: Any,
        device: str,
        threads: int | None,
        begin: Callable[[str], object],
    ) -> None:
        self.engine = engine(generator)(model, decoding, *settings, Place(device, threads, gpus))
        if purse is not None:
            self.engine.budget = purse
        self.begin = begin

    def __call__(self, work: pa.Table) -> pa.Table:
        """Columns in: those of `PromptFiller`. Columns out: unit, rows, generations (`GENERATION_SCHEMA` as Parquet
        bytes), seconds, spent."""
        unit_text = work["unit"][0].as_py()
        self.begin(unit_from_json(unit_text).name)
        crash_point("before-score")
        started, before = time.perf_counter(), getattr(self.engine, "spent", 0.0)
        generations = self.engine.generate(prompts_of(from_parquet(work["prompts"][0].as_py())))
        crash_point("after-score")
        return one_row(
            unit=unit_text,
            rows=work["rows"][0].as_py(),
            generations=to_parquet(generation_table(generations)),
            seconds=time.perf_counter() - started,
            spent=float(getattr(self.engine, "spent", 0.0) - before),
        )


class GenerationCommitter:
    """Step 3: generations -> queries, quarantine and receipt."""

    def __init__(self, output: str, fingerprint: str) -> None:
        require_shared_output(output, fingerprint)
        self.store = Store(output)
        self.fingerprint = fingerprint

    def __call__(self, work: pa.Table) -> pa.Table:
        """Columns in: those of `TextGenerator`. Columns out: unit, rows and the receipt's figures.

        `tokens` are read and generated ones together, `generated_tokens` the latter alone, `squares` the sum of the
        squares of each prompt's tokens, `spent` what an endpoint charges.
        """
        unit = unit_from_json(work["unit"][0].as_py())
        generations = generations_of(from_parquet(work["generations"][0].as_py()))
        queries, unusable = split_answers(from_parquet(work["rows"][0].as_py()), generations)
        data = put_object(self.store, "data", unit, queries.num_rows, to_parquet(queries), ".parquet")
        quarantine = None
        if unusable.num_rows:
            content = to_parquet(unusable)
            quarantine = put_object(self.store, "quarantine", unit, unusable.num_rows, content, ".parquet")
        lengths = [each.prompt_tokens + each.tokens for each in generations]
        figures = {
            "tokens": sum(lengths),
            "generated_tokens": sum(each.tokens for each in generations),
            "seconds": work["seconds"][0].as_py(),
            "spent": work["spent"][0].as_py(),
        }
        stamped = {**figures, "finished_at": round(time.time(), 3)}
        commit(self.store, unit, Receipt(unit.name, self.fingerprint, unit.rows, data, quarantine, stamped))
        told = {"scored": len(lengths), "squares": sum(length**2 for length in lengths), **figures}
        return one_row(unit=unit.name, rows=unit.rows, quarantined=unusable.num_rows, **told)
