"""Which passages get queries: a seeded draw from a collection of any size, and the files of prompts to answer.

A passage is drawn by the hash of the seed and its id: the draw does not depend on the order of the collection, on the
machine, or on how many are drawn (a smaller sample is a part of a bigger one). Two passes over the collection: the
first holds twelve bytes a passage, the second streams the texts of those drawn.
"""

from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from inranker.corpora import Collection
from inranker.errors import UserError
from inranker.fingerprint import fingerprint, sha256_bytes
from inranker.jobs.rows import to_parquet
from inranker.manifest import MANIFEST, Manifest, Shard, read_manifest, write_manifest
from inranker.retrieval.sampling import stable_hash
from inranker.storage import Store
from inranker.synthesis.config import SynthesizeIdentity
from inranker.synthesis.prompts import Book, Example
from inranker.synthesis.strata import Stratify, by_source, fit_clusters, parse_strata
from inranker.types import Passage

SAMPLE = "sample"  # folder of the output that holds the prompts to answer
SAMPLE_SCHEMA = pa.schema(
    [
        pa.field("passage_id", pa.string(), nullable=False),
        pa.field("passage", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
    ]
)


class Drawn(NamedTuple):
    """A sample: places in the collection (growing), and what was left out."""

    places: np.ndarray
    counts: dict[str, int]


def sample_store(output: str) -> Store:
    """Where a job's sample lies."""
    return Store(f"{output.rstrip('/')}/{SAMPLE}")


def sample_manifest(output: str, collection: Collection, chosen: SynthesizeIdentity, book: Book, job: str) -> Manifest:
    """The manifest of a job's sample, which is drawn and written at the first start.

    A file is created whole or not at all and has the same bytes whenever it is written, so a start that was killed is
    simply repeated.

    Args:
        output: the job's output, claimed by it.
        collection: to draw from.
        chosen: how.
        book: says which prompt each query is asked with.
        job: the job's fingerprint.

    Raises:
        UserError: no passage fits, or a file of that name has other bytes.
    """
    store = sample_store(output)
    if store.exists(MANIFEST):
        return read_manifest(store)
    drawn = draw(collection, chosen)
    shards = []
    for number, table in enumerate(_tables(collection, drawn, chosen, book)):
        data, name = to_parquet(table), f"sample-{number:05d}.parquet"
        if not store.put_if_absent(name, data):
            raise UserError(
                f"{store.url}/{name} is there with other bytes, by another version of pyarrow or InRanker; "
                "name another output"
            )
        shards.append(Shard(name, table.num_rows, sha256_bytes(data)))
    identity = {"job": job}
    return write_manifest(store, Manifest(SAMPLE, fingerprint(identity), identity, shards=shards, counts=drawn.counts))


def draw(collection: Collection, chosen: SynthesizeIdentity) -> Drawn:
    """Places of the passages that get queries.

    Raises:
        UserError: no passage has the asked length.
    """
    places, hashes, strata = array("q"), array("Q"), array("i")
    stratify = _stratify(collection, chosen)
    total = 0

    def fitting() -> Iterator[Passage]:
        nonlocal total
        for place, passage in enumerate(collection.passages_iter()):
            total += 1
            if fits(passage, chosen):
                places.append(place)
                hashes.append(stable_hash(chosen.seed, passage.passage_id))
                yield passage

    strata.extend(stratify(fitting()))
    if not places:
        raise UserError(
            f"no passage of {collection.name} has {chosen.min_characters} to {chosen.max_characters or 'any'} "
            "characters; change min_characters or max_characters"
        )
    wanted = len(places) if chosen.passages is None else min(chosen.passages, len(places))
    taken = draw_alike(np.asarray(hashes, np.uint64), np.asarray(strata, np.int32), wanted)
    counts = {"passages_in_collection": total, "passages_of_other_length": total - len(places)}
    counts |= {"strata": len(set(strata)), "passages": wanted}
    return Drawn(np.asarray(places, np.int64)[taken], counts)


def fits(passage: Passage, chosen: SynthesizeIdentity) -> bool:
    """Whether a passage has the asked length."""
    length = len(passage.contents)
    return length >= chosen.min_characters and (chosen.max_characters is None or length <= chosen.max_characters)


def draw_alike(hash_N: np.ndarray, stratum_N: np.ndarray, wanted: int) -> np.ndarray:
    """Rows to take (growing): the first by hash of each stratum, as many from each; what a small stratum lacks is
    shared among the others."""
    order_N = np.lexsort((hash_N, stratum_N))
    _, starts, sizes = np.unique(stratum_N[order_N], return_index=True, return_counts=True)
    shares = share_out(sizes.tolist(), wanted)
    taken = [order_N[start : start + share] for start, share in zip(starts.tolist(), shares, strict=True)]
    return np.sort(np.concatenate(taken))


def share_out(sizes: list[int], wanted: int) -> list[int]:
    """How many to take from each of several parts: alike, none more than it has, `wanted` together."""
    shares = [0] * len(sizes)
    left = min(wanted, sum(sizes))
    # From the smallest on: what it cannot give is asked of those that come after.
    for done, part in enumerate(sorted(range(len(sizes)), key=lambda part: (sizes[part], part))):
        shares[part] = min(sizes[part], -(-left // (len(sizes) - done)) if sizes[part] else 0)
        left -= shares[part]
    return shares


def draw_examples(collection: Collection, chosen: SynthesizeIdentity) -> list[Example]:
    """Judged pairs for prompts to show: a relevant passage for each of some queries, drawn by hash.

    Raises:
        UserError: the collection has no such split, or no relevant passage in it.
    """
    if chosen.examples_split not in (splits := collection.splits()):
        raise UserError(
            f"a prompt takes examples from the collection, and {collection.name} has no split "
            f"{chosen.examples_split!r}; give --examples_split one of {', '.join(splits) or '(none)'}, or name another "
            "prompt"
        )
    first: dict[str, str] = {}
    for qrel in collection.qrels_iter(chosen.examples_split):
        own = collection.queries_are_documents and qrel.query_id == qrel.passage_id
        if qrel.relevance > 0 and not own:
            first.setdefault(qrel.query_id, qrel.passage_id)
    names = sorted(first, key=lambda query_id: stable_hash(chosen.seed, "example", query_id))
    # A judged passage may be missing or have no text: look at more than are wanted.
    wanted = max(chosen.examples, chosen.example_pool or 0)
    candidates = names[: 2 * wanted + 10]
    queries = {q.query_id: q.text for q in collection.queries_iter(chosen.examples_split) if q.query_id in candidates}
    needed = {first[name] for name in candidates}
    texts = {p.passage_id: p.contents for p in collection.passages_iter() if p.passage_id in needed}
    usable = [name for name in candidates if name in queries and first[name] in texts]
    if not usable:
        raise UserError(
            f"split {chosen.examples_split!r} of {collection.name} has no relevant passage to show as an example; name "
            "another split or prompt"
        )
    return [Example(name, first[name], queries[name], texts[first[name]]) for name in usable[:wanted]]


def _stratify(collection: Collection, chosen: SynthesizeIdentity) -> Stratify:
    if chosen.strata is None:
        return lambda passages: (0 for _ in passages)
    kind, value = parse_strata(chosen.strata)
    if kind == "source":
        return by_source(value)
    fitting = (passage for passage in collection.passages_iter() if fits(passage, chosen))
    return fit_clusters(fitting, int(value), collection.language, chosen.seed)


def _tables(collection: Collection, drawn: Drawn, chosen: SynthesizeIdentity, book: Book) -> Iterator[pa.Table]:
    rows: list[dict[str, Any]] = []
    taken = iter(drawn.places.tolist())
    wanted = next(taken, -1)
    for place, passage in enumerate(collection.passages_iter()):
        if place != wanted:
            continue
        wanted = next(taken, -1)
        for sample in range(chosen.queries_per_passage):
            prompt = book.choose(passage.passage_id, sample)
            rows.append(
                {
                    "passage_id": passage.passage_id,
                    "passage": passage.contents,
                    "prompt": prompt,
                    "sample": sample,
                    "source": collection.name,
                    "language": collection.language,
                }
            )
        while len(rows) >= chosen.shard_rows:
            yield pa.Table.from_pylist(rows[: chosen.shard_rows], SAMPLE_SCHEMA)
            rows = rows[chosen.shard_rows :]
    if rows:
        yield pa.Table.from_pylist(rows, SAMPLE_SCHEMA)
