"""A fixed sample of queries."""

from inranker.fingerprint import sha256_bytes
from inranker.types import Query


def sample(queries: list[Query], limit: int | None) -> list[Query]:
    """The queries with the smallest sha256 of their id, in their old order; all when limit is None."""
    if limit is None or limit >= len(queries):
        return queries
    kept = set(sorted(queries, key=lambda query: sha256_bytes(query.query_id.encode()))[:limit])
    return [query for query in queries if query in kept]
