"""The rank stage: JSON lines, a TREC run or files in, best first out."""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inranker.errors import UserError

from .config import RankConfig
from .streams import STANDARD, numbered_lines, place, writing

SHOWN = 10
Progress = Callable[[int], object]


def rank(config: RankConfig) -> dict[str, Any]:
    """Re-rank what the config names.

    Returns:
        `queries`, `pairs`, `seconds` (of ranking, without loading the model) and `pairs_per_second`; `on_stdout` when
        the result itself went to standard output.

    Raises:
        UserError: fields that exclude each other, no such model or input, or a bad line of the input, which is named.
    """
    _check(config)
    mode = _files if config.query is not None else _run if config.collection else _lines
    counts = mode(config)
    seconds = counts.pop("seconds")
    return {
        "stage": "rank",
        **counts,
        "seconds": round(seconds, 3),
        "pairs_per_second": round(counts["pairs"] / seconds, 1) if seconds else None,
        "on_stdout": config.output == STANDARD,
    }


def _check(config: RankConfig) -> None:
    for name in ("depth", "top_k", "batch_pairs"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise UserError(f"{name} is {value}; it must be 1 or more")
    if config.query is not None and (config.collection or config.input != STANDARD):
        raise UserError("a query ranks the passages of files; leave out input and collection, or the query")
    if config.query is None and config.files:
        raise UserError("files are ranked for a query; give one")
    if config.topics and not config.collection:
        raise UserError("topics go with a run; name the collection that has its passages")
    if len(config.tag.split()) != 1:
        raise UserError(f"tag {config.tag!r} must be one word, as a run's columns are parted by spaces")


def _lines(config: RankConfig) -> dict[str, Any]:
    from .jsonl import rerank_lines

    ranker, numbered = _ranker(config), numbered_lines(config.input)
    with writing(config.output) as out, _progress(config) as progress, _timed() as timed:
        counts = rerank_lines(
            ranker, numbered, place(config.input), out, config.top_k, config.long_passages, config.batch_pairs, progress
        )
    return {**counts, **timed}


def _run(config: RankConfig) -> dict[str, Any]:
    from inranker.corpora import open_collection

    from .trec import rankings, read_topics, rerank_run, shelf

    assert config.collection is not None
    collection = open_collection(config.collection)
    if config.topics:
        topics = read_topics(config.topics)
    else:
        topics = {query.query_id: query.text for query in collection.queries_iter(config.split)}
    # The run is read twice: for the passages it names, and to rank them.
    with _rereadable(config.input) as file, shelf() as passages:
        for ranking in rankings(numbered_lines(file), place(config.input)):
            passages.want(ranking.passage_ids[: config.depth])
        passages.fill(collection)
        ranker, run = _ranker(config), rankings(numbered_lines(file), place(config.input))
        with writing(config.output) as out, _progress(config) as progress, _timed() as timed:
            counts = rerank_run(
                ranker, run, topics, passages, out, config.tag, config.depth, config.top_k,
                config.long_passages, config.batch_pairs, progress,
            )  # fmt: skip
    return {**counts, **timed}


def _files(config: RankConfig) -> dict[str, Any]:
    from .search import passages_of, show

    assert config.query is not None
    passages = passages_of(config.files)
    ranker = _ranker(config)
    with writing(config.output) as out, _progress(config, len(passages)) as progress, _timed() as timed:
        hits = []
        for start in range(0, len(passages), config.batch_pairs):
            part = passages[start : start + config.batch_pairs]
            hits += ranker.rank(config.query, part, None, config.long_passages)
            progress(len(part))
        # Stable: of equal scores the earlier passage stays first.
        hits.sort(key=lambda hit: -hit.score)
        show(hits[: config.top_k or SHOWN], out)
    return {"queries": 1, "pairs": len(passages), **timed}


def _ranker(config: RankConfig) -> Any:
    from transformers.utils import logging

    from inranker.rerankers.checkpoint import local_path

    from .ranker import Ranker

    model = local_path(config.model)  # a download shows its bar; opening a file needs none
    logging.disable_progress_bar()
    return Ranker(
        model,
        backend=config.backend,
        device=config.device,
        precision=config.precision,
        threads=config.threads,
        token_budget=config.token_budget,
        **({} if config.max_length is None else {"max_length": config.max_length}),
    )


@contextmanager
def _rereadable(name: str) -> Iterator[str]:
    """The input as a file; standard input is copied to disk first."""
    if name != STANDARD:
        yield name
        return
    with tempfile.TemporaryDirectory(prefix="inranker-") as folder:
        copy = Path(folder) / "run.txt"
        with open(copy, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield str(copy)


@contextmanager
def _progress(config: RankConfig, total: int | None = None) -> Iterator[Progress]:
    from tqdm import tqdm

    # None shows the bar on a terminal only, so that logs and pipes stay clean.
    disable = None if config.progress else True
    with tqdm(total=total, unit="pair", desc="rank", disable=disable, file=sys.stderr) as bar:
        yield bar.update


@contextmanager
def _timed() -> Iterator[dict[str, float]]:
    timed = {"seconds": 0.0}
    started = time.perf_counter()
    yield timed
    timed["seconds"] = time.perf_counter() - started
