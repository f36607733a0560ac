"""Several teachers as one: their labels of the same pairs, put on a common scale and averaged.

Teachers differ in scale: a margin of 3 says much of one and little of another. So each teacher's margins (true − false)
are standardised over the pairs that all of them labelled, then averaged. The result is a labels directory like any
other, with a manifest that names the labels it came from by content.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from inranker.errors import UserError
from inranker.fingerprint import fingerprint
from inranker.labeling.commits import commit_labels, complete_labels
from inranker.labeling.read import iter_labels, labelled_pairs_source, pairs_location, quarantine_reasons
from inranker.labeling.rows import LABEL_SCHEMA, from_parquet, label_table, quarantine_table
from inranker.manifest import Manifest, claim_output, read_manifest, read_shard
from inranker.storage import Store
from inranker.units import Unit, finished_units, plan_units


@dataclass(frozen=True)
class CombineIdentity:
    """What the combined labels depend on. The labels enter the fingerprint by their content."""

    labels: list[str]
    """Labels directories or URLs, one a teacher, all of the same pairs."""
    weights: list[float] = field(default_factory=list)
    """Weight of each teacher in the mean; none: equal."""
    margin_std: float | None = None
    """Standard deviation that a teacher's margins are brought to; null: the weighted mean of the teachers' own, so
    that the result is as large as their margins are."""


@dataclass(frozen=True)
class CombineExecution:
    """How the job is run."""

    max_quarantined: float = 0.001
    """Share of pairs that may lack a teacher's label before the job counts as failed."""


@dataclass(frozen=True)
class CombineConfig:
    """Make one label set of the labels of several teachers."""

    identity: CombineIdentity
    """What the result depends on."""
    output: str
    """Directory or URL to write labels to; the same one again resumes the job."""
    execution: CombineExecution = field(default_factory=CombineExecution)
    """How the job is run."""


@dataclass(frozen=True)
class Scale:
    """Margins of one teacher over the pairs that all teachers labelled: how many, their mean and squared deviations."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @property
    def std(self) -> float:
        """Standard deviation of the population."""
        return float(np.sqrt(self.squares / self.count)) if self.count else 0.0

    def add(self, margins: np.ndarray) -> "Scale":
        """With more margins (Chan, Golub and LeVeque 1979: no cancellation, one pass)."""
        if not len(margins):
            return self
        values = margins.astype(np.float64)
        count, mean = len(values), float(values.mean())
        total, step = self.count + count, mean - self.mean
        squares = float(((values - mean) ** 2).sum())
        return Scale(
            total, self.mean + step * count / total, self.squares + squares + step**2 * self.count * count / total
        )


def combine(config: CombineConfig) -> dict[str, Any]:
    """Combine the labels of several teachers.

    A pair's margin is the weighted mean over teachers of (margin − mean) / std, times `margin_std`; its logits are
    (−margin/2, margin/2), so they are centred, and a margin of 0 is what the teachers give on average. A pair that one
    of them did not label is quarantined.

    Returns:
        The summary: counts, each teacher's scale, `failed` when too many pairs were quarantined.

    Raises:
        UserError: fewer than two teachers, other pairs, weights that are no weights, or a teacher without opinion.
    """
    labels, weights = config.identity.labels, _weights(config.identity)
    manifests = [read_manifest(url) for url in labels]
    pairs, pairs_manifest = _same_pairs(labels, manifests)
    identity = {
        "combined": [manifest.content_hash for manifest in manifests],
        "weights": weights,
        "margin_std": config.identity.margin_std,
        "pairs": pairs_manifest.content_hash,
    }
    store = Store(config.output)
    unit_rows = max((shard.rows for shard in pairs_manifest.shards), default=1)  # a pairs shard is one unit
    skipped = claim_output(store, "label", identity, unit_rows=unit_rows)
    if not skipped:
        scales = _measure(labels, len(pairs_manifest.shards))
        std = config.identity.margin_std or float(np.average([scale.std for scale in scales], weights=weights))
        units = plan_units(pairs_manifest.shards, unit_rows)
        _write_units(store, pairs, units, fingerprint(identity), _Combiner(labels, scales, weights, std))
        teachers = [
            {"labels": url, "mean": scale.mean, "std": scale.std, "weight": weight}
            for url, scale, weight in zip(labels, scales, weights, strict=True)
        ]
        figures = {"margin_std": std, "centred": True, "teachers": teachers}
        complete_labels(store, identity, units, _inputs(config, manifests, pairs, pairs_manifest), figures)
    manifest = read_manifest(store)
    counts = manifest.counts
    return {
        "stage": "combine",
        "output": config.output,
        "fingerprint": manifest.fingerprint,
        "skipped": skipped,
        **counts,
        **manifest.figures,
        "failed": counts["quarantined"] > config.execution.max_quarantined * counts["pairs"],
    }


def _inputs(
    config: CombineConfig, manifests: list[Manifest], pairs: Store, pairs_manifest: Manifest
) -> dict[str, dict[str, Any]]:
    """The chain of custody: the pairs, each teacher's labels, and the teachers themselves."""
    teachers = [manifest.inputs.get("teacher", {}) for manifest in manifests]
    labels = {
        f"labels_{number}": {"path": url, "content_hash": manifest.content_hash}
        for number, (url, manifest) in enumerate(zip(config.identity.labels, manifests, strict=True), start=1)
    }
    where = {**pairs_location(config.output, pairs.url), "content_hash": pairs_manifest.content_hash}
    return {"pairs": where, "teacher": {"combined": teachers}, **labels}


