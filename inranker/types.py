"""The nouns of the field, as plain named tuples."""

from typing import Literal, NamedTuple

Kind = Literal["positive", "negative"]


def join(title: str, text: str) -> str:
    """Title and text as the one string that is mined, labelled, trained on and evaluated."""
    return f"{title} {text}".strip()


class Query(NamedTuple):
    """A search request."""

    query_id: str
    text: str


class Passage(NamedTuple):
    """A unit of retrieval; `title` is empty where the collection has none."""

    passage_id: str
    text: str
    title: str = ""

    @property
    def contents(self) -> str:
        """What a retriever indexes and a reranker reads."""
        return join(self.title, self.text)


class Qrel(NamedTuple):
    """A relevance judgment; `relevance` > 0 means relevant, higher is better."""

    query_id: str
    passage_id: str
    relevance: int


class ScoredDoc(NamedTuple):
    """A passage and the score a system gave it for a query."""

    query_id: str
    passage_id: str
    score: float


class Pair(NamedTuple):
    """A (query, passage) to be labelled, with where it comes from.

    `rank` is the 1-based rank in the first-stage run, None for a positive that was not retrieved.
    """

    query_id: str
    passage_id: str
    query: str
    passage: str
    kind: Kind
    rank: int | None
    source: str
    language: str
