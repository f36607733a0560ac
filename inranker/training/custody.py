"""Where the training pairs come from, and the proof of it: student -> labels -> teacher and pairs -> corpus."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from inranker.errors import UserError
from inranker.labeling.read import iter_labelled_pairs, labelled_pairs_source
from inranker.labeling.rows import from_parquet
from inranker.manifest import Manifest, read_manifest, read_shard
from inranker.storage import Store
from inranker.training.config import TrainIdentity

PAIR_COLUMNS = ("query_id", "passage_id", "query", "passage", "kind")
LISTED = 5  # ids named in a message; the rest are counted


@dataclass(frozen=True)
class Source:
    """Rows to train on, and the links of the chain of custody that the student's manifest records."""

    labels: str | None
    pairs: str
    text_from: str | None
    inputs: dict[str, dict[str, Any]]

    @property
    def content(self) -> dict[str, str]:
        """What identifies the rows: the content hash of each input."""
        return {name: link["content_hash"] for name, link in self.inputs.items()}


def find_source(identity: TrainIdentity) -> Source:
    """The inputs of a job, each checked against the manifest of the one before it; no rows are read.

    Raises:
        UserError: an input is missing, unfinished or not what its place in the chain needs, or the counts do not add
            up (pairs = labelled + quarantined).
    """
    if (identity.labels is None) == (identity.pairs is None):
        raise UserError("name either `labels` (a teacher's logits) or `pairs` (hard labels)")
    if identity.text_from is not None and identity.labels is None:
        raise UserError("`text_from` gives another text to `labels`; name them, or use those pairs as `pairs`")
    inputs: dict[str, dict[str, Any]] = {}
    if identity.labels is not None:
        labels = read_manifest(identity.labels)
        store, pairs = labelled_pairs_source(identity.labels)
        _check_counts(identity.labels, labels, pairs)
        teacher = labels.inputs.get("teacher", {})
        inputs["labels"] = {"path": identity.labels, "content_hash": labels.content_hash, "teacher": teacher}
        place = store.url
    else:
        assert identity.pairs is not None
        place, pairs = identity.pairs, read_pairs_manifest(identity.pairs)
    language = {"language": pairs.identity.get("language")}
    inputs["pairs"] = {"path": place, "content_hash": pairs.content_hash, **language, "inputs": pairs.inputs}
    if identity.text_from is not None:
        manifest = read_pairs_manifest(identity.text_from)
        language = {"language": manifest.identity.get("language")}
        inputs["text_from"] = {"path": identity.text_from, "content_hash": manifest.content_hash, **language}
    return Source(identity.labels, place, identity.text_from, inputs)


def read_pairs_manifest(url: str) -> Manifest:
    """The manifest of a pairs directory.

    Raises:
        UserError: it is missing, or that of another stage.
    """
    manifest = read_manifest(url)
    if manifest.stage == "label":
        raise UserError(f"{url} holds labels, not pairs; name it as `labels`")
    return manifest


def iter_rows(source: Source) -> Iterator[pa.Table]:
    """The rows to train on, one table a shard, in the order of the shards; each shard's sha256 is checked.

    Raises:
        UserError: a shard is missing or differs, or `text_from` lacks a pair that is labelled.
    """
    tables = _labelled(source) if source.labels is not None else _plain(source.pairs)
    if source.text_from is None:
        yield from tables
        return
    texts = {
        (query_id, passage_id): (query, passage)
        for table in _plain(source.text_from)
        for query_id, passage_id, query, passage in zip(
            *(table[name].to_pylist() for name in PAIR_COLUMNS[:4]), strict=True
        )
    }
    missing: list[tuple[str, str]] = []
    for table in tables:
        ids = list(zip(table["query_id"].to_pylist(), table["passage_id"].to_pylist(), strict=True))
        missing += [pair for pair in ids if pair not in texts]
        if not missing:
            for column, name in enumerate(("query", "passage")):
                values = pa.array([texts[pair][column] for pair in ids], pa.string())
                table = table.set_column(table.column_names.index(name), name, values)
            yield table
    if missing:
        some = ", ".join(f"({query_id}, {passage_id})" for query_id, passage_id in missing[:LISTED])
        raise UserError(
            f"{source.text_from} lacks {len(missing)} of the labelled pairs, such as {some}; `text_from` must hold "
            "the same (query_id, passage_id) as the pairs that were labelled"
        )


def _labelled(source: Source) -> Iterator[pa.Table]:
    assert source.labels is not None
    for table in iter_labelled_pairs(source.labels):
        yield table.select([*PAIR_COLUMNS, "false_logit", "true_logit"])


def _plain(url: str) -> Iterator[pa.Table]:
    store = Store(url)
    for shard in read_manifest(store).shards:
        table = from_parquet(read_shard(store, shard))
        absent = [name for name in PAIR_COLUMNS if name not in table.column_names]
        if absent:
            raise UserError(f"pairs shard {url}/{shard.name} has no column {absent[0]}; mine the pairs anew")
        yield table.select(list(PAIR_COLUMNS))


def _check_counts(url: str, labels: Manifest, pairs: Manifest) -> None:
    counts = labels.counts
    mined = sum(shard.rows for shard in pairs.shards)
    held = sum(shard.rows for shard in labels.shards)
    if not mined == counts.get("pairs") == counts.get("labelled", 0) + counts.get("quarantined", 0):
        raise UserError(
            f"labels {url}: {mined} pairs were mined, {counts.get('labelled')} labelled and "
            f"{counts.get('quarantined')} quarantined, which does not add up; label them anew"
        )
    if held != counts.get("labelled"):
        raise UserError(f"labels {url}: its shards hold {held} rows, its manifest says {counts.get('labelled')}")
