"""Mine: queries and qrels of a collection become (query, passage) pairs to be labelled.

A query's pairs are its relevant passages and, for each of those, nine passages drawn at random from the first stage's
best 1,000 (the InRanker paper's recipe, section 3). Unlike there, a passage judged relevant is never drawn.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from tqdm import tqdm

from inranker.corpora import Collection, open_collection
from inranker.corpora.texts import PassageTexts
from inranker.drawn_pairs import pair_shard, written_order
from inranker.errors import UserError
from inranker.fingerprint import fingerprint, plain, sha256_bytes
from inranker.manifest import Manifest, Shard, claim_output, read_manifest, write_manifest
from inranker.pairs import SCHEMA as SCHEMA
from inranker.report.job import report_or_warn
from inranker.report.mine import report
from inranker.retrieval import Bm25Options, open_retriever, retriever_identity
from inranker.retrieval.sampling import Band, Draw, Drawn, Recipe, draw_batch, parse_bands, stable_hash
from inranker.storage import Store
from inranker.types import Query

STAGE = "mine"


@dataclass(frozen=True)
class MineIdentity:
    """What the pairs depend on. The collection enters the fingerprint by its content, so it may move."""

    collection: str
    """Collection to mine: beir:PATH, ir_datasets:ID, files:DESCRIPTION.yaml, …; docs/collections.md has them all."""
    split: str = "train"
    """Split whose queries are mined."""
    language: str | None = None
    """Language of the collection (ISO 639-1 code), which picks the analyser; null: what the collection says."""
    fix_text: bool = False
    """Mend texts that were decoded wrongly, with ftfy, before anything else."""
    retriever: str = "bm25s"
    """First stage that finds candidates: bm25s; lucene or lucene:INDEX, a directory or a prebuilt name; run:FILE, a
    TREC run; dense:DIRECTORY, an encoder; or several in turn, as in bm25s+run:FILE."""
    bm25: Bm25Options = field(default_factory=Bm25Options)
    """How a BM25 first stage weighs terms and makes them."""
    depth: int = 1000
    """Candidates of a query: the best so many passages of the first stage."""
    negatives_per_positive: int = 9
    """Negatives drawn for each relevant passage of a query."""
    bands: list[str] = field(default_factory=list)
    """Draw by rank instead, as in `1-100:3 101-1000:6`: three negatives for each relevant passage from the best hundred
    and six from below. Replaces depth and negatives_per_positive; empty: one band of both."""
    near_duplicates: float | None = None
    """Leave out negatives that share so large a part (0 to 1) of the wording of a relevant passage of their query, and
    draw others; null: keep them."""
    max_queries: int | None = None
    """Mine only so many queries, drawn at random; null: all. A smaller draw is a part of a bigger one."""
    order: Literal["grouped", "shuffled"] = "grouped"
    """grouped keeps the pairs of a query next to each other, which listwise losses and partial label sets want and
    training does not mind, as it draws its own order; shuffled mixes all pairs, for readers that stream."""
    shard_rows: int = 50_000
    """Pairs of an output file."""
    seed: int = 42
    """Seed of every draw; the draws of a query depend on it and the query's id alone."""


@dataclass(frozen=True)
class MineExecution:
    """How the job is run; never changes the result."""

    cache: str | None = None
    """Local directory that keeps first-stage indexes between jobs; null builds the index anew."""
    threads: int | None = None
    """Queries searched at a time, of each worker where there are any; null: one a core, or one a worker."""
    workers: int | None = None
    """Ray processes that search; each maps the index of `cache`, which must then be a directory that every node has or
    can make. Null: this process alone."""
    batch_queries: int = 512
    """Queries whose candidates are in memory at a time."""
    progress: bool = True
    """Show progress bars."""
    write_report: bool = True
    """Write report.html when the job is done; it reads the pairs once more."""
    report_tokenizer: str | None = None
    """Directory or hub id of a tokenizer whose tokens the report counts passages in; null counts words."""


@dataclass(frozen=True)
class MineConfig:
    """Turn a collection's queries and qrels into pairs to be labelled."""

    identity: MineIdentity
    """What the result depends on."""
    output: str
    """Directory or URL to write pairs to; a finished one of the same identity is left as it is."""
    execution: MineExecution = field(default_factory=MineExecution)
    """How the job is run."""


