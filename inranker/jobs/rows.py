"""Rows of a unit: from the Parquet shard that they are a range of, and Parquet in memory."""

import io
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from inranker.errors import UserError
from inranker.manifest import Shard, read_shard
from inranker.storage import Store
from inranker.units import Unit


class ShardReader:
    """Reads units' rows from their input shards, and keeps the last shard: the next unit is mostly of the same one.

    Args:
        store: holds the shards.
        columns: the columns to read.
        texts: those of them that must be text.
        noun: what the shards hold, for people.
        remedy: what to do about a shard that cannot be used.
    """

    def __init__(self, store: Store, columns: Sequence[str], texts: Sequence[str], noun: str, remedy: str) -> None:
        self.store, self.columns, self.texts, self.noun, self.remedy = store, list(columns), texts, noun, remedy
        self.shard: Shard | None = None
        self.table: pa.Table | None = None

    def __call__(self, unit: Unit) -> pa.Table:
        """The rows of a unit; the first column, `row` (int32), is their place in the shard.

        Raises:
            UserError: the shard is missing, differs from its manifest, is no Parquet, or lacks a column or rows.
        """
        if unit.shard != self.shard or self.table is None:
            self.shard, self.table = None, None  # not both in memory
            self.table = self._read(unit.shard)
            self.shard = unit.shard
        table = self.table
        if table.num_rows < unit.stop:
            raise UserError(f"{self._where(unit.shard)} has {table.num_rows} rows, not {unit.stop}; {self.remedy}")
        table = table.slice(unit.start, unit.rows)
        return table.add_column(0, "row", pa.array(np.arange(unit.start, unit.stop, dtype=np.int32)))

    def _read(self, shard: Shard) -> pa.Table:
        where, data = self._where(shard), read_shard(self.store, shard)
        try:
            file = pq.ParquetFile(pa.BufferReader(data))
            if missing := [name for name in self.columns if name not in file.schema_arrow.names]:
                raise UserError(f"{where} has no column {missing[0]}; {self.remedy}")
            for field in (file.schema_arrow.field(name) for name in self.texts):
                if not (pa.types.is_string(field.type) or pa.types.is_large_string(field.type)):
                    raise UserError(f"{where}: {field.name} is {field.type}, not text; {self.remedy}")
            return file.read(self.columns)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{where} cannot be read: {error}") from error

    def _where(self, shard: Shard) -> str:
        return f"{self.noun} shard {self.store.url}/{shard.name}"


def to_parquet(table: pa.Table) -> bytes:
    """A table as the bytes of one Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def from_parquet(data: bytes) -> pa.Table:
    """The table of a Parquet file in memory."""
    return pq.read_table(io.BytesIO(data))
