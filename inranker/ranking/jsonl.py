"""JSON lines in, the same lines with their passages best first out; what is in memory is one batch."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, NamedTuple

from inranker.errors import UserError

from .passages import as_passages
from .ranker import LongPassages, RankedPassage, Ranker, require_utf8

SHAPE = '{"query": "…", "passages": ["…", {"text": "…", "title": "…", "id": "…"}]}'


class Request(NamedTuple):
    """A line: all of its fields, of which two are read."""

    fields: dict[str, Any]

    @property
    def query(self) -> str:
        """What is asked."""
        query: str = self.fields["query"]
        return query

    @property
    def passages(self) -> list[Any]:
        """What is ranked."""
        passages: list[Any] = self.fields["passages"]
        return passages


def rerank_lines(
    ranker: Ranker,
    numbered: Iterable[tuple[int, str]],
    where: str,
    out: IO[str],
    top_k: int | None = None,
    long_passages: LongPassages = "truncate",
    batch_pairs: int = 512,
    on_progress: Callable[[int], object] = lambda pairs: None,
) -> dict[str, int]:
    """Rank the passages of every line and write the lines, in order.

    A line keeps its fields. Its passages come best first; each is an object with what it had (`text`, where it was a
    string) and `score`, `probability` and `index`, its place in the line that was read.

    Args:
        ranker: what ranks.
        numbered: lines with their numbers.
        where: what errors call the input.
        out: where lines go; flushed after every batch.
        top_k: passages of a line that are kept; None keeps all.
        long_passages: as `Ranker.rank`.
        batch_pairs: pairs that are collected before they are ranked.
        on_progress: called with the number of pairs just ranked.

    Returns:
        `queries` and `pairs`, counted.

    Raises:
        UserError: naming the line: not JSON, a field that is missing or of another type. Lines before it are written.
    """
    counts = {"queries": 0, "pairs": 0}
    for batch in _batches(numbered, where, batch_pairs):
        ranked = ranker.rank(
            [request.query for request in batch], [request.passages for request in batch], top_k, long_passages
        )
        for request, hits in zip(batch, ranked, strict=True):
            out.write(json.dumps({**request.fields, "passages": [_written(hit) for hit in hits]}, ensure_ascii=False))
            out.write("\n")
        out.flush()
        pairs = sum(len(request.passages) for request in batch)
        counts = {"queries": counts["queries"] + len(batch), "pairs": counts["pairs"] + pairs}
        on_progress(pairs)
    return counts


def _batches(numbered: Iterable[tuple[int, str]], where: str, batch_pairs: int) -> Iterator[list[Request]]:
    """Lines in batches of about so many pairs; what stands before a bad line comes out before its error."""
    batch: list[Request] = []
    pairs = 0
    requests = (_request(line, f"{where}, line {number}") for number, line in numbered)
    while True:
        try:
            request = next(requests)
        except StopIteration:
            break
        except UserError:
            if batch:
                yield batch
            raise
        batch.append(request)
        pairs += len(request.passages)
        if pairs >= batch_pairs:
            yield batch
            batch, pairs = [], 0
    if batch:
        yield batch


def _request(line: str, where: str) -> Request:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON ({error}); write one object a line, as in {SHAPE}") from error
    if not isinstance(fields, dict):
        raise UserError(f"{where}: not a JSON object but {type(fields).__name__}; write {SHAPE}")
    for name, kind in (("query", str), ("passages", list)):
        if not isinstance(fields.get(name), kind):
            found = type(fields[name]).__name__ if name in fields else "missing"
            raise UserError(f"{where}: field {name!r} is {found}; write {SHAPE}")
    try:
        texts = [passage.contents for passage in as_passages(fields["passages"])]
        require_utf8([fields["query"]] * len(texts), texts)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    return Request(fields)


def _written(hit: RankedPassage) -> dict[str, Any]:
    own = {"text": hit.passage} if isinstance(hit.passage, str) else dict(hit.passage)
    return {**own, "score": hit.score, "probability": hit.probability, "index": hit.index}
