"""The tables of synthesis: prompts of a unit, what an engine answered, queries and quarantine; and text -> query."""

import json
import math
import re
from collections.abc import Sequence

import pyarrow as pa

from inranker.synthesis.generators.base import Generation, Prompt
from inranker.synthesis.sampling import SAMPLE_SCHEMA

PROMPT_SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("messages", pa.string()),  # JSON; null: the prompt is text to continue
        ("stop", pa.list_(pa.string())),
        ("max_tokens", pa.int32()),
        ("seed", pa.int64()),
    ]
)
GENERATION_SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("log_probs", pa.list_(pa.float64())),
        ("prompt_tokens", pa.int32()),
        ("tokens", pa.int32()),
        ("finish", pa.string()),
        ("error", pa.string()),
    ]
)
QUERY_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int32(), nullable=False),
        *(SAMPLE_SCHEMA.field(name) for name in ("passage_id", "passage", "prompt", "sample")),
        pa.field("query", pa.string(), nullable=False),
        pa.field("mean_log_prob", pa.float64()),  # null where the engine does not say
        pa.field("n_tokens", pa.int32(), nullable=False),
        pa.field("prompt_tokens", pa.int32(), nullable=False),
        *(SAMPLE_SCHEMA.field(name) for name in ("source", "language")),
    ]
)
QUARANTINE_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int32(), nullable=False),
        *(SAMPLE_SCHEMA.field(name) for name in ("passage_id", "prompt", "sample")),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
    ]
)
QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’", "«": "»", "„": "“"}


def prompt_table(prompts: Sequence[Prompt]) -> pa.Table:
    """Prompts as they travel to an engine."""
    rows = [
        {**prompt._asdict(), "messages": None if prompt.messages is None else json.dumps(prompt.messages)}
        for prompt in prompts
    ]
    return pa.Table.from_pylist(rows, PROMPT_SCHEMA)


def prompts_of(table: pa.Table) -> list[Prompt]:
    """The prompts that `prompt_table` holds."""
    return [
        Prompt(**{**row, "messages": None if row["messages"] is None else json.loads(row["messages"])})
        for row in table.to_pylist()
    ]


def generation_table(generations: Sequence[Generation]) -> pa.Table:
    """Generations as they travel from an engine."""
    return pa.Table.from_pylist([generation._asdict() for generation in generations], GENERATION_SCHEMA)


def generations_of(table: pa.Table) -> list[Generation]:
    """The generations that `generation_table` holds."""
    return [Generation(**row) for row in table.to_pylist()]


def parse_query(text: str) -> str:
    """The query in a generated text: its first line that is not empty, without the quotes around it."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    query = re.sub(r"\s+", " ", line).strip()
    while len(query) > 1 and QUOTES.get(query[0]) == query[-1] and query[-1] not in query[1:-1]:
        query = query[1:-1].strip()
    return query


def split_answers(rows: pa.Table, generations: Sequence[Generation]) -> tuple[pa.Table, pa.Table]:
    """Queries, and the prompts that gave none with the reason.

    Args:
        rows: of the sample, with `row`; N of them.
        generations: N, in the same order.

    Raises:
        ValueError: there are not as many generations as rows.
    """
    queries, unusable = [], []
    for row, generation in zip(rows.to_pylist(), generations, strict=True):
        query, log_prob = parse_query(generation.text), mean_log_prob(generation)
        if reason := _why_not(generation, query, log_prob):
            kept = {name: row[name] for name in ("row", "passage_id", "prompt", "sample")}
            unusable.append({**kept, "reason": reason, "text": generation.text})
        else:
            counted = {"n_tokens": generation.tokens, "prompt_tokens": generation.prompt_tokens}
            queries.append({**row, "query": query, "mean_log_prob": log_prob, **counted})
    return pa.Table.from_pylist(queries, QUERY_SCHEMA), pa.Table.from_pylist(unusable, QUARANTINE_SCHEMA)


def mean_log_prob(generation: Generation) -> float | None:
    """Mean natural log-probability of the generated tokens; None where the engine does not say."""
    if not generation.log_probs:
        return None
    return math.fsum(generation.log_probs) / len(generation.log_probs)


def _why_not(generation: Generation, query: str, log_prob: float | None) -> str | None:
    if generation.error is not None:
        return generation.error
    if not query:
        return "no query in the generated text"
    if log_prob is not None and not math.isfinite(log_prob):
        return "log-probabilities are not finite"
    return None
