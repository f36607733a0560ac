"""Labels in the formats that other trainers read, so that the teacher's opinion can train a bi-encoder too.

* `sentence-transformers`: Parquet with the columns `query, positive, negative, score`, in that order: the triples of
  `MarginMSELoss`, whose label is teacher(query, positive) − teacher(query, negative); texts are taken in column order
  and `score` is one of the names that its data collator takes for a label.
  https://sbert.net/docs/package_reference/sentence_transformer/losses.html#marginmseloss
* `tevatron`: JSON lines `{query_id, query, positive_passages, negative_passages}`, a passage being
  `{docid, text, score}`: what `tevatron.retriever.driver.train_distil` reads. A passage has no `title`, as title and
  text are joined already. https://github.com/texttron/tevatron

A passage's score is the teacher's margin, true − false.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal, NamedTuple

import pyarrow as pa
from tqdm import tqdm

from inranker.errors import UserError
from inranker.fingerprint import fingerprint, sha256_bytes
from inranker.labeling.read import iter_labelled_pairs
from inranker.labeling.released import batches
from inranker.labeling.rows import to_parquet
from inranker.manifest import Manifest, Shard, claim_output, read_manifest, write_manifest
from inranker.storage import Store

TRIPLES = pa.schema(
    [(name, pa.string()) for name in ("query", "positive", "negative")] + [pa.field("score", pa.float32())]
)
COLUMNS = ("query_id", "query", "passage_id", "passage", "kind", "false_logit", "true_logit")


@dataclass(frozen=True)
class ExportIdentity:
    """What the exported files depend on. The labels enter the fingerprint by their content."""

    labels: str
    """Directory or URL of the labels to export."""
    format: Literal["sentence-transformers", "tevatron"]
    """For which trainer: sentence-transformers (triples for MarginMSE) or tevatron (queries with scored passages)."""
    positives: Literal["judged", "best"] = "judged"
    """A query's positives: the pairs of that kind, or the one passage that the teacher scores best (for labels that do
    not say what is judged)."""
    shard_rows: int = 20_000
    """Triples or queries of an output file."""


@dataclass(frozen=True)
class ExportExecution:
    """How the job is run."""

    progress: bool = True
    """Show a progress bar."""


@dataclass(frozen=True)
class ExportConfig:
    """Write labels in another trainer's format."""

    identity: ExportIdentity
    """What the result depends on."""
    output: str
    """Directory or URL to write to; a finished one of the same identity is left as it is."""
    execution: ExportExecution = field(default_factory=ExportExecution)
    """How the job is run."""


class Scored(NamedTuple):
    """A passage and the teacher's margin for the query."""

    passage_id: str
    text: str
    score: float


class Group(NamedTuple):
    """A query with its passages."""

    query_id: str
    query: str
    positives: list[Scored]
    negatives: list[Scored]


def export_labels(config: ExportConfig) -> dict[str, Any]:
    """Export a labels directory.

    Returns:
        The summary: queries, rows written, and queries left out because they lack a positive or a negative.

    Raises:
        UserError: labels or pairs are missing or not as their manifests say, the pairs of a query are not next to each
            other, or nothing is left to write.
    """
    chosen, store = config.identity, Store(config.output)
    labels = read_manifest(chosen.labels)
    identity = {
        "labels": labels.content_hash,
        "format": chosen.format,
        "positives": chosen.positives,
        "shard_rows": chosen.shard_rows,
    }
    if chosen.shard_rows < 1:
        raise UserError(f"shard_rows: {chosen.shard_rows} is not 1 or more")
    skipped = claim_output(store, "export", identity)
    if not skipped:
        counts = {"queries": 0, "left_out": 0}
        with tqdm(desc="export", unit=" query", disable=not config.execution.progress) as bar:
            rows = FORMATS[chosen.format].rows(_counted(_groups(chosen), counts, bar))
            shards = list(_write(store, chosen, rows))
        if not shards:
            raise UserError(
                f"{chosen.labels} has no query with a positive and a negative; if it does not say what is judged, "
                "use --positives best"
            )
        inputs = {"labels": {"path": chosen.labels, "content_hash": labels.content_hash}}
        counts["rows"] = sum(shard.rows for shard in shards)
        write_manifest(store, Manifest("export", fingerprint(identity), identity, inputs, shards, counts))
    manifest = read_manifest(store)
    return {"stage": "export", "output": config.output, "skipped": skipped, **manifest.counts, "failed": False}


