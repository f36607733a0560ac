"""A TREC run in, a TREC run out; passages wait on disk, rankings pass through one query after the other."""

import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from inranker.corpora.base import Collection
from inranker.corpora.lines import lines, objects, text_field
from inranker.errors import UserError
from inranker.retrieval.runs import parse_line, strictly_decreasing
from inranker.types import ScoredDoc

from .ranker import LongPassages, Ranker


class Ranking(NamedTuple):
    """A query's part of a run, best first."""

    query_id: str
    passage_ids: list[str]


def rankings(numbered: Iterable[tuple[int, str]], where: str) -> Iterator[Ranking]:
    """The rankings of a run whose queries stand together, one at a time: by score, ties by the written rank.

    Raises:
        UserError: naming the line: not a run's line, a passage twice, or a query whose lines are apart.
    """
    current, rows, seen = "", dict[str, tuple[float, float]](), set[str]()
    for number, line in numbered:
        query_id, passage_id, rank, score = parse_line(line, where, number)
        if query_id != current:
            if rows:
                yield _sorted(current, rows)
            if query_id in seen:
                raise UserError(
                    f"{where}, line {number}: query {query_id!r} was ended by another one before; "
                    "sort the run by query (a stable sort on its first column)"
                )
            seen.add(query_id)
            current, rows = query_id, {}
        if passage_id in rows:
            raise UserError(f"{where}, line {number}: query {query_id!r} ranks passage {passage_id!r} twice; keep one")
        rows[passage_id] = (-score, rank)
    if rows:
        yield _sorted(current, rows)


def _sorted(query_id: str, rows: dict[str, tuple[float, float]]) -> Ranking:
    return Ranking(query_id, sorted(rows, key=rows.__getitem__))


class PassageShelf:
    """Texts of the passages that a run names, in a database file of this process."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.execute("CREATE TABLE passages (id TEXT PRIMARY KEY, contents TEXT) WITHOUT ROWID")

    def want(self, passage_ids: Iterable[str]) -> None:
        """Passages that `fill` is to keep."""
        self._database.executemany("INSERT OR IGNORE INTO passages (id) VALUES (?)", ((name,) for name in passage_ids))

    def fill(self, collection: Collection) -> None:
        """Take them from one pass over the collection.

        Raises:
            UserError: it lacks one.
        """
        update = "UPDATE passages SET contents = ? WHERE id = ?"
        self._database.executemany(
            update, ((passage.contents, passage.passage_id) for passage in collection.passages_iter())
        )
        if missing := self._database.execute("SELECT id FROM passages WHERE contents IS NULL LIMIT 1").fetchone():
            raise UserError(
                f"the run names passage {missing[0]!r}, which collection {collection.name} does not have; "
                "name the collection that the run was made from"
            )

    def contents(self, passage_ids: list[str]) -> list[str]:
        """Their texts, in order."""
        find = "SELECT contents FROM passages WHERE id = ?"
        return [self._database.execute(find, (name,)).fetchone()[0] for name in passage_ids]


@contextmanager
def shelf() -> Iterator[PassageShelf]:
    """A shelf that is gone afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="inranker-") as folder,
        closing(sqlite3.connect(Path(folder) / "passages.db")) as database,
    ):
        # Nobody else reads it and nobody needs it after a crash.
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        yield PassageShelf(database)


def read_topics(path: str) -> dict[str, str]:
    """Queries by id from a TSV file (query_id, text) or a JSON-lines file (`_id`, `text`).

    Raises:
        UserError: naming the line that is neither.
    """
    file = Path(path)
    if file.name.removesuffix(".gz").endswith((".jsonl", ".json")):
        return {
            text_field(value, "_id", file, number): text_field(value, "text", file, number)
            for number, value in objects(file)
        }
    topics = {}
    for number, line in lines(file):
        query_id, tab, text = line.partition("\t")
        if not tab:
            raise UserError(f"{path}, line {number}: no tab; a line of topics is query_id, tab, text")
        topics[query_id] = text
    return topics


def rerank_run(
    ranker: Ranker,
    run: Iterable[Ranking],
    topics: dict[str, str],
    passages: PassageShelf,
    out: IO[str],
    tag: str = "inranker",
    depth: int | None = None,
    top_k: int | None = None,
    long_passages: LongPassages = "truncate",
    batch_pairs: int = 512,
    on_progress: Callable[[int], object] = lambda pairs: None,
) -> dict[str, int]:
    """Re-rank every query's first `depth` passages and write the run; the rest follows in first-stage order.

    Scores strictly decrease, and equal ones keep first-stage order.

    Args:
        ranker: what ranks.
        run: rankings, in the order in which they are written.
        topics: query_id -> text.
        passages: holds the texts of the passages within the depth.
        out: where lines go.
        tag: the last column.
        depth, top_k: passages that are scored and that are written; None means all.
        long_passages: as `Ranker.rank`.
        batch_pairs: pairs that are collected before they are ranked.
        on_progress: called with the number of pairs just ranked.

    Returns:
        `queries` and `pairs`, counted.

    Raises:
        UserError: a query that is not among the topics, or an id that cannot stand in a run.
    """
    counts = {"queries": 0, "pairs": 0}
    for batch in _batches(run, depth, batch_pairs):
        texts = [_topic(topics, ranking.query_id) for ranking in batch]
        heads = [ranking.passage_ids[:depth] for ranking in batch]
        ranked = ranker.rank(texts, [passages.contents(head) for head in heads], None, long_passages)
        for ranking, head, hits in zip(batch, heads, ranked, strict=True):
            order = [ScoredDoc(ranking.query_id, head[hit.index], hit.score) for hit in hits]
            floor = order[-1].score if order else 0.0
            tail = ranking.passage_ids[len(head) :]
            order += [ScoredDoc(ranking.query_id, name, floor - below) for below, name in enumerate(tail, start=1)]
            _write(out, order[:top_k], tag)
        out.flush()
        pairs = sum(map(len, heads))
        counts = {"queries": counts["queries"] + len(batch), "pairs": counts["pairs"] + pairs}
        on_progress(pairs)
    return counts


def _batches(run: Iterable[Ranking], depth: int | None, batch_pairs: int) -> Iterator[list[Ranking]]:
    batch: list[Ranking] = []
    pairs = 0
    for ranking in run:
        batch.append(ranking)
        pairs += len(ranking.passage_ids[:depth])
        if pairs >= batch_pairs:
            yield batch
            batch, pairs = [], 0
    if batch:
        yield batch


def _topic(topics: dict[str, str], query_id: str) -> str:
    if query_id not in topics:
        raise UserError(f"the run has query {query_id!r}, which the topics do not; name its split, or its topics file")
    return topics[query_id]


def _write(out: IO[str], order: list[ScoredDoc], tag: str) -> None:
    for rank, document in enumerate(strictly_decreasing(order), start=1):
        score = np.format_float_positional(np.float32(document.score), trim="0")
        out.write(f"{document.query_id} Q0 {document.passage_id} {rank} {score} {tag}\n")