def mine(config: MineConfig) -> dict[str, Any]:
    """Run the stage; an output that is finished already is left as it is.

    Returns:
        The manifest's counts, where the pairs are, and whether the work was `skipped`.

    Raises:
        UserError: a bad field or collection, no query to mine, or an output made under another identity.
    """
    started = time.monotonic()
    chosen = config.identity
    _require_sensible(chosen, config.execution)
    collection = open_collection(chosen.collection, chosen.language, chosen.fix_text)
    identity = _fingerprinted(chosen, collection)
    store = Store(config.output)
    positives, counts = _positives(collection, chosen)
    queries = _choose_queries(collection, positives, chosen)  # bad input ends the job before it claims its output
    reported: dict[str, Any] = {}
    if not (finished := claim_output(store, STAGE, identity)):
        draw = _draw(collection, queries, positives, config)
        shards = _write_shards(store, collection, queries, draw, config)
        source = {"argument": chosen.collection, "name": collection.name, "split": chosen.split}
        source |= {"content_hash": identity["content_hash"], "licence": collection.licence, **collection.made_from}
        counts = collection.counts(chosen.split) | counts | draw.counts()
        made = fingerprint(identity)
        write_manifest(store, Manifest(STAGE, made, identity, {"collection": source}, shards, counts))
        if config.execution.write_report:
            reported = report_or_warn(lambda: report(config), "mine.py … --report")
    manifest = read_manifest(store)
    return {
        "stage": STAGE,
        "output": config.output,
        "skipped": finished,
        "fingerprint": manifest.fingerprint,
        "collection": {name: manifest.inputs["collection"][name] for name in ("name", "split", "content_hash")},
        "counts": manifest.counts,
        "shards": len(manifest.shards),
        "seconds": round(time.monotonic() - started, 3),
        **reported,
    }


def recipe_of(chosen: MineIdentity) -> Recipe:
    """How negatives are drawn.

    Raises:
        UserError: a bad band.
    """
    bands = parse_bands(chosen.bands) or (Band(1, chosen.depth, chosen.negatives_per_positive),)
    return Recipe(bands, chosen.seed, chosen.near_duplicates is not None)


def _require_sensible(chosen: MineIdentity, how: MineExecution) -> None:
    recipe_of(chosen)
    least = {"depth": 1, "negatives_per_positive": 0, "shard_rows": 1}
    least |= {"max_queries": 1} if chosen.max_queries is not None else {}
    for name, bound in least.items():
        if getattr(chosen, name) < bound:
            raise UserError(f"field {name} is {getattr(chosen, name)}; give it {bound} or more")
    if chosen.near_duplicates is not None and not 0 < chosen.near_duplicates <= 1:
        raise UserError(f"field near_duplicates is {chosen.near_duplicates}; give it a part of the wording, up to 1")
    if how.batch_queries < 1:
        raise UserError(f"field batch_queries is {how.batch_queries}; give it 1 or more")
    if how.workers is not None and (how.workers < 1 or not how.cache):
        raise UserError(
            f"field workers is {how.workers}, cache {how.cache!r}; give workers 1 or more and a cache directory"
        )


def _fingerprinted(chosen: MineIdentity, collection: Collection) -> dict[str, Any]:
    """The identity with the collection by its content instead of its path."""
    fields = {name: value for name, value in plain(chosen).items() if name not in ("collection", "language", "bm25")}
    return {
        **fields,
        "collection": collection.name,
        "content_hash": collection.content_hash(chosen.split),
        "language": collection.language,
        "retriever": retriever_identity(chosen.retriever, collection.language, chosen.bm25),
    }


def _positives(collection: Collection, chosen: MineIdentity) -> tuple[dict[str, list[str]], dict[str, int]]:
    """Relevant passages by query, those alone that have contents; and how many judgments or queries that leaves out."""
    relevant = [qrel for qrel in collection.qrels_iter(chosen.split) if qrel.relevance > 0]
    present = collection.has_passages([qrel.passage_id for qrel in relevant])
    positives: dict[str, list[str]] = {}
    for qrel, has_contents in zip(relevant, present, strict=True):
        own = collection.queries_are_documents and qrel.query_id == qrel.passage_id
        if has_contents and not own:
            positives.setdefault(qrel.query_id, []).append(qrel.passage_id)
    judged = {qrel.query_id for qrel in collection.qrels_iter(chosen.split)}
    return positives, {
        "positives_without_passage": len(relevant) - sum(map(len, positives.values())),
        "queries_without_positive": len(judged) - len(positives),
    }


