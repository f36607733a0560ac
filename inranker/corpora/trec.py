"""TREC's own files: qrels of four columns, and topics between tags or as two columns."""

import re
from collections.abc import Iterator
from pathlib import Path

from inranker.corpora.lines import lines
from inranker.errors import UserError
from inranker.types import Qrel, Query

TAG = re.compile(r"^\s*<(/?)(\w+)>\s*(.*?)\s*(?:</\w+>\s*)?$")
LABEL = re.compile(r"^(Number|Topic|Description|Narrative)\s*:\s*", re.IGNORECASE)
IDENTIFIER, TITLE = "num", "title"


def read_trec_qrels(path: Path) -> Iterator[tuple[int, Qrel]]:
    """Judgments `query_id iteration passage_id relevance`, parted by spaces or tabs, with their line numbers.

    Raises:
        UserError: a line that has not four columns, or whose relevance is no integer.
    """
    for number, line in lines(path):
        columns = line.split()
        if len(columns) != 4:
            raise UserError(
                f"{path}, line {number}: {len(columns)} columns; TREC qrels have query_id 0 passage_id relevance"
            )
        try:
            yield number, Qrel(columns[0], columns[2], int(columns[3]))
        except ValueError as error:
            raise UserError(
                f"{path}, line {number}: relevance {columns[3]!r} is not an integer; write it as one"
            ) from error


def read_trec_topics(path: Path, field: str = TITLE) -> Iterator[tuple[int, Query]]:
    """Topics with the numbers of their lines: `<top>` blocks, or `query_id TAB text` a line.

    Args:
        path: a file of either kind, plain or gzip-compressed.
        field: of a block, what to search for: title, desc or narr.

    Raises:
        UserError: a block without number or without the field, or a line that is not two columns.
    """
    first = next((line for _, line in lines(path)), "")
    return _blocks(path, field) if first.lstrip().startswith("<") else _two_columns(path)


def _two_columns(path: Path) -> Iterator[tuple[int, Query]]:
    for number, line in lines(path):
        identifier, tab, text = line.partition("\t")
        if not tab:
            raise UserError(f"{path}, line {number}: no tab; topics have a query id, a tab and the query's text")
        yield number, Query(identifier.strip(), text.strip())


def _blocks(path: Path, field: str) -> Iterator[tuple[int, Query]]:
    parts: dict[str, list[str]] = {}
    open_tag, start = "", 0
    for number, line in lines(path):
        found = TAG.match(line)
        if not found:
            if open_tag:
                parts[open_tag].append(LABEL.sub("", line.strip()))
            continue
        closing, tag, text = found[1], found[2].lower(), found[3]
        if tag == "top" and not closing:
            parts, open_tag, start = {}, "", number
        elif tag == "top":
            yield start, _topic(path, start, parts, field)
            parts, open_tag = {}, ""
        elif not closing:
            open_tag = tag
            parts[tag] = [LABEL.sub("", text)]
    if parts:
        raise UserError(f"{path}, line {start}: the topic has no </top>; the file is cut short: fetch it again")


def _topic(path: Path, number: int, parts: dict[str, list[str]], field: str) -> Query:
    found = {tag: " ".join(" ".join(texts).split()) for tag, texts in parts.items()}
    for tag in (IDENTIFIER, field):
        if not found.get(tag):
            raise UserError(f"{path}, line {number}: the topic has no <{tag}>; it has {', '.join(found) or 'nothing'}")
    return Query(found[IDENTIFIER], found[field])
