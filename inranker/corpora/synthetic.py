"""Generated queries as a collection: `synthetic:DIR`, the output of synthesize.py or filter_queries.py.

Passages are those of the collection that the queries were written for; each kept query has one judgment, its source
passage. Split `train` has all of them; `dev` has those of a tenth of the source passages, by the hash of the passage's
id, and `train-without-dev` the rest, for measurements on queries that were not trained on.
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
DEV, REST = "dev", "train-without-dev"
DEV_ONE_IN = 10
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
        """All queries, and the two parts of them."""
        return [SPLIT, DEV, REST]

    def passages_iter(self) -> Iterator[Passage]:
        """See Collection."""
        return self.passages.passages_iter()

    def queries_iter(self, split: str) -> Iterator[Query]:
        """The queries that were kept, in the order of generation."""
        self._require(split)
        return (Query(query_id, query) for query_id, query, _ in self._rows(split))

    def qrels_iter(self, split: str) -> Iterator[Qrel]:
        """Each query's source passage, relevance 1."""
        self._require(split)
        return (Qrel(query_id, passage_id, 1) for query_id, _, passage_id in self._rows(split))

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
        rows = sum(1 for _ in self._rows(split)) if split else 0
        return counts | ({"judged_queries": rows, "qrels": rows} if split else {})

    def _rows(self, split: str) -> Iterator[tuple[str, str, str]]:
        for batch in self.table.to_batches(ROWS_AT_A_TIME):
            rows = zip(*(batch[name].to_pylist() for name in ("query_id", "query", "passage_id")), strict=True)
            yield from (row for row in rows if split == SPLIT or _held_out(row[2]) == (split == DEV))

    def _require(self, split: str) -> None:
        if split not in self.splits():
            raise UserError(f"{self.name} has no split {split!r}; it has {', '.join(self.splits())}")


def _held_out(passage_id: str) -> bool:
    """Queries of one passage stay together: one that was trained on would give away the others."""
    return int(hashlib.sha256(passage_id.encode()).hexdigest(), 16) % DEV_ONE_IN == 0
