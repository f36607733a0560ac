"""Pairs of a unit in, label rows of a unit out: the Parquet on both sides of the scorer."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from inranker.jobs.rows import ShardReader
from inranker.jobs.rows import from_parquet as from_parquet
from inranker.jobs.rows import to_parquet as to_parquet
from inranker.storage import Store
from inranker.units import Unit

TEXT_COLUMNS = ("query_id", "passage_id", "query", "passage")
LABEL_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int32(), nullable=False),
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("passage_id", pa.string(), nullable=False),
        pa.field("false_logit", pa.float32(), nullable=False),
        pa.field("true_logit", pa.float32(), nullable=False),
        pa.field("n_tokens", pa.int32()),  # null in imported labels, whose scorer did not say
        pa.field("truncated", pa.bool_()),
    ]
)
QUARANTINE_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int32(), nullable=False),
        pa.field("query_id", pa.string()),
        pa.field("passage_id", pa.string()),
        pa.field("reason", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class UnitRows:
    """Pairs of a unit that can be scored, and those that cannot.

    Attributes:
        pairs: columns row, query_id, passage_id, query, passage.
        quarantine: columns of `QUARANTINE_SCHEMA`.
    """

    pairs: pa.Table
    quarantine: pa.Table


class UnitReader:
    """Reads units' pairs; see `ShardReader`."""

    def __init__(self, store: Store) -> None:
        self.rows = ShardReader(store, TEXT_COLUMNS, TEXT_COLUMNS, "pairs", "mine the pairs anew")

    def __call__(self, unit: Unit) -> UnitRows:
        """The rows of a unit.

        Raises:
            UserError: the shard is missing, differs from its manifest, is no Parquet, or lacks a column or rows.
        """
        return _split(self.rows(unit))


def read_unit(store: Store, unit: Unit) -> UnitRows:
    """The rows of one unit; see `UnitReader`."""
    return UnitReader(store)(unit)


def _split(table: pa.Table) -> UnitRows:
    """A pair without query or passage text has nothing to score."""
    unusable = [
        pc.fill_null(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(table[name])), 0), True)
        for name in ("query", "passage")
    ]
    bad = pc.or_(*unusable)
    rejected = table.filter(bad)
    reasons = ["empty query" if no_query else "empty passage" for no_query in unusable[0].filter(bad).to_pylist()]
    return UnitRows(table.filter(pc.invert(bad)), quarantine_table(rejected, reasons))


def quarantine_table(rejected: pa.Table, reasons: list[str]) -> pa.Table:
    """Rows that cannot be labelled, each with its reason."""
    columns = [rejected[name].combine_chunks() for name in ("row", "query_id", "passage_id")]
    return pa.Table.from_arrays([*columns, pa.array(reasons, pa.string())], schema=QUARANTINE_SCHEMA)


def label_table(
    ids: pa.Table, logits_N2: np.ndarray, n_tokens_N: np.ndarray | None, truncated_N: np.ndarray | None
) -> tuple[pa.Table, pa.Table]:
    """Label rows of the scored pairs, and the quarantine of those whose logits are not finite.

    Args:
        ids: columns row, query_id, passage_id; N rows.
        logits_N2: float32, order false, true.
        n_tokens_N: tokens after truncation; None where nobody knows.
        truncated_N: whether text was cut; None where nobody knows.
    """
    finite_N = np.isfinite(logits_N2).all(axis=1)
    columns = {
        "row": ids["row"],
        "query_id": ids["query_id"],
        "passage_id": ids["passage_id"],
        "false_logit": pa.array(logits_N2[:, 0].astype(np.float32)),
        "true_logit": pa.array(logits_N2[:, 1].astype(np.float32)),
        "n_tokens": pa.nulls(ids.num_rows) if n_tokens_N is None else pa.array(n_tokens_N.astype(np.int32)),
        "truncated": pa.nulls(ids.num_rows) if truncated_N is None else pa.array(truncated_N.astype(bool)),
    }
    table = pa.table(columns, schema=LABEL_SCHEMA)
    rejected = table.filter(pa.array(~finite_N))
    return table.filter(pa.array(finite_N)), quarantine_table(rejected, ["logits are not finite"] * rejected.num_rows)
