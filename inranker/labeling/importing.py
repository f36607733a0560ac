"""Import of a released label set: its file becomes a pairs directory and a labels directory.

What the file does not say stays unsaid: `n_tokens` and `truncated` are null, and so are `kind` and `rank` where nobody
recorded them. The file is read two or three times, line by line; in memory are 24 bytes a line and, for `msmarco`, the
queries and the ids of the passages that it names.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import compress
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from inranker.corpora import Collection, open_collection
from inranker.corpora.texts import PassageTexts
from inranker.errors import UserError
from inranker.fingerprint import fingerprint, sha256_bytes
from inranker.labeling.commits import commit_labels, complete_labels
from inranker.labeling.read import pairs_location
from inranker.labeling.released import RELEASES, Line, Scan, batches, is_centred, md5_of, released_lines, scan_file
from inranker.labeling.rows import label_table, read_unit, to_parquet
from inranker.manifest import Manifest, Shard, claim_output, read_manifest, write_manifest
from inranker.mining import SCHEMA
from inranker.storage import Store
from inranker.units import Unit, finished_units, plan_units


@dataclass(frozen=True)
class ImportIdentity:
    """What the imported labels depend on. File and collection enter the fingerprint by their content."""

    file: str
    """The released file, plain or .gz."""
    format: Literal["msmarco", "beir"]
    """How it is written: msmarco (TSV of ids) or beir (JSON lines with texts)."""
    collection: str | None = None
    """Where the texts of msmarco's ids are: ir_datasets:msmarco-passage, beir:PATH."""
    split: str = "train"
    """Split of the collection whose queries are labelled; its qrels say which passages are positive."""
    centred: bool | None = None
    """Whether each pair of logits adds up to 0; null: found out and said. A statement that is not true is an error."""
    max_rows: int | None = None
    """Take only the first so many lines (12,800,000 of msmarco were trained on); null: all."""
    shard_rows: int = 50_000
    """Pairs of an output file."""


@dataclass(frozen=True)
class ImportExecution:
    """How the job is run."""

    max_quarantined: float = 0.001
    """Share of pairs that may be quarantined before the job counts as failed."""


@dataclass(frozen=True)
class ImportConfig:
    """Turn a released label set into pairs and labels."""

    identity: ImportIdentity
    """What the result depends on."""
    output: str
    """Directory or URL; `pairs` and `labels` are written below it, and the same one again resumes the job."""
    execution: ImportExecution = field(default_factory=ImportExecution)
    """How the job is run."""


def import_labels(config: ImportConfig) -> dict[str, Any]:
    """Import a released label set.

    Returns:
        The summary: counts, whether the logits are `centred`, and whether the file is byte for byte `as_released`.

    Raises:
        UserError: a malformed line (by number), an id that the collection lacks, or a wrong statement about centring.
    """
    chosen = config.identity
    _require_sensible(chosen)
    collection = open_collection(chosen.collection) if chosen.collection else None
    md5 = md5_of(chosen.file)
    scan = scan_file(chosen.file, chosen.format, chosen.max_rows)
    centred = is_centred(scan.logits_N2, chosen.file, chosen.centred)
    pairs = Store(f"{config.output.rstrip('/')}/pairs")
    source = {"format": chosen.format, "md5": md5, "max_rows": chosen.max_rows}
    pairs_manifest = _write_pairs(pairs, chosen, source, scan, collection)
    labels = Store(f"{config.output.rstrip('/')}/labels")
    identity = {"released": source, "pairs": pairs_manifest.content_hash}
    skipped = claim_output(labels, "label", identity, unit_rows=chosen.shard_rows)
    if not skipped:
        units = plan_units(pairs_manifest.shards, chosen.shard_rows)
        _write_labels(labels, pairs, units, fingerprint(identity), scan.logits_N2[scan.first_N])
        release = RELEASES[chosen.format]
        origin = {"released_as": release.file, "md5": md5, "as_released": md5 == release.md5}
        where = {**pairs_location(labels.url, pairs.url), "content_hash": pairs_manifest.content_hash}
        figures = {"centred": centred, "as_released": origin["as_released"], **scan.counts}
        complete_labels(labels, identity, units, {"pairs": where, "teacher": origin}, figures)
    manifest = read_manifest(labels)
    counts = manifest.counts
    return {
        "stage": "import",
        "output": config.output,
        "skipped": skipped,
        **counts,
        **manifest.figures,
        "failed": counts["quarantined"] > config.execution.max_quarantined * counts["pairs"],
    }


