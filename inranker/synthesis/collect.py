"""The end of a synthesis: raw generations become a query set, `queries.parquet`.

Every generated query is in it, kept or not: `dropped_by` names the filter that dropped it and is null where it is kept,
so other filters can be tried on the same generations without paying for them again (see `refilter`).
"""

import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from inranker.corpora import Collection, open_collection
from inranker.errors import UserError
from inranker.fingerprint import sha256_bytes
from inranker.manifest import Shard
from inranker.synthesis.filters import Context, filter_queries, yields
from inranker.synthesis.raw import RawQueries

if TYPE_CHECKING:
    from inranker.storage import Store
    from inranker.synthesis.config import SynthesizeConfig

QUERIES = "queries.parquet"


class Collected(NamedTuple):
    """A query set that was written.

    Attributes:
        shard: the file.
        counts: `generated` queries, `kept`, `passages_with_query` (a kept one), and `dropped_by_FILTER` of each filter.
        figures: `filters`: what each filter was given and kept, in order.
    """

    shard: Shard
    counts: dict[str, int]
    figures: dict[str, Any]


def collect(
    config: "SynthesizeConfig", store: "Store", raw_tables: Iterable[pa.Table], collection: Collection | None = None
) -> Collected:
    """Filter what a synthesis generated and write its query set.

    Args:
        config: the job; `identity.filters` are applied in their order.
        store: the output, claimed by the job.
        raw_tables: the generations, in the order of the units; read once.
        collection: the job's collection, where it is open already.

    Raises:
        UserError: there is no query, or a filter lacks what it needs.
    """
    chosen = config.identity
    opened = collection or open_collection(chosen.collection, chosen.language, chosen.fix_text)
    return write_queries(store, raw_tables, chosen.filters, Context(opened, chosen.filter, config.execution.filter))


def write_queries(
    store: "Store", raw_tables: Iterable[pa.Table], filters: Sequence[str], context: Context
) -> Collected:
    """Filter queries and write them; a set that is there already stands.

    It is there when a job was killed between this and its manifest. A filter's scores may differ in their last bits
    from one machine to the next, so what is stored counts, and every figure is taken from it.

    Raises:
        UserError: there is no query, or a filter lacks what it needs.
    """
    if not store.exists(QUERIES):
        with RawQueries(raw_tables) as raw:
            if not len(raw):
                raise UserError(
                    "no query was generated; the files under quarantine/ say why, and another prompt may help"
                )
            store.put_if_absent(QUERIES, _parquet(filter_queries(raw, filters, context)))
    data = store.read(QUERIES)
    return tell(data, filters)


def tell(data: bytes, filters: Sequence[str]) -> Collected:
    """What a query set's bytes hold."""
    table = pq.read_table(io.BytesIO(data), columns=["passage_id", "dropped_by"])
    steps = yields(table, filters)
    kept = table.filter(table["dropped_by"].is_null())
    counts = {
        "generated": table.num_rows,
        "kept": kept.num_rows,
        "passages_with_query": len(kept["passage_id"].unique()),
        **{f"dropped_by_{step['filter']}": step["queries"] - step["kept"] for step in steps},
    }
    return Collected(Shard(QUERIES, table.num_rows, sha256_bytes(data)), counts, {"filters": steps})


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, version="2.6", compression="zstd", compression_level=3, row_group_size=100_000)
    return sink.getvalue().to_pybytes()
