"""A collection whose texts went through ftfy (Speer 2019, https://ftfy.readthedocs.io), on request.

ftfy undoes text that was decoded wrongly ("cafÃ©"), HTML entities and curly remains of them. InPars mends its texts so
before it makes queries.
"""

from collections.abc import Iterator, Sequence

from ftfy import fix_text

from inranker.corpora.base import Collection
from inranker.fingerprint import fingerprint
from inranker.types import Passage, Qrel, Query


class Mended:
    """The same collection with mended texts; ids and qrels stay as they are. See Collection."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.name = collection.name
        self.language = collection.language
        self.licence = collection.licence
        self.queries_are_documents = collection.queries_are_documents
        self.made_from = collection.made_from

    def splits(self) -> list[str]:
        """See Collection."""
        return self.collection.splits()

    def passages_iter(self) -> Iterator[Passage]:
        """See Collection; a passage of which nothing is left stays as it was."""
        for passage in self.collection.passages_iter():
            mended = passage._replace(text=fix_text(passage.text), title=fix_text(passage.title))
            yield mended if mended.contents else passage

    def queries_iter(self, split: str) -> Iterator[Query]:
        """See Collection."""
        return (
            query._replace(text=fix_text(query.text).strip() or query.text)
            for query in self.collection.queries_iter(split)
        )

    def qrels_iter(self, split: str) -> Iterator[Qrel]:
        """See Collection."""
        return self.collection.qrels_iter(split)

    def has_passages(self, passage_ids: Sequence[str]) -> list[bool]:
        """See Collection."""
        return self.collection.has_passages(passage_ids)

    def passages_hash(self) -> str:
        """See Collection; that of the source with ftfy's version, which decides what becomes of it."""
        return _mended_hash(self.collection.passages_hash())

    def content_hash(self, split: str | None = None) -> str:
        """See Collection."""
        return _mended_hash(self.collection.content_hash(split))

    def counts(self, split: str | None = None) -> dict[str, int]:
        """See Collection."""
        return self.collection.counts(split)


def _mended_hash(source: str) -> str:
    from importlib.metadata import version

    return fingerprint([source, "ftfy", version("ftfy")])
