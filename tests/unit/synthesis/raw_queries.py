"""Generations as a synthesis writes them, made by hand."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from inranker.types import Passage

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
