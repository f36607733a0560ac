"""Labels as tables, in the order of the pairs: what training, export and reports read."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from inranker.errors import UserError
from inranker.labeling.rows import LABEL_SCHEMA, QUARANTINE_SCHEMA, from_parquet
from inranker.manifest import Manifest, read_manifest, read_shard
from inranker.storage import Store
from inranker.units import finished_units, read_receipt

PAIR_COLUMNS = ("query", "passage", "kind", "rank", "source", "language")


def iter_labels(url: str) -> Iterator[pa.Table]:
    """Label rows, one table a label shard: columns of `LABEL_SCHEMA` plus `shard` (int32, the pairs shard's number).

    Raises:
        UserError: the labels are unfinished, or a shard is missing or differs from its sha256.
    """
    store = Store(url)
    for shard, number in zip((manifest := _labels_manifest(store)).shards, _shard_numbers(manifest), strict=True):
        table = from_parquet(read_shard(store, shard))
        yield table.append_column("shard", pa.array(np.full(table.num_rows, number, np.int32)))


def read_labels(url: str) -> pa.Table:
    """All label rows in one table; see `iter_labels`."""
    empty = LABEL_SCHEMA.append(pa.field("shard", pa.int32())).empty_table()
    return pa.concat_tables([empty, *iter_labels(url)], promote_options="permissive")


def iter_labelled_pairs(url: str, pairs: str | None = None) -> Iterator[pa.Table]:
    """Label rows with the texts and kinds of their pairs; one table a label shard.

    Args:
        url: a labels directory.
        pairs: the pairs directory, where it is not where the labels' manifest says.

    Raises:
        UserError: the pairs are not those that were labelled, or a shard is missing or differs from its sha256.
    """
    pairs_store, pairs_manifest = labelled_pairs_source(url, pairs)
    current, pairs_table = -1, None
    for labels in iter_labels(url):
        if not labels.num_rows:
            continue
        number = labels["shard"][0].as_py()
        if number != current or pairs_table is None:
            pairs_table = from_parquet(read_shard(pairs_store, pairs_manifest.shards[number]))
            current = number
        texts = pairs_table.take(labels["row"])
        for name in ("query_id", "passage_id"):
            if texts[name].combine_chunks() != labels[name].combine_chunks():
                raise UserError(f"labels {url} and pairs shard {number} of {pairs_store.url} name different {name}s")
        for name in PAIR_COLUMNS:
            labels = labels.append_column(name, texts[name])
        yield labels


def read_labelled_pairs(url: str, pairs: str | None = None) -> pa.Table:
    """All label rows with their pairs' texts in one table; see `iter_labelled_pairs`."""
    tables = list(iter_labelled_pairs(url, pairs))
    if not tables:
        raise UserError(f"labels {url} hold no rows")
    return pa.concat_tables(tables)


def quarantine_reasons(url: str) -> dict[tuple[int, int], str]:
    """Why pairs have no label: (number of the pairs shard, row) -> reason. Only units that have any are read."""
    store = Store(url)
    length = len("000000-000000000-000000000")
    units = {name.removeprefix("quarantine/")[:length] for name in store.list("quarantine")}
    reasons: dict[tuple[int, int], str] = {}
    for unit in sorted(units & finished_units(store)):
        stored = read_receipt(store, unit).quarantine
        table = from_parquet(read_shard(store, stored)) if stored else QUARANTINE_SCHEMA.empty_table()
        rows, said = table["row"].to_pylist(), table["reason"].to_pylist()
        reasons |= {(int(unit.split("-")[0]), row): reason for row, reason in zip(rows, said, strict=True)}
    return reasons


def labelled_pairs_source(url: str, pairs: str | None = None) -> tuple[Store, Manifest]:
    """The pairs that a labels directory was made from, found by its manifest and checked by content hash.

    Raises:
        UserError: they are not there, or not those that were labelled.
    """
    recorded = _labels_manifest(Store(url)).inputs["pairs"]
    place = pairs or existing_location(url, recorded)
    store = Store(place)
    manifest = read_manifest(store)
    if manifest.content_hash != recorded["content_hash"]:
        raise UserError(f"the pairs at {place} are not those that {url} labels; name the right ones")
    return store, manifest


def pairs_location(output: str, pairs: str) -> dict[str, str]:
    """How a manifest names another local directory: absolutely, and relative to itself for when both move."""
    here, there = Store(output).local_path(), Store(pairs).local_path()
    if here is None or there is None:
        return {"path": pairs}
    return {"path": str(there.resolve()), "relative": os.path.relpath(there.resolve(), here.resolve())}


def existing_location(url: str, recorded: dict[str, Any]) -> str:
    """Where what `pairs_location` recorded in the manifest of `url` lies now."""
    here = Store(url).local_path()
    if here is not None and "relative" in recorded and not Path(recorded["path"]).exists():
        return str(here / recorded["relative"])
    return str(recorded["path"])


def _labels_manifest(store: Store) -> Manifest:
    manifest = read_manifest(store)
    if manifest.stage != "label":
        raise UserError(f"{store.url} is the output of stage {manifest.stage!r}, not labels; name a labels directory")
    return manifest


def _shard_numbers(manifest: Manifest) -> list[int]:
    """The pairs shard's number leads the name of each label shard: data/NUMBER-START-STOP-KEY.parquet."""
    return [int(shard.name.removeprefix("data/").split("-")[0]) for shard in manifest.shards]
