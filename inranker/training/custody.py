"""Where the training pairs come from, and the proof of it: student -> labels -> teacher and pairs -> corpus."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from inranker.corpora.beir16 import is_test_split
from inranker.errors import UserError
from inranker.labeling.read import iter_labelled_pairs, labelled_pairs_source
from inranker.labeling.rows import from_parquet
from inranker.manifest import Manifest, read_manifest, read_shard
from inranker.storage import Store
from inranker.training.alignment import Alignment, OtherTexts
from inranker.training.config import TrainIdentity

PAIR_COLUMNS = ("query_id", "passage_id", "query", "passage", "kind")
SET = "set"  # column of `iter_rows`: which of the sets a row is of, from 0; ids are a set's own


@dataclass(frozen=True)
class RowSet:
    """One set of rows: labels and the pairs that they label, or (`labels` None) pairs with hard labels."""

    labels: str | None
    pairs: str


@dataclass(frozen=True)
class Source:
    """Rows to train on, and the links of the chain of custody that the student's manifest records.

    `inputs` names the links `labels`, `pairs` and `text_from`; of several sets `labels_1`, `pairs_1`, `labels_2`, ….
    """

    sets: tuple[RowSet, ...]
    text_from: str | None
    inputs: dict[str, dict[str, Any]]

    @property
    def content(self) -> dict[str, str]:
        """What identifies the rows: the content hash of each input."""
        return {name: link["content_hash"] for name, link in self.inputs.items()}


def find_source(identity: TrainIdentity) -> Source:
    """The inputs of a job, each checked against the manifest of the one before it; no rows are read.

    Raises:
        UserError: an input is missing, unfinished, named twice or not what its place in the chain needs; the counts do
            not add up (pairs = labelled + quarantined); or the queries are a test split's and the job does not say so.
    """
    labels, pairs = as_list(identity.labels), as_list(identity.pairs)
    if bool(labels) == bool(pairs):
        raise UserError("name either `labels` (a teacher's logits) or `pairs` (hard labels)")
    if identity.text_from is not None and not labels:
        raise UserError("`text_from` gives another text to `labels`; name them, or use those pairs as `pairs`")
    inputs: dict[str, dict[str, Any]] = {}
    sets: list[RowSet] = []
    for number, url in enumerate(labels or pairs, start=1):
        part, links = _labelled_set(url) if labels else _plain_set(url)
        sets.append(part)
        several = len(labels or pairs) > 1
        inputs |= {f"{name}_{number}" if several else name: link for name, link in links.items()}
    _require_different(labels or pairs, inputs)
    _require_said(identity, inputs)
    if identity.text_from is not None:
        manifest = read_pairs_manifest(identity.text_from)
        language = {"language": manifest.identity.get("language")}
        inputs["text_from"] = {"path": identity.text_from, "content_hash": manifest.content_hash, **language}
    return Source(tuple(sets), identity.text_from, inputs)


def as_list(urls: str | list[str] | None) -> list[str]:
    """One name, several, or none, as a list."""
    return [] if urls is None else [urls] if isinstance(urls, str) else list(urls)


def read_pairs_manifest(url: str) -> Manifest:
    """The manifest of a pairs directory.

    Raises:
        UserError: it is missing, or that of another stage.
    """
    manifest = read_manifest(url)
    if manifest.stage == "label":
        raise UserError(f"{url} holds labels, not pairs; name it as `labels`")
    return manifest


def iter_rows(source: Source, note: Callable[[Alignment], None] = lambda alignment: None) -> Iterator[pa.Table]:
    """The rows to train on, one table a shard, set after set in the order they were named; sha256s are checked.

    Args:
        note: is told, at the end, how the pairs of `text_from` matched the labelled ones.

    Raises:
        UserError: a shard is missing or differs, or `text_from` lacks a pair that is labelled.
    """
    other = OtherTexts(_plain(source.text_from)) if source.text_from is not None else None
    for number, part in enumerate(source.sets):
        for table in _labelled(part.labels) if part.labels is not None else _plain(part.pairs):
            texts = table if other is None else other.put_into(table)
            if texts is not None:
                yield texts.append_column(SET, pa.array([number] * texts.num_rows, pa.int32()))
    if other is not None:
        alignment = other.finish()
        alignment.require_complete(str(source.text_from))
        note(alignment)


def _labelled_set(url: str) -> tuple[RowSet, dict[str, dict[str, Any]]]:
    labels = read_manifest(url)
    store, pairs = labelled_pairs_source(url)
    _check_counts(url, labels, pairs)
    teacher = labels.inputs.get("teacher", {})
    link = {"path": url, "content_hash": labels.content_hash, "teacher": teacher}
    return RowSet(url, store.url), {"labels": link, "pairs": _pairs_link(store.url, pairs)}


def _plain_set(url: str) -> tuple[RowSet, dict[str, dict[str, Any]]]:
    return RowSet(None, url), {"pairs": _pairs_link(url, read_pairs_manifest(url))}


def _pairs_link(url: str, pairs: Manifest) -> dict[str, Any]:
    language = {"language": pairs.identity.get("language")}
    return {"path": url, "content_hash": pairs.content_hash, **language, "inputs": pairs.inputs}


def _require_different(urls: list[str], inputs: dict[str, dict[str, Any]]) -> None:
    """Two equal sets would count their rows twice."""
    role = "labels" if any(name.startswith("labels") for name in inputs) else "pairs"
    hashes = [link["content_hash"] for name, link in inputs.items() if name.startswith(role)]
    for place, content in enumerate(hashes):
        if content in hashes[:place]:
            raise UserError(f"{role}: {urls[place]} has the content of {urls[hashes.index(content)]}; name it once")


def _require_said(identity: TrainIdentity, inputs: dict[str, dict[str, Any]]) -> None:
    tested = [link["inputs"]["collection"] for link in inputs.values() if _of_test_queries(link)]
    if tested and not identity.trains_on_test:
        raise UserError(
            f"pairs: the queries are those of split {tested[0]['split']!r} of {tested[0]['name']}, on which students "
            "are evaluated; name pairs of another split, or set trains_on_test to true to get an upper bound that is "
            "marked as one"
        )
    if identity.trains_on_test and not tested:
        raise UserError("trains_on_test is true, but no pairs are of a test split; leave it out")


def _of_test_queries(link: dict[str, Any]) -> bool:
    collection = (link.get("inputs") or {}).get("collection") or {}
    return is_test_split(str(collection.get("name", "")), str(collection.get("split", "")))


def _labelled(url: str) -> Iterator[pa.Table]:
    for table in iter_labelled_pairs(url):
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
