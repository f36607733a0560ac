"""The contract of filters: queries in, which to keep out, with the figures they were judged by."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from inranker.corpora.base import Collection
from inranker.synthesis.filters.options import FilterExecution, FilterOptions
from inranker.synthesis.raw import Asked


@dataclass(frozen=True)
class Context:
    """What filters work with besides the queries."""

    collection: Collection
    options: FilterOptions = field(default_factory=FilterOptions)
    execution: FilterExecution = field(default_factory=FilterExecution)


@dataclass(frozen=True)
class Verdict:
    """What a filter says of N queries.

    Attributes:
        keep_N: bool.
        scores: columns for the query set: name -> array of N.
    """

    keep_N: np.ndarray
    scores: dict[str, pa.Array] = field(default_factory=dict)


Judge = Callable[[Asked, Context], Verdict]
Identity = Callable[[FilterOptions, str], dict[str, Any]]


@dataclass(frozen=True)
class Filter:
    """A filter.

    Attributes:
        judge: says which queries to keep.
        fields: the options that decide it.
        identity: what it depends on by content, in place of fields that hold paths or names.
        needs_log_probs: only an engine that gives them can be filtered so.
    """

    judge: Judge
    fields: tuple[str, ...] = ()
    identity: Identity | None = None
    needs_log_probs: bool = False