class _Combiner:
    """Margins of all teachers -> one margin."""

    def __init__(self, labels: list[str], scales: list[Scale], weights: list[float], std: float) -> None:
        self.labels = labels
        self.scales = scales
        self.weights = np.array(weights)
        self.std = std
        self.reasons = [quarantine_reasons(url) for url in labels]

    def logits(self, aligned: list[pa.Table]) -> np.ndarray:
        """Logits [n, 2] of pairs that all teachers labelled."""
        standard_KN = np.stack(
            [(_margins(table) - scale.mean) / scale.std for table, scale in zip(aligned, self.scales, strict=True)]
        )
        margins_N = self.std * np.average(standard_KN, axis=0, weights=self.weights)
        return np.stack([-margins_N / 2, margins_N / 2], axis=1).astype(np.float32)

    def reason(self, shard: int, row: int, held: list[set[int]]) -> str:
        """Why a row has no combined label."""
        lacking = [number for number, rows in enumerate(held) if row not in rows]
        said = [f"{self.labels[number]}: {self.reasons[number].get((shard, row), 'no label')}" for number in lacking]
        return "; ".join(said)


def _weights(identity: CombineIdentity) -> list[float]:
    if len(identity.labels) < 2:
        raise UserError("labels: one teacher cannot be combined; name two or more labels directories")
    weights = identity.weights or [1.0] * len(identity.labels)
    if len(weights) != len(identity.labels) or not all(0 < weight < float("inf") for weight in weights):
        raise UserError(
            f"weights: {weights} are not {len(identity.labels)} positive numbers; give one for each teacher"
        )
    return weights


def _same_pairs(labels: list[str], manifests: list[Manifest]) -> tuple[Store, Manifest]:
    """The pairs that all of them label."""
    for url, manifest in zip(labels, manifests, strict=True):
        if manifest.stage != "label":
            raise UserError(f"labels: {url} is the output of stage {manifest.stage!r}; name a labels directory")
        if manifest.inputs["pairs"]["content_hash"] != manifests[0].inputs["pairs"]["content_hash"]:
            raise UserError(
                f"labels: {url} labels other pairs than {labels[0]}; label the same pairs with each teacher"
            )
    return labelled_pairs_source(labels[0])