def _require_sensible(chosen: ImportIdentity) -> None:
    if (chosen.format == "msmarco") != (chosen.collection is not None):
        raise UserError(
            "collection: format msmarco has ids only and needs the collection of their texts, such as "
            "ir_datasets:msmarco-passage; format beir has its own texts and takes none"
        )
    for name in ("shard_rows", "max_rows"):
        value = getattr(chosen, name)
        if value is not None and value < 1:
            raise UserError(f"{name}: {value} is not 1 or more")


def _write_pairs(
    store: Store, chosen: ImportIdentity, source: dict[str, Any], scan: Scan, collection: Collection | None
) -> Manifest:
    corpus = collection.content_hash(chosen.split) if collection else None
    identity = {"released": source, "shard_rows": chosen.shard_rows, "collection": corpus, "split": chosen.split}
    if claim_output(store, "import", identity):
        return read_manifest(store)
    shards: list[Shard] = []
    first = compress(released_lines(chosen.file, chosen.format, chosen.max_rows), scan.first_N.tolist())
    with _completed(chosen, collection) as complete:
        for batch in batches(first, chosen.shard_rows):
            columns = zip(*(complete(line) for line in batch), strict=True)
            arrays = [pa.array(column, kind.type) for column, kind in zip(columns, SCHEMA, strict=True)]
            data = to_parquet(pa.Table.from_arrays(arrays, schema=SCHEMA))
            name = f"pairs-{len(shards):05d}.parquet"
            if not store.put_if_absent(name, data):
                raise UserError(
                    f"{store.url}/{name} is there with other bytes, by another version; name another output"
                )
            shards.append(Shard(name, len(batch), sha256_bytes(data)))
    inputs = {"released": {"path": chosen.file, "md5": source["md5"]}}
    if collection and corpus:
        inputs["collection"] = {"name": collection.name, "split": chosen.split, "content_hash": corpus}
    counts = {"pairs": int(scan.first_N.sum()), **scan.counts}
    return write_manifest(store, Manifest("import", fingerprint(identity), identity, inputs, shards, counts))


def _write_labels(store: Store, pairs: Store, units: list[Unit], job: str, logits_N2: np.ndarray) -> None:
    finished = finished_units(store)
    start = 0
    for unit in units:
        logits, start = logits_N2[start : start + unit.rows], start + unit.rows
        if unit.name in finished:
            continue
        rows = read_unit(pairs, unit)
        labels, not_finite = label_table(rows.pairs, logits[rows.pairs["row"].to_numpy() - unit.start], None, None)
        unusable = pa.concat_tables([rows.quarantine, not_finite]).sort_by("row")
        commit_labels(store, unit, job, labels, unusable)


@contextmanager
def _completed(chosen: ImportIdentity, collection: Collection | None) -> Iterator[Callable[[Line], tuple[Any, ...]]]:
    """What makes a pair of a line: the columns of `SCHEMA`."""
    if collection is None:
        # Which passage the query was written for, and where it was found, the file does not say.
        yield lambda line: (*line[1:3], line.query, line.passage, None, None, "inpars-beir", "en")
        return
    queries = {query.query_id: query.text for query in collection.queries_iter(chosen.split)}
    judged = collection.qrels_iter(chosen.split)
    relevant = {(qrel.query_id, qrel.passage_id) for qrel in judged if qrel.relevance > 0}
    named = (line.passage_id for line in released_lines(chosen.file, chosen.format, chosen.max_rows))
    with PassageTexts(collection, named) as passages:

        def complete(line: Line) -> tuple[Any, ...]:
            for what, name, known in (("query", line.query_id, queries), ("passage", line.passage_id, passages)):
                if name not in known:
                    raise UserError(
                        f"{chosen.file}, line {line.number}: {collection.name} ({chosen.split}) has no {what} {name}; "
                        "name the collection and split that were labelled"
                    )
            ids = (line.query_id, line.passage_id)
            kind = "positive" if ids in relevant else "negative"
            texts = (queries[line.query_id], passages[line.passage_id])
            return (*ids, *texts, kind, None, collection.name, collection.language)

        yield complete
