"""Generations as a synthesis writes them, made by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from inranker.corpora import open_collection
from inranker.fingerprint import fingerprint
from inranker.jobs.rows import to_parquet
from inranker.manifest import Manifest, Shard, claim_output, write_manifest
from inranker.storage import Store
from inranker.synthesis.collect import write_queries
from inranker.synthesis.filters import Context, FilterExecution
from inranker.synthesis.links import collection_link
from inranker.types import Passage
from inranker.units import Receipt, Unit, commit, put_object

RAW_SCHEMA = pa.schema(
    [
        ("row", pa.int32()),
        ("passage_id", pa.string()),
        ("passage", pa.string()),
        ("prompt", pa.string()),
        ("sample", pa.int32()),
        ("query", pa.string()),
        ("mean_log_prob", pa.float64()),
        ("n_tokens", pa.int32()),
        ("prompt_tokens", pa.int32()),
        ("source", pa.string()),
        ("language", pa.string()),
    ]
)


def raw_table(rows: Sequence[tuple[Passage, str]], prompt: str = "vanilla", **columns: Sequence[Any]) -> pa.Table:
    """A query for each (passage, query); the n-th of a passage is its sample n."""
    seen: dict[str, int] = {}
    made = []
    for number, (passage, query) in enumerate(rows):
        sample = seen[passage.passage_id] = seen.get(passage.passage_id, -1) + 1
        made.append(
            {
                "row": number,
                "passage_id": passage.passage_id,
                "passage": passage.contents,
                "prompt": prompt,
                "sample": sample,
                "query": query,
                "mean_log_prob": -1.0 - number / 100,
                "n_tokens": len(query.split()),
                "prompt_tokens": 100,
                "source": "test",
                "language": "en",
                **{name: values[number] for name, values in columns.items()},
            }
        )
    return pa.Table.from_pylist(made, RAW_SCHEMA)


def random_words(count: int, words: int, seed: int) -> list[str]:
    """Texts of made-up words."""
    generator = np.random.default_rng(seed)
    return [" ".join("".join(generator.choice(list("abcdefghij"), 6)) for _ in range(words)) for _ in range(count)]


def make_synthesis(
    output: Path,
    argument: str,
    rows: Sequence[tuple[Passage, str]],
    *filters: str,
    figures: dict[str, Any] | None = None,
    **inputs: Any,
) -> Path:
    """A finished synthesis, as its stage leaves it, of generations made by hand; `figures` and `inputs` join its
    manifest's."""
    store, collection = Store(str(output)), open_collection(argument)
    told = {"rows": fingerprint(rows), "filters": list(filters)}
    claim_output(store, "synthesize", told)
    tables = [raw_table(rows[start : start + 3]) for start in range(0, len(rows), 3)]
    shards = []
    for number, table in enumerate(tables):
        unit = Unit(0, Shard("sample-00000.parquet", len(rows), "0"), number * 3, number * 3 + table.num_rows)
        shards.append(put_object(store, "data", unit, table.num_rows, to_parquet(table), ".parquet"))
        commit(store, unit, Receipt(unit.name, fingerprint(told), unit.rows, shards[-1]))
    context = Context(collection, execution=FilterExecution(progress=False))
    collected = write_queries(store, tables, filters, context)
    links = {"collection": collection_link(argument, collection, False), **inputs}
    counts = {"prompts": len(rows), **collected.counts}
    told_of = {"generations": shards, **collected.figures, **(figures or {})}
    made = Manifest("synthesize", fingerprint(told), told, links, [collected.shard], counts, told_of)
    write_manifest(store, made)
    return output
