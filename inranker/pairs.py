"""Pairs on disk: the columns of a shard, and how it becomes bytes that are the same on every machine."""

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("query_id", "passage_id", "query", "passage", "kind")),
        ("rank", pa.int32()),
        *((name, pa.string()) for name in ("source", "language")),
    ]
)


def shard_bytes(columns: dict[str, Any]) -> bytes:
    """One shard of pairs as Parquet; every writer option that changes bytes is set here."""
    sink = pa.BufferOutputStream()
    table = pa.table(columns, schema=SCHEMA)
    pq.write_table(table, sink, version="2.6", compression="zstd", compression_level=3, row_group_size=10_000)
    return sink.getvalue().to_pybytes()