def _measure(labels: list[str], shards: int) -> list[Scale]:
    scales = [Scale() for _ in labels]
    for tables in _by_pairs_shard(labels, shards):
        aligned = _align(tables)
        scales = [scale.add(_margins(table)) for scale, table in zip(scales, aligned, strict=True)]
    for url, scale in zip(labels, scales, strict=True):
        if not scale.std > 0:
            raise UserError(
                f"labels: {url} gives the same margin to every pair that all teachers labelled, or there is none; "
                "leave it out"
            )
    return scales


def _by_pairs_shard(labels: list[str], shards: int) -> Iterator[list[pa.Table]]:
    """Each teacher's labels of one pairs shard after the other; one shard of each is in memory."""
    streams = [_shards(url) for url in labels]
    heads = [next(stream, None) for stream in streams]
    for number in range(shards):
        tables = []
        for place, head in enumerate(heads):
            there = head is not None and head[0] == number
            tables.append(head[1] if head is not None and there else LABEL_SCHEMA.empty_table())
            if there:
                heads[place] = next(streams[place], None)
        yield tables


def _shards(url: str) -> Iterator[tuple[int, pa.Table]]:
    tables = (table for table in iter_labels(url) if table.num_rows)
    for number, group in groupby(tables, lambda table: table["shard"][0].as_py()):
        yield number, pa.concat_tables(group).drop_columns("shard").combine_chunks()


def _align(tables: list[pa.Table]) -> list[pa.Table]:
    """The rows that all teachers labelled.

    Raises:
        UserError: they give one row different ids.
    """
    rows = [table["row"].to_numpy() for table in tables]
    common = reduce(np.intersect1d, rows)
    aligned = [table.take(np.searchsorted(row, common)) for table, row in zip(tables, rows, strict=True)]
    for name in ("query_id", "passage_id"):
        if any(table[name].combine_chunks() != aligned[0][name].combine_chunks() for table in aligned[1:]):
            raise UserError(f"labels: two of them give a row different {name}s; check them with label.py --verify")
    return aligned


def _margins(table: pa.Table) -> np.ndarray:
    margins: np.ndarray = table["true_logit"].to_numpy().astype(np.float64) - table["false_logit"].to_numpy()
    return margins


def _write_units(store: Store, pairs: Store, units: list[Unit], job: str, combiner: _Combiner) -> None:
    finished = finished_units(store)
    for unit, tables in zip(units, _by_pairs_shard(combiner.labels, len(units)), strict=True):
        if unit.name in finished:
            continue
        aligned = _align(tables)
        labels, unusable = label_table(aligned[0], combiner.logits(aligned), *_lengths(aligned))
        if labels.num_rows < unit.rows:
            unusable = pa.concat_tables([unusable, _without_label(pairs, unit, tables, combiner)]).sort_by("row")
        commit_labels(store, unit, job, labels, unusable)


def _lengths(aligned: list[pa.Table]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Tokens of the longest reading, and whether any teacher read a cut text; None where a teacher does not say."""
    if any(table["n_tokens"].null_count or table["truncated"].null_count for table in aligned):
        return None, None
    tokens = [table["n_tokens"].to_numpy() for table in aligned]
    cut = [table["truncated"].to_numpy(zero_copy_only=False) for table in aligned]
    return np.max(tokens, axis=0), np.any(cut, axis=0)


def _without_label(pairs: Store, unit: Unit, tables: list[pa.Table], combiner: _Combiner) -> pa.Table:
    """The rows that a teacher did not label, and what its quarantine says of them."""
    held = [set(table["row"].to_pylist()) for table in tables]
    rows = sorted(set(range(unit.start, unit.stop)) - set.intersection(*held))
    rejected = from_parquet(read_shard(pairs, unit.shard)).select(["query_id", "passage_id"]).take(rows)
    rejected = rejected.add_column(0, "row", pa.array(rows, pa.int32()))
    return quarantine_table(rejected, [combiner.reason(unit.number, row, held) for row in rows])
