"""The checks that every reader shares, so that each reader only reads.

A reader yields (number, record) for passages, queries and qrels, in which number is whatever `place` turns into words:
a line of a file, a record of a dataset.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from inranker.corpora.ids import IdIndex, id_hash
from inranker.errors import UserError
from inranker.types import Passage, Qrel, Query

MAX_UNKNOWN_SHARE = 0.05  # of a split's qrels; real collections miss a few passages, a wrong corpus misses most

Record = TypeVar("Record", Passage, Query, Qrel)
Numbered = Iterator[tuple[int, Record]]


@dataclass(frozen=True)
class Survey:
    """What one pass over the corpus tells."""

    hash: str
    passages: int
    empty: frozenset[str]
    ids: IdIndex


@dataclass(frozen=True)
class Judgments:
    """The qrels of a split, and how many were found wanting."""

    qrels: list[Qrel]
    unknown_queries: int
    """Qrels whose query is not there or has no text."""
    unknown_passages: int
    empty_queries: int
    """Judged queries that have no text."""


class CheckedCollection(ABC):
    """A Collection made from a reader's three raw streams. A whole pass of checks comes before the first passage."""

    def __init__(self, name: str, language: str, licence: str, queries_are_documents: bool = False) -> None:
        self.name = name
        self.language = language
        self.licence = licence
        self.queries_are_documents = queries_are_documents
        self.made_from: dict[str, Any] = {}
        self._survey: Survey | None = None
        self._judgments: dict[str, Judgments] = {}

    @abstractmethod
    def splits(self) -> list[str]:
        """Names of the splits that have qrels."""

    @abstractmethod
    def read_passages(self) -> Numbered[Passage]:
        """Every passage as it stands in the source."""

    @abstractmethod
    def read_queries(self, split: str) -> Numbered[Query]:
        """Every query of the source that holds the split's; may be more than the split's."""

    @abstractmethod
    def read_qrels(self, split: str) -> Numbered[Qrel]:
        """Every judgment of a split as it stands in the source."""

    @abstractmethod
    def place(self, kind: str, number: int, split: str = "") -> str:
        """Where a record stands, for people; kind is passages, queries or qrels."""

    def passages_iter(self) -> Iterator[Passage]:
        """See Collection."""
        self.survey()
        return (passage for _, passage in self.read_passages() if passage.contents)

    def queries_iter(self, split: str) -> Iterator[Query]:
        """See Collection."""
        judged = {qrel.query_id for qrel in self.judgments(split).qrels}  # of queries that have a text
        return (query for query in self._checked_queries(split) if query.query_id in judged)

    def qrels_iter(self, split: str) -> Iterator[Qrel]:
        """See Collection."""
        return iter(self.judgments(split).qrels)

    def has_passages(self, passage_ids: Sequence[str]) -> list[bool]:
        """See Collection."""
        survey = self.survey()
        known = survey.ids.known(passage_ids).tolist()
        return [has and name not in survey.empty for name, has in zip(passage_ids, known, strict=True)]

    def passages_hash(self) -> str:
        """See Collection."""
        return self.survey().hash

    def content_hash(self, split: str | None = None) -> str:
        """See Collection."""
        digest = hashlib.sha256(self.passages_hash().encode())
        for name in [split] if split else sorted(self.splits()):
            for record in (name, *self.queries_iter(name), *self.qrels_iter(name)):
                digest.update(_line(record))
        return digest.hexdigest()

    def counts(self, split: str | None = None) -> dict[str, int]:
        """See Collection."""
        survey = self.survey()
        counts = {"passages": survey.passages, "passages_skipped_empty": len(survey.empty)}
        if split:
            judgments = self.judgments(split)
            counts |= {
                "judged_queries": len({qrel.query_id for qrel in judgments.qrels}),
                "queries_skipped_empty": judgments.empty_queries,
                "qrels": len(judgments.qrels),
                "qrels_of_unknown_queries": judgments.unknown_queries,
                "qrels_of_unknown_passages": judgments.unknown_passages,
            }
        return counts

    def survey(self) -> Survey:
        """Check the whole corpus once: ids, duplicates, encodable text.

        Raises:
            UserError: naming the place of the first bad record, or saying that there is no passage.
        """
        if self._survey is None:
            self._survey = self._make_survey()
        return self._survey

    def judgments(self, split: str) -> Judgments:
        """The checked qrels of a split.

        Raises:
            UserError: unknown or empty split, conflicting judgments, or too many unknown ids.
        """
        if split not in self._judgments:
            self._require_split(split)
            self._judgments[split] = self._make_judgments(split)
        return self._judgments[split]

    def _make_survey(self) -> Survey:
        digest, hashes, empty = hashlib.sha256(), array("Q"), set()
        for number, passage in self.read_passages():
            if _unfit(passage.passage_id):
                self._refuse_id(passage.passage_id, self.place("passages", number))
            hashes.append(id_hash(passage.passage_id))
            if passage.contents:
                digest.update(_line(passage))
            else:
                empty.add(passage.passage_id)
        ids = IdIndex(hashes)
        if suspects := ids.repeated():
            self._refuse_duplicates(suspects)
        if len(ids) == len(empty):
            where = self.place("passages", 0)
            raise UserError(f"{where}: the corpus has no passage with text; check that it is the right one")
        return Survey(digest.hexdigest(), len(ids) - len(empty), frozenset(empty), ids)

    def _refuse_id(self, identifier: str, where: str) -> NoReturn:
        raise UserError(f"{where}: id {identifier!r} is empty or holds a tab or line break; give it another")

    def _refuse_duplicates(self, suspects: set[int]) -> None:
        first: dict[str, int] = {}
        for number, passage in self.read_passages():
            identifier = passage.passage_id
            if id_hash(identifier) not in suspects:
                continue
            if identifier in first:
                raise UserError(
                    f"{self.place('passages', number)}: passage id {identifier!r} was given before, "
                    f"at {self.place('passages', first[identifier])}; make passage ids unique"
                )
            first[identifier] = number

    def _require_split(self, split: str) -> None:
        if split not in (known := self.splits()):
            raise UserError(f"{self.name} has no split {split!r}; its splits are {', '.join(known) or '(none)'}")

    def _checked_queries(self, split: str) -> Iterator[Query]:
        first: dict[str, int] = {}
        for number, query in self.read_queries(split):
            where = self.place("queries", number, split)
            if _unfit(query.query_id):
                self._refuse_id(query.query_id, where)
            if query.query_id in first:
                before = self.place("queries", first[query.query_id], split)
                raise UserError(
                    f"{where}: query id {query.query_id!r} was given before, at {before}; make query ids unique"
                )
            first[query.query_id] = number
            yield query

    def _make_judgments(self, split: str) -> Judgments:
        qrels = self._unique_qrels(split)
        if not qrels:
            raise UserError(f"{self.place('qrels', 0, split)}: split {split!r} of {self.name} is empty; name another")
        queries, empty = set[str](), set[str]()
        for query in self._checked_queries(split):
            (queries if query.text.strip() else empty).add(query.query_id)
        known = [qrel for qrel in qrels.values() if qrel.query_id in queries]
        unknown_queries = len(qrels) - len(known)
        missing = ~self.survey().ids.known(qrel.passage_id for qrel in known)
        unknown = unknown_queries + int(missing.sum())
        if unknown > MAX_UNKNOWN_SHARE * len(qrels):
            number, qrel = next(
                (number, qrel)
                for number, qrel in qrels.items()
                if qrel.query_id not in queries or not self.survey().ids.known([qrel.passage_id])[0]
            )
            raise UserError(
                f"{self.place('qrels', number, split)}: {unknown} of the {len(qrels)} qrels of split {split!r} name a "
                f"query or passage that {self.name} does not have, or a query without text (first: query "
                f"{qrel.query_id!r}, passage {qrel.passage_id!r}); check that corpus, queries and qrels belong together"
            )
        judged_empty = len(empty & {qrel.query_id for qrel in qrels.values()})
        return Judgments(known, unknown_queries, int(missing.sum()), judged_empty)

    def _unique_qrels(self, split: str) -> dict[int, Qrel]:
        """Judgments by number; one that is repeated word by word counts once.

        Raises:
            UserError: a pair is judged twice, differently.
        """
        first: dict[tuple[str, str], tuple[int, int]] = {}
        unique: dict[int, Qrel] = {}
        for number, qrel in self.read_qrels(split):
            pair = (qrel.query_id, qrel.passage_id)
            before, relevance = first.setdefault(pair, (number, qrel.relevance))
            if relevance != qrel.relevance:
                raise UserError(
                    f"{self.place('qrels', number, split)}: query {pair[0]!r} and passage {pair[1]!r} are judged "
                    f"{qrel.relevance} here and {relevance} at {self.place('qrels', before, split)}; keep one"
                )
            if before == number:
                unique[number] = qrel
        return unique


def _unfit(identifier: str) -> bool:
    """Ids that the formats of the field cannot carry: TSV qrels are split at tabs and lines."""
    return not identifier or any(character in identifier for character in "\t\n\r")


def _line(record: Any) -> bytes:
    return (json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
