"""What a collection is to the rest of the library: passages, queries and qrels as streams.

Names of collections look like `beir:PATH`, `ir_datasets:ID` and `python-docs`; `inranker.corpora.open_collection`
turns one into an object of this protocol.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from inranker.types import Passage, Qrel, Query


class Collection(Protocol):
    """A test or training collection. Iterators start anew at every call and hold no text but the current one.

    Attributes:
        name: where its pairs say they come from, such as `beir/scifact` or `python-docs`.
        language: ISO 639-1 code; picks the analyser of the first stage.
        licence: a note for people, not a check.
        queries_are_documents: the queries are passages of the corpus (ArguAna), so a query's own passage is no answer.
            Elsewhere an id that a query and a passage share means nothing.
        made_from: earlier stages that its queries come from, as the manifests of later ones record them; empty where
            people wrote them.
    """

    name: str
    language: str
    licence: str
    queries_are_documents: bool
    made_from: dict[str, Any]

    def splits(self) -> list[str]:
        """Names of the splits that have qrels."""
        ...

    def passages_iter(self) -> Iterator[Passage]:
        """Every passage that has contents, in corpus order.

        Raises:
            UserError: the corpus cannot be read, is empty or has a bad record; raised before the first passage.
        """
        ...

    def queries_iter(self, split: str) -> Iterator[Query]:
        """The judged queries of a split, in the collection's order.

        Raises:
            UserError: unknown or empty split, or a bad record.
        """
        ...

    def qrels_iter(self, split: str) -> Iterator[Qrel]:
        """The judgments of a split whose query exists, in the collection's order.

        A judgment whose passage is missing stays: an evaluator counts it as a relevant passage nobody can find.

        Raises:
            UserError: unknown or empty split, a bad record, or too many judgments that name unknown ids.
        """
        ...

    def has_passages(self, passage_ids: Sequence[str]) -> list[bool]:
        """For each id, whether the corpus has a passage of that name that has contents."""
        ...

    def passages_hash(self) -> str:
        """sha256 (hex) of the passages in their order; what an index depends on."""
        ...

    def content_hash(self, split: str | None = None) -> str:
        """sha256 (hex) of the passages and of the queries and qrels of one split, or of all splits."""
        ...

    def counts(self, split: str | None = None) -> dict[str, int]:
        """How many records there are, and how many were left out and why; with a split, its queries and qrels too."""
        ...
