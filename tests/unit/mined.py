"""A small collection to mine, a job over it, and what came of it."""

import hashlib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from inranker.mining import MineConfig, MineExecution, MineIdentity
from tests.unit.beir_folder import many_passages, write_beir

QUERIES = [
    {"_id": f"q{number}", "text": f"{word} papa"} for number, word in enumerate(["alpha", "bravo", "echo", "lima"])
]
QRELS = [("q0", "d1", 1), ("q0", "d9", 2), ("q0", "d3", 0), ("q1", "d5", 1), ("q2", "only", 1), ("q3", "d7", 0)]


def write_collection(directory: Path) -> Path:
    """80 passages that share terms, one that shares none with its query, four queries of which one has no positive."""
    passages = [*many_passages(80), {"_id": "only", "text": "unrelated"}]
    return write_beir(directory, passages, QUERIES, train=QRELS)


def config_of(folder: Path, output: Path | str, **identity: Any) -> MineConfig:
    """A mine job over the folder."""
    fields: dict[str, Any] = {"collection": f"beir:{folder}", "split": "train", **identity}
    return MineConfig(MineIdentity(**fields), str(output), MineExecution(progress=False))


def rows_of(output: Path) -> list[dict[str, Any]]:
    """All pairs in order."""
    return [row for file in sorted(output.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def hashes_of(output: Path) -> list[str]:
    """sha256 of every shard."""
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(output.glob("*.parquet"))]
