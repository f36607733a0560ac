"""Passages to compare systems on: a loaded collection, or what somebody pasted."""

from collections.abc import Sequence

from inranker.corpora import open_collection
from inranker.errors import UserError
from inranker.retrieval import Retriever, open_retriever
from inranker.retrieval.analysis import analyser
from inranker.retrieval.bm25 import build
from inranker.types import Passage, Query


class Corpus:
    """A collection's BM25 index and its texts, which are held in memory.

    Raises:
        UserError: the collection cannot be opened.
    """

    def __init__(self, name: str, language: str | None = None, cache: str | None = None) -> None:
        collection = open_collection(name, language)
        self.name = collection.name
        self.retriever: Retriever = open_retriever(collection, language=language, cache=cache)
        self._passages = {passage.passage_id: passage for passage in collection.passages_iter()}

    def __len__(self) -> int:
        return len(self._passages)

    def search(self, query: str, depth: int) -> list[tuple[Passage, float]]:
        """The best passages by BM25 and their scores, best first."""
        found = self.retriever.search([Query("query", query)], depth, threads=1)["query"]
        return [(self._passages[document.passage_id], float(document.score)) for document in found]


def rank_pasted(query: str, passages: Sequence[str], language: str) -> list[tuple[int, float]]:
    """Places and BM25 scores of passages, best first; those that share no word with the query come last, with 0."""
    numbered = [Passage(str(place), text) for place, text in enumerate(passages)]
    try:
        index = build(numbered, analyser(language))
        found = index.search([Query("query", query)], len(passages), threads=1)["query"]
    except UserError:  # no passage has a word to index
        found = []
    ranked = [(int(document.passage_id), float(document.score)) for document in found]
    seen = {place for place, _ in ranked}
    return ranked + [(place, 0.0) for place in range(len(passages)) if place not in seen]
