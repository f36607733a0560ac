"""A query set in the files of BEIR, for other tools: corpus.jsonl, queries.jsonl and qrels/train.tsv."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inranker.corpora.base import Collection
from inranker.corpora.synthetic import SPLIT, SyntheticCollection
from inranker.errors import UserError


@dataclass(frozen=True)
class ExportQueriesConfig:
    """Write a query set as a BEIR-format directory."""

    synthesis: str
    """Directory or URL of a finished query set, of synthesize.py or filter_queries.py."""
    output: str
    """Local directory to write to; it must be empty or new."""
    corpus: bool = True
    """Write corpus.jsonl too: all passages of the collection. Without it the directory is no collection by itself."""


def export_queries(config: ExportQueriesConfig) -> dict[str, Any]:
    """Run the stage.

    Returns:
        Numbers of `queries`, `qrels` and `passages` that were written.

    Raises:
        UserError: the query set is unfinished, or the output is not empty.
    """
    collection = SyntheticCollection(config.synthesis)
    folder = Path(config.output).expanduser()
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"output {folder} is not empty; name another directory")
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    written = {
        "queries": _write(folder / "queries.jsonl", _queries(collection)),
        "passages": _write(folder / "corpus.jsonl", _passages(collection)) if config.corpus else 0,
        # Last: a directory without qrels is taken for no collection, so one that was cut short is not used.
        "qrels": _write(folder / "qrels" / f"{SPLIT}.tsv", _qrels(collection)) - 1,
    }
    return {"stage": "export_queries", "output": str(folder), **written}


def _queries(collection: Collection) -> Iterator[str]:
    for query in collection.queries_iter(SPLIT):
        yield json.dumps({"_id": query.query_id, "text": query.text}, ensure_ascii=False)


def _passages(collection: Collection) -> Iterator[str]:
    for passage in collection.passages_iter():
        record = {"_id": passage.passage_id, "title": passage.title, "text": passage.text}
        yield json.dumps(record, ensure_ascii=False)


def _qrels(collection: Collection) -> Iterator[str]:
    yield "query-id\tcorpus-id\tscore"
    for qrel in collection.qrels_iter(SPLIT):
        yield f"{qrel.query_id}\t{qrel.passage_id}\t{qrel.relevance}"


def _write(path: Path, lines: Iterable[str]) -> int:
    count = 0
    with open(path, "w", encoding="utf-8", newline="\n", errors="surrogatepass") as file:
        for line in lines:
            file.write(f"{line}\n")
            count += 1
    return count