def _groups(chosen: ExportIdentity) -> Iterator[Group]:
    """The queries in the order of the pairs; one is in memory at a time, and the ids of all."""
    seen: set[str] = set()
    for query_id, rows in groupby(_rows(chosen.labels), lambda row: row["query_id"]):
        if query_id in seen:
            raise UserError(
                f"{chosen.labels}: the pairs of query {query_id} are not next to each other; mine them with "
                "--order grouped"
            )
        seen.add(query_id)
        members = list(rows)
        scored = [Scored(row["passage_id"], row["passage"], row["true_logit"] - row["false_logit"]) for row in members]
        best = max(range(len(members)), key=lambda place: scored[place].score)
        relevant = [
            place == best if chosen.positives == "best" else row["kind"] == "positive"
            for place, row in enumerate(members)
        ]
        yield Group(
            query_id,
            members[0]["query"],
            [passage for passage, is_relevant in zip(scored, relevant, strict=True) if is_relevant],
            [
                passage
                for passage, is_relevant, row in zip(scored, relevant, members, strict=True)
                if not is_relevant and (chosen.positives == "best" or row["kind"] == "negative")
            ],
        )


def _rows(labels: str) -> Iterator[dict[str, Any]]:
    for table in iter_labelled_pairs(labels):
        yield from table.select(COLUMNS).to_pylist()


def _counted(groups: Iterator[Group], counts: dict[str, int], bar: tqdm) -> Iterator[Group]:
    """The groups that can be compared within."""
    for group in groups:
        bar.update()
        usable = bool(group.positives and group.negatives)
        counts["queries" if usable else "left_out"] += 1
        if usable:
            yield group


def _triples(groups: Iterator[Group]) -> Iterator[dict[str, Any]]:
    """Every positive of a query against every negative."""
    for group in groups:
        for positive in group.positives:
            for negative in group.negatives:
                score = positive.score - negative.score
                yield {"query": group.query, "positive": positive.text, "negative": negative.text, "score": score}


def _queries(groups: Iterator[Group]) -> Iterator[dict[str, Any]]:
    for group in groups:
        passages = {
            name: [{"docid": passage.passage_id, "text": passage.text, "score": passage.score} for passage in members]
            for name, members in (("positive_passages", group.positives), ("negative_passages", group.negatives))
        }
        yield {"query_id": group.query_id, "query": group.query, **passages}


def _json_lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


class Format(NamedTuple):
    """How a trainer wants its data: rows of groups, bytes of rows, and the ending of a file's name."""

    rows: Callable[[Iterator[Group]], Iterator[dict[str, Any]]]
    to_bytes: Callable[[list[dict[str, Any]]], bytes]
    suffix: str


FORMATS = {
    "sentence-transformers": Format(_triples, lambda rows: to_parquet(pa.Table.from_pylist(rows, TRIPLES)), ".parquet"),
    "tevatron": Format(_queries, _json_lines, ".jsonl"),
}


def _write(store: Store, chosen: ExportIdentity, rows: Iterator[dict[str, Any]]) -> Iterator[Shard]:
    """Files of `shard_rows` rows. One is created whole or not at all, so a killed job is simply run again."""
    for number, batch in enumerate(batches(rows, chosen.shard_rows)):
        data = FORMATS[chosen.format].to_bytes(batch)
        name = f"train-{number:05d}{FORMATS[chosen.format].suffix}"
        if not store.put_if_absent(name, data):
            raise UserError(f"{store.url}/{name} is there with other bytes, by another version; name another output")
        yield Shard(name, len(batch), sha256_bytes(data))
