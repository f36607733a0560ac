"""TREC run files: `query_id Q0 passage_id rank score tag`, scores strictly decreasing within a query.

Evaluators sort a run by score anew and break ties by id, so a run whose scores tie is not the ranking that was written
(Craswell et al., "Tie-breaking bias", and trec_eval's own source). Where a system ties, the order given here holds.
"""

import math
import os
from pathlib import Path

import numpy as np

from inranker.corpora.lines import either, lines
from inranker.errors import UserError
from inranker.types import ScoredDoc

Run = dict[str, list[ScoredDoc]]
COLUMNS = 6


def strictly_decreasing(ranking: list[ScoredDoc]) -> list[ScoredDoc]:
    """The same ranking with scores that strictly decrease: one that does not is moved to the next smaller float32.

    Raises:
        UserError: a score is not a finite number.
    """
    lowered: list[ScoredDoc] = []
    bound = np.float32(np.inf)
    for document in ranking:
        if not math.isfinite(document.score):
            raise UserError(
                f"query {document.query_id!r}, passage {document.passage_id!r}: score {document.score} cannot rank; "
                "check the system that made it"
            )
        bound = min(np.float32(document.score), np.nextafter(bound, np.float32(-np.inf)))
        lowered.append(document._replace(score=float(bound)))
    return lowered


def write_run(path: str | Path, run: Run, tag: str) -> None:
    """Write a run; the file appears under its name only when it is whole.

    Args:
        path: where to.
        run: rankings, best first; scores that tie or grow are lowered to keep that order.
        tag: name of the system, one word.

    Raises:
        UserError: an id or the tag holds white space or is empty, a passage is ranked twice, or a score is not finite.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            for query_id, ranking in run.items():
                seen: set[str] = set()
                for rank, document in enumerate(strictly_decreasing(ranking), start=1):
                    _require_words(query_id, document.passage_id, tag)
                    if document.passage_id in seen:
                        raise UserError(f"query {query_id!r} ranks passage {document.passage_id!r} twice; rank it once")
                    seen.add(document.passage_id)
                    score = np.format_float_positional(np.float32(document.score), trim="0")
                    file.write(f"{query_id} Q0 {document.passage_id} {rank} {score} {tag}\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_run(path: str | Path) -> Run:
    """Read a run, plain or `.gz`; rankings by score, ties by the rank that is written.

    Raises:
        UserError: naming file and line: not six columns, a rank or score that is no finite number, a passage twice.
    """
    path = either(Path(path))
    found: dict[str, dict[str, tuple[float, int]]] = {}
    for number, line in lines(path):
        query_id, passage_id, rank, score = parse_line(line, path, number)
        if passage_id in found.setdefault(query_id, {}):
            raise UserError(f"{path}, line {number}: query {query_id!r} ranks passage {passage_id!r} twice; keep one")
        found[query_id][passage_id] = (-score, int(rank))
    return {
        query_id: [
            ScoredDoc(query_id, passage_id, -key[0])
            for passage_id, key in sorted(ranking.items(), key=lambda item: item[1])
        ]
        for query_id, ranking in found.items()
    }


def parse_line(line: str, where: str | Path, number: int) -> tuple[str, str, float, float]:
    """(query_id, passage_id, rank, score) of a line.

    Raises:
        UserError: not six columns, or a rank or score that is no finite number.
    """
    columns = line.split()
    if len(columns) != COLUMNS:
        raise UserError(
            f"{where}, line {number}: {len(columns)} columns; a run has query_id Q0 passage_id rank score tag"
        )
    query_id, _, passage_id, rank, score, _ = columns
    return query_id, passage_id, _number(rank, where, number), _number(score, where, number)


def _number(text: str, path: str | Path, number: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{path}, line {number}: {text!r} is not a finite number; rank and score must be")
    return value


def _require_words(*names: str) -> None:
    for name in names:
        if len(name.split()) != 1 or name != name.strip():
            raise UserError(f"{name!r} cannot stand in a run file, whose columns are parted by spaces; rename it")
