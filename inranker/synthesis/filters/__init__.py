"""Filters of generated queries; a new one is one function and one line in FILTERS.

The paper's own recipe filters nothing, and that is the default. Filters run in the order in which they are named; each
sees what the ones before it kept.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from inranker.errors import UserError
from inranker.synthesis.filters.base import Context, Filter, Verdict
from inranker.synthesis.filters.duplicates import duplicates, near_duplicates
from inranker.synthesis.filters.language import language
from inranker.synthesis.filters.options import FilterExecution, FilterOptions
from inranker.synthesis.filters.ranked import log_prob, reranker, reranker_identity
from inranker.synthesis.filters.round_trip import round_trip, round_trip_identity
from inranker.synthesis.filters.teacher import teacher_identity, teacher_margin
from inranker.synthesis.filters.text import copied, length
from inranker.synthesis.raw import Asked, RawQueries

__all__ = ["FILTERS", "Context", "Filter", "FilterExecution", "FilterOptions", "Verdict", "filter_queries", "identity"]

FILTERS: dict[str, Filter] = {
    "length": Filter(length, ("min_words", "max_words")),
    "copied": Filter(copied, ("copied_share", "copied_from")),
    "duplicates": Filter(duplicates),
    "near_duplicates": Filter(near_duplicates, ("near_duplicate",)),
    "language": Filter(language, ("language_probability",)),
    "log_prob": Filter(log_prob, ("log_prob_top_k",)),
    "reranker": Filter(reranker, ("reranker_top_k", "reranker_precision"), reranker_identity),
    "round_trip": Filter(round_trip, ("round_trip_k",), round_trip_identity),
    "teacher_margin": Filter(teacher_margin, ("teacher_margin", "teacher_gap"), teacher_identity),
}


def check(names: Sequence[str]) -> None:
    """Refuse what is no filter, before anything is generated.

    Raises:
        UserError: an unknown name, or one twice.
    """
    for name in names:
        if name not in FILTERS:
            raise UserError(f"field filters: {name!r} is unknown; name some of {', '.join(FILTERS)}")
        if list(names).count(name) > 1:
            raise UserError(f"field filters: {name} is named twice; name it once")


def identity(names: Sequence[str], options: FilterOptions, language: str) -> list[dict[str, Any]]:
    """What filtering depends on: filters in their order, each with its own fields alone and with content for paths.

    Args:
        names: the filters.
        options: their fields.
        language: the collection's.

    Raises:
        UserError: an unknown filter, or one that lacks what it needs.
    """
    check(names)
    return [
        {
            "filter": name,
            **{field: getattr(options, field) for field in FILTERS[name].fields},
            **(made(options, language) if (made := FILTERS[name].identity) else {}),
        }
        for name in names
    ]


def filter_queries(raw: RawQueries, names: Sequence[str], context: Context) -> pa.Table:
    """Every query with its scores and, in `dropped_by`, the filter that dropped it (null: kept).

    Args:
        raw: the queries.
        names: the filters, in their order.
        context: what they work with.

    Raises:
        UserError: an unknown filter, or one that lacks what it needs.
    """
    check(names)
    alive_N = np.arange(len(raw))
    dropped = np.full(len(raw), -1, dtype=np.int8)
    columns: dict[str, pa.Array] = {}
    for number, name in enumerate(names):
        verdict = FILTERS[name].judge(Asked(raw, alive_N), context)
        for column, values in verdict.scores.items():
            columns[column] = _spread(values, alive_N, len(raw))
        dropped[alive_N[~verdict.keep_N]] = number
        alive_N = alive_N[verdict.keep_N]
    table = raw.table
    for column, values in columns.items():
        table = table.append_column(column, values)
    reasons = pa.array(list(names), pa.string()).take(pa.array(dropped, mask=dropped < 0))
    return table.append_column("dropped_by", reasons)


def yields(table: pa.Table, names: Sequence[str]) -> list[dict[str, Any]]:
    """What each filter was given and kept, in order: `{"filter", "queries", "kept"}`."""
    counts = {found["values"]: found["counts"] for found in table["dropped_by"].value_counts().to_pylist()}
    told, left = [], table.num_rows
    for name in names:
        kept = left - counts.get(name, 0)
        told.append({"filter": name, "queries": left, "kept": kept})
        left = kept
    return told


def _spread(values: pa.Array, rows_N: np.ndarray, count: int) -> pa.Array:
    """Values of some rows as a column of all; null elsewhere."""
    places = np.full(count, -1, dtype=np.int64)
    places[rows_N] = np.arange(len(rows_N))
    return values.take(pa.array(places, mask=places < 0))
