"""What a synthesis records of its collection and examples, and how later stages find both again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from inranker.corpora import Collection, open_collection
from inranker.errors import UserError
from inranker.jobs.rows import from_parquet
from inranker.labeling.read import pairs_location
from inranker.manifest import Manifest, Shard, read_manifest, read_shard
from inranker.storage import Store
from inranker.synthesis.collect import QUERIES

STAGES = ("synthesize", "filter_queries")
SHOWN = "shown_queries"  # what the manifest calls the examples that the generator saw


def collection_link(argument: str, collection: Collection, fix_text: bool) -> dict[str, Any]:
    """How a synthesis' manifest names its collection: enough to open it again, and to know it when it has changed."""
    return {
        "argument": absolute(argument),
        "name": collection.name,
        "content_hash": collection.passages_hash(),
        "language": collection.language,
        "licence": collection.licence,
        "fix_text": fix_text,
    }


def absolute(argument: str) -> str:
    """A collection's argument with the local path in it, if any, made absolute: the next stage may run elsewhere."""
    reader, colon, place = argument.partition(":")
    path = Path(place).expanduser()
    return f"{reader}{colon}{path.resolve()}" if place and "://" not in place and path.exists() else argument


def open_linked(link: dict[str, Any]) -> Collection:
    """The collection that a link names.

    Raises:
        UserError: it is not where it was, or its passages have changed.
    """
    collection = open_collection(link["argument"], link.get("language"), link.get("fix_text", False))
    if collection.passages_hash() != link["content_hash"]:
        raise UserError(
            f"the passages of {link['argument']} have changed since queries were written for them; restore them, or "
            "synthesize anew"
        )
    return collection


def read_synthesis(url: str) -> tuple[Store, Manifest, Shard]:
    """A finished query set: its store, its manifest, and the file that holds the queries.

    Raises:
        UserError: it is unfinished, or no query set.
    """
    store = Store(url)
    manifest = read_manifest(store)
    found = [shard for shard in manifest.shards if shard.name == QUERIES]
    if manifest.stage not in STAGES or not found:
        raise UserError(
            f"{store.url} is the output of stage {manifest.stage!r}, not a query set; name one of synthesize.py"
        )
    return store, manifest, found[0]


def synthesis_link(url: str, manifest: Manifest, output: str | None = None) -> dict[str, Any]:
    """How the manifests of later stages name a query set, with the queries that its generator was shown."""
    place = pairs_location(output, url) if output else {"path": absolute(f":{url}")[1:]}
    shown = manifest.inputs.get(SHOWN)
    return {**place, "content_hash": manifest.content_hash, **({SHOWN: shown} if shown else {})}


def raw_tables(store: Store, manifest: Manifest) -> Iterator[pa.Table]:
    """The generations of a finished synthesis, a unit at a time, in order.

    Raises:
        UserError: a shard is missing or differs from its sha256.
    """
    for raw in manifest.figures["generations"]:
        yield from_parquet(read_shard(store, Shard(**raw)))
