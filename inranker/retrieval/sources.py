"""First stages made of others: run files, several first stages in turn, and one without a query's own passage."""

from pathlib import Path
from typing import Any

from inranker.corpora.base import Collection
from inranker.errors import UserError
from inranker.retrieval.runs import Run, read_run
from inranker.types import Query, ScoredDoc


class RunFile:
    """A TREC run that any system made, in place of searching.

    Raises:
        UserError: no such file, or no run.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.run = read_run(Path(path).expanduser())

    def search(self, queries: list[Query], depth: int, threads: int | None = None) -> Run:
        """The head of what the file ranks for each query.

        Raises:
            UserError: the file has none of the queries.
        """
        if queries and not any(query.query_id in self.run for query in queries):
            raise UserError(f"run {self.path} has none of {len(queries)} queries; name a run of this split")
        return {query.query_id: self.run.get(query.query_id, [])[:depth] for query in queries}


class OfThisCorpus:
    """A ranking that was made elsewhere, refused where it names passages that the collection does not have."""

    def __init__(self, retriever: Any, collection: Collection, name: str) -> None:
        self.retriever = retriever
        self.collection = collection
        self.name = name

    def search(self, queries: list[Query], depth: int, threads: int | None = None) -> Run:
        """As Retriever.search.

        Raises:
            UserError: a passage that the collection lacks.
        """
        run: Run = self.retriever.search(queries, depth, threads)
        names = list({document.passage_id for ranking in run.values() for document in ranking})
        for name, has in zip(names, self.collection.has_passages(names), strict=True):
            if not has:
                raise UserError(
                    f"{self.name} ranks passage {name!r}, which {self.collection.name} does not have; name one that "
                    "was made of this collection"
                )
        return run


def interleave(runs: list[Run], depth: int) -> Run:
    """The firsts of all runs, then their seconds, …; each passage at its first place; scores fall from 1 as 1/rank."""
    mixed: Run = {}
    for query_id in runs[0]:
        rankings = [run[query_id] for run in runs]
        names: dict[str, None] = {}
        for place in range(max(map(len, rankings))):
            names |= dict.fromkeys(ranking[place].passage_id for ranking in rankings if place < len(ranking))
        mixed[query_id] = [
            ScoredDoc(query_id, name, 1 / rank) for rank, name in enumerate(list(names)[:depth], start=1)
        ]
    return mixed
