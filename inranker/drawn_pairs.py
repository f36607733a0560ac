"""Drawn pairs become rows: the order they are written in, and their texts beside their ids."""

import numpy as np

from inranker.corpora import Collection
from inranker.corpora.texts import PassageTexts
from inranker.pairs import shard_bytes
from inranker.retrieval.sampling import POSITIVE, Draw, stable_hash
from inranker.types import Query


def written_order(draw: Draw, queries: list[Query], passage_ids: list[str], shuffle_seed: int | None) -> np.ndarray:
    """Pairs in the order of the shards, [n]: as drawn, which groups queries, or mixed by a hash of ids and seed."""
    if shuffle_seed is None:
        return np.arange(len(draw.query))
    pairs = zip(draw.query, draw.passage, strict=True)
    keys = (stable_hash(shuffle_seed, queries[query].query_id, passage_ids[passage]) for query, passage in pairs)
    return np.argsort(np.fromiter(keys, dtype=np.uint64), kind="stable")


def pair_shard(
    rows: np.ndarray,
    draw: Draw,
    queries: list[Query],
    passage_ids: list[str],
    texts: PassageTexts,
    collection: Collection,
) -> bytes:
    """One shard of pairs, these rows of the draw, as Parquet."""
    asked = [queries[draw.query[row]] for row in rows]
    names = [passage_ids[draw.passage[row]] for row in rows]
    columns = {
        "query_id": [query.query_id for query in asked],
        "passage_id": names,
        "query": [query.text for query in asked],
        "passage": [texts[name] for name in names],
        "kind": ["positive" if draw.band[row] == POSITIVE else "negative" for row in rows],
        "rank": [draw.rank[row] or None for row in rows],
        "source": [collection.name] * len(rows),
        "language": [collection.language] * len(rows),
    }
    return shard_bytes(columns)
