"""Round trip: does a query bring its own passage back?"""

from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from inranker.retrieval import open_retriever, retriever_identity
from inranker.synthesis.filters.base import Context, Verdict
from inranker.synthesis.filters.options import FilterOptions
from inranker.synthesis.raw import Asked
from inranker.types import Query

QUERIES_AT_A_TIME = 512
# Ranks are looked for this deep even where fewer would decide: the report shows how many more a bigger k would keep.
LOOK_DEEP = 100


def round_trip(asked: Asked, context: Context) -> Verdict:
    """The passage is among the first k that its query retrieves (Dai et al. 2022, Promptagator, section 3.2)."""
    chosen = context.options
    rank_N = ranks(asked, context, max(chosen.round_trip_k, LOOK_DEEP))
    found = pa.array(rank_N, mask=rank_N == 0)
    return Verdict((rank_N > 0) & (rank_N <= chosen.round_trip_k), {"round_trip_rank": found})


def ranks(asked: Asked, context: Context, depth: int) -> np.ndarray:
    """int32 [N]: the rank of each query's own passage, from 1; 0 where it is not among the first `depth`."""
    how = context.execution
    retriever = open_retriever(context.collection, context.options.retriever, cache=how.cache)
    rank_N = np.zeros(len(asked), dtype=np.int32)
    with tqdm(total=len(asked), unit="query", desc="round trip", disable=not how.progress, mininterval=1.0) as bar:
        for start in range(0, len(asked), QUERIES_AT_A_TIME):
            some = asked.table.slice(start, QUERIES_AT_A_TIME)
            columns = (some[name].to_pylist() for name in ("query_id", "query", "passage_id"))
            rows = list(zip(*columns, strict=True))
            run = retriever.search([Query(name, text) for name, text, _ in rows], depth, how.threads)
            for place, (name, _, passage_id) in enumerate(rows, start=start):
                found = [document.passage_id for document in run[name]]
                rank_N[place] = found.index(passage_id) + 1 if passage_id in found else 0
            bar.update(len(rows))
    return rank_N


def round_trip_identity(chosen: FilterOptions, language: str) -> dict[str, Any]:
    """The first stage, with what it depends on."""
    return {"retriever": retriever_identity(chosen.retriever, language)}
