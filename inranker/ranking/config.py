"""What a re-ranking job is told."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class RankConfig:
    """Re-rank JSON lines, a TREC run, or the passages of some files."""

    model: str = "unicamp-dl/InRanker-small"
    """Checkpoint directory or hub id."""
    query: str | None = None
    """Rank the passages of `files` for this query; null: read queries from `input`."""
    files: list[str] = field(default_factory=list)
    """Text or Markdown files, or directories of them, that are cut into passages; none: the text on standard input."""
    input: str = "-"
    """JSON lines {"query": …, "passages": […]}, or a TREC run where `collection` is named; - is standard input."""
    output: str = "-"
    """Where the result goes; - is standard output. A file appears under its name when it is whole."""
    collection: str | None = None
    """Where the run's passages are: beir:PATH, ir_datasets:ID, python-docs, texts:DIR, …"""
    split: str = "test"
    """The collection's split that has the run's queries."""
    topics: str | None = None
    """Queries in place of the collection's: a TSV file of query_id and text, or a JSON-lines file (_id, text)."""
    depth: int | None = None
    """Passages a query of a run that are re-ranked; the rest follows in first-stage order. Null: all."""
    top_k: int | None = None
    """Passages a query that are written; null: all (ten, where a query is given)."""
    long_passages: Literal["truncate", "windows"] = "truncate"
    """A passage longer than the model reads is cut, or read in overlapping windows of which the best counts."""
    tag: str = "inranker"
    """Last column of the run that is written."""
    backend: str = "torch"
    """torch, onnx or ct2; the latter two run what was exported for them."""
    device: str = "auto"
    """cuda, cuda:1, mps or cpu; auto takes the best that is here."""
    precision: str = "auto"
    """float32, bfloat16 or int8 (T5 on a CPU); auto takes what the chip does well."""
    threads: int | None = None
    """CPU threads; null: the cores that the process may use."""
    token_budget: int | None = None
    """Tokens of a batch; null picks one for the device."""
    max_length: int | None = None
    """Tokens of a pair; null: the model's own."""
    batch_pairs: int = 512
    """Pairs that are read before they are ranked in one pass: more pad less, fewer answer sooner."""
    progress: bool = True
    """Show pairs and pairs/s on standard error when it is a terminal."""