def _choose_queries(collection: Collection, positives: dict[str, list[str]], chosen: MineIdentity) -> list[Query]:
    """The queries to mine, in the collection's order."""
    queries = [query for query in collection.queries_iter(chosen.split) if query.query_id in positives]
    if not queries:
        raise UserError(f"split {chosen.split!r} of {collection.name} has no relevant passage; name another split")
    if chosen.max_queries is None:
        return queries
    drawn = sorted(queries, key=lambda query: stable_hash(chosen.seed, query.query_id))[: chosen.max_queries]
    kept = {query.query_id for query in drawn}
    return [query for query in queries if query.query_id in kept]


def _draw(collection: Collection, queries: list[Query], positives: dict[str, list[str]], config: MineConfig) -> Draw:
    """Search for every query, a batch at a time, and draw its pairs; rankings are dropped as soon as they are drawn."""
    chosen, how = config.identity, config.execution
    recipe = recipe_of(chosen)
    asked = [(query, positives[query.query_id]) for query in queries]
    batches = [asked[start : start + how.batch_queries] for start in range(0, len(asked), how.batch_queries)]
    draw = Draw(recipe)
    with _bar(config, len(queries), "mine", "query") as bar:
        for drawn in _drawn(collection, batches, recipe, config):
            for pairs in drawn:
                draw.add_query(draw.queries, pairs)
            bar.update(len(drawn))
    return draw


def _drawn(
    collection: Collection, batches: list[list[tuple[Query, list[str]]]], recipe: Recipe, config: MineConfig
) -> Iterator[list[Drawn]]:
    chosen, how = config.identity, config.execution
    if how.workers is None:
        retriever = open_retriever(collection, chosen.retriever, cache=how.cache, options=chosen.bm25)
        return (draw_batch(retriever, batch, recipe, how.threads) for batch in batches)
    from inranker.retrieval.distributed import SearchJob, draw_in_workers

    assert how.cache is not None, "checked before"
    job = SearchJob(
        chosen.collection, chosen.language, chosen.fix_text, collection.passages_hash(), chosen.retriever,
        chosen.bm25, how.cache, recipe, how.threads or 1,
    )  # fmt: skip
    return draw_in_workers(job, batches, how.workers)


def _write_shards(
    store: Store, collection: Collection, queries: list[Query], draw: Draw, config: MineConfig
) -> list[Shard]:
    """Look the texts up in a second pass over the corpus and write the pairs.

    A shard is created whole or not at all, so a job that was killed is simply run again.

    Raises:
        UserError: the output holds a shard of that name with other bytes.
    """
    chosen = config.identity
    passage_ids, shards = list(draw.numbers), []
    with PassageTexts(collection, passage_ids) as texts, _bar(config, len(draw.query), "write", "pair") as bar:
        if chosen.near_duplicates is not None:
            draw.leave_out_near_duplicates(texts, chosen.near_duplicates)
        shuffle_seed = chosen.seed if chosen.order == "shuffled" else None
        order = written_order(draw, queries, passage_ids, shuffle_seed)
        for start in range(0, len(order), chosen.shard_rows):
            rows = order[start : start + chosen.shard_rows]
            data = pair_shard(rows, draw, queries, passage_ids, texts, collection)
            name = f"pairs-{start // chosen.shard_rows:05d}.parquet"
            if not store.put_if_absent(name, data):
                raise UserError(
                    f"{store.url}/{name} is there with other bytes, by another version of pyarrow or InRanker; "
                    "name another output"
                )
            shards.append(Shard(name, len(rows), sha256_bytes(data)))
            bar.update(len(rows))
    return shards


def _bar(config: MineConfig, total: int, name: str, unit: str) -> tqdm:
    shown = config.execution.progress
    return tqdm(total=total, desc=name, unit=f" {unit}", file=sys.stderr, disable=not shown, mininterval=1.0)
