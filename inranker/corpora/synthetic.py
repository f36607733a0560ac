"""Generated queries as a collection: `synthetic:DIR`, the output of synthesize.py or filter_queries.py.

Passages are those of the collection that the queries were written for; each kept query has one judgment, its source
passage. There is one split, `train`.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from inranker.errors import UserError
from inranker.manifest import read_shard
from inranker.types import Passage, Qrel, Query

SPLIT = "train"
ROWS_AT_A_TIME = 10_000


class SyntheticCollection:
    """See Collection.

    Args:
        path: directory or URL of a finished query set.
        language: ISO 639-1 code; overrides the collection's own.

    Raises:
        UserError: the set is unfinished, has no query left, or its collection is gone or changed.
    """

    def __init__(self, path: str, language: str | None = None) -> None:
        from inranker.synthesis.links import open_linked, read_synthesis, synthesis_link

        store, manifest, shard = read_synthesis(path)
        link = manifest.inputs["collection"]
        self.passages = open_linked(link)
        self.queries_hash = shard.sha256
        data = io.BytesIO(read_shard(store, shard))
        table = pq.read_table(data, columns=["query_id", "query", "passage_id", "dropped_by"])
        self.table: pa.Table = table.filter(table["dropped_by"].is_null()).drop_columns("dropped_by")
        if not self.table.num_rows:
            raise UserError(f"the filters of {store.url} have dropped every query; filter less (filter_queries.py)")
        self.name = f"synthetic/{link['name']}"
        self.language = language or self.passages.language
        self.licence = f"generated for passages of {link['name']} ({link['licence']}); the model's own terms hold too"
        self.queries_are_documents = False
        self.made_from = {"synthesis": synthesis_link(path, manifest)}

    def splits(self) -> list[str]:
        """The one split."""
        return [SPLIT]

    def passages_iter(self) -> Iterator[Passage]:
        """See Collection."""
        return self.passages.passages_iter()

    def queries_iter(self, split: str) -> Iterator[Query]:
        """The queries that were kept, in the order of generation."""
        self._require(split)
        return (Query(query_id, query) for query_id, query, _ in self._rows())

    def qrels_iter(self, split: str) -> Iterator[Qrel]:
        """Each query's source passage, relevance 1."""
        self._require(split)
        return (Qrel(query_id, passage_id, 1) for query_id, _, passage_id in self._rows())

    def has_passages(self, passage_ids: Sequence[str]) -> list[bool]:
        """See Collection."""
        return self.passages.has_passages(passage_ids)

    def passages_hash(self) -> str:
        """See Collection."""
        return self.passages.passages_hash()

    def content_hash(self, split: str | None = None) -> str:
        """See Collection; of the passages and the file of queries."""
        return hashlib.sha256(f"{self.passages_hash()} {self.queries_hash}".encode()).hexdigest()

    def counts(self, split: str | None = None) -> dict[str, int]:
        """See Collection."""
        counts = self.passages.counts()
        return counts | ({"judged_queries": self.table.num_rows, "qrels": self.table.num_rows} if split else {})

    def _rows(self) -> Iterator[tuple[str, str, str]]:
        for batch in self.table.to_batches(ROWS_AT_A_TIME):
            yield from zip(*(batch[name].to_pylist() for name in ("query_id", "query", "passage_id")), strict=True)

    def _require(self, split: str) -> None:
        if split != SPLIT:
            raise UserError(f"{self.name} has no split {split!r}; generated queries are all in {SPLIT!r}")
