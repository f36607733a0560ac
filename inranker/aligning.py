"""Align: mined pairs of one language again in another, row for row, from two collections that share their ids.

mMARCO has the passages and queries of MS MARCO in fourteen languages under the same ids. Pairs mined from one of them
are written twice, with the texts of each collection: same shards, same rows, same kinds and ranks. A pair that the
other collection lacks is left out of both, and the report says how many there were.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from inranker.corpora import Collection, open_collection
from inranker.corpora.texts import PassageTexts
from inranker.errors import UserError
from inranker.fingerprint import fingerprint, sha256_bytes
from inranker.manifest import Manifest, Shard, claim_output, read_manifest, read_shard, to_json, write_manifest
from inranker.pairs import shard_bytes
from inranker.storage import Store

STAGE = "align"
REPORT = "alignment.json"


@dataclass(frozen=True)
class AlignIdentity:
    """What the result depends on; pairs and collection enter the fingerprint by their content."""

    pairs: str
    """Directory or URL of mined pairs."""
    collection: str
    """Collection of the other language with the same query and passage ids, such as ir_datasets:mmarco/pt/train."""
    split: str = "train"
    """Split of that collection whose queries these are."""
    language: str | None = None
    """Language of that collection (ISO 639-1 code); null: what it says."""


@dataclass(frozen=True)
class AlignConfig:
    """Write mined pairs again with the texts of a collection that has the same ids in another language."""

    identity: AlignIdentity
    """What the result depends on."""
    output: str
    """Directory or URL for two directories of pairs, named by language, and alignment.json."""


def align(config: AlignConfig) -> dict[str, Any]:
    """Run the stage; an output that is finished already is left as it is.

    Returns:
        The number of pairs; how many are aligned, and how many lack their query or their passage; characters of
        the other language's texts for each of this one's; where both sets are.

    Raises:
        UserError: the pairs are unfinished or damaged, both are of one language, or no pair is in both.
    """
    started = time.monotonic()
    chosen = config.identity
    source = Store(chosen.pairs)
    mined = read_manifest(source)
    collection = open_collection(chosen.collection, chosen.language)
    queries = {query.query_id: query.text for query in collection.queries_iter(chosen.split)}
    language, wanted, report = _compare(source, mined, collection, queries)
    outputs = {name: f"{config.output}/{name}" for name in (language, collection.language)}
    stores = {name: Store(url) for name, url in outputs.items()}
    for name, store in stores.items():
        claim_output(store, STAGE, _identity(mined, collection, chosen.split, name))
    written: dict[str, list[Shard]] = {name: [] for name in stores}
    characters = dict.fromkeys(stores, 0)
    with PassageTexts(collection, wanted) as passages:
        for shard in mined.shards:
            for name, columns in zip(stores, _both(_table(source, shard), collection, queries, passages), strict=True):
                data = shard_bytes(columns)
                if not stores[name].put_if_absent(shard.name, data):
                    raise UserError(f"{outputs[name]}/{shard.name} is there with other bytes; name another output")
                written[name].append(Shard(shard.name, len(columns["query_id"]), sha256_bytes(data)))
                characters[name] += sum(map(len, columns["passage"]))
    inputs = {
        "pairs": {"path": chosen.pairs, "fingerprint": mined.fingerprint},
        "collection": {"argument": chosen.collection, "name": collection.name, "licence": collection.licence},
    }
    for name, store in stores.items():
        identity = _identity(mined, collection, chosen.split, name)
        write_manifest(store, Manifest(STAGE, fingerprint(identity), identity, inputs, written[name], dict(report)))
    ratio = characters[collection.language] / characters[language]
    summary = {"stage": STAGE, **report, "characters_ratio": round(ratio, 4), "outputs": outputs}
    Store(config.output).put_if_absent(REPORT, to_json(summary))
    return {**summary, "seconds": round(time.monotonic() - started, 3)}


def _compare(
    source: Store, mined: Manifest, collection: Collection, queries: dict[str, str]
) -> tuple[str, set[str], dict[str, int]]:
    """The pairs' language, their passages, and how many pairs the other collection has; from ids alone."""
    languages: set[str] = set()
    wanted: set[str] = set()
    report = {"pairs": 0, "aligned": 0, "query_missing": 0, "passage_missing": 0}
    for shard in mined.shards:
        table = _table(source, shard)
        languages |= set(table["language"].unique().to_pylist())
        names = table["passage_id"].to_pylist()
        wanted |= set(names)
        has_query = np.array([name in queries for name in table["query_id"].to_pylist()], dtype=bool)
        has_passage = np.array(collection.has_passages(names), dtype=bool)
        report["pairs"] += len(names)
        report["aligned"] += int((has_query & has_passage).sum())
        report["query_missing"] += int((~has_query).sum())
        report["passage_missing"] += int((has_query & ~has_passage).sum())
    if len(languages) != 1 or collection.language in languages:
        raise UserError(
            f"pairs {source.url} are of language {', '.join(sorted(languages))} and {collection.name} of "
            f"{collection.language}; two different ones are needed: set language where the collection does not say it"
        )
    if not report["aligned"]:
        raise UserError(
            f"none of the {report['pairs']} pairs of {source.url} has its query and passage in {collection.name}; name "
            "a collection and split with the same ids"
        )
    return languages.pop(), wanted, report


def _table(source: Store, shard: Shard) -> pa.Table:
    return pq.read_table(pa.BufferReader(read_shard(source, shard)))


def _both(
    table: pa.Table, collection: Collection, queries: dict[str, str], passages: PassageTexts
) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """The columns of a shard's aligned rows in either language."""
    rows = [row for row in table.to_pylist() if row["query_id"] in queries and row["passage_id"] in passages]
    ours = {name: [row[name] for row in rows] for name in table.column_names}
    theirs = {
        **ours,
        "query": [queries[row["query_id"]] for row in rows],
        "passage": [passages[row["passage_id"]] for row in rows],
        "source": [collection.name] * len(rows),
        "language": [collection.language] * len(rows),
    }
    return ours, theirs


def _identity(mined: Manifest, collection: Collection, split: str, language: str) -> dict[str, Any]:
    return {
        "pairs": mined.fingerprint,
        "collection": collection.name,
        "content_hash": collection.content_hash(split),
        "language": language,
    }
