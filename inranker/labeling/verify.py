"""Check every claim a labels directory makes: receipt, object, sha256, row count, alignment with the pairs."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from inranker.errors import UserError
from inranker.labeling.config import LabelConfig
from inranker.labeling.rows import from_parquet
from inranker.manifest import Manifest, read_identity, read_manifest, read_shard
from inranker.storage import Store
from inranker.units import RECEIPTS, Receipt, Unit, finished_units, plan_units, read_receipt


def verify(config: LabelConfig) -> dict[str, Any]:
    """Re-read everything a label job wrote and list all that is not as its receipts say.

    Returns:
        `problems` (one sentence each), counts, and `failed` when there is a problem.
    """
    store, pairs = Store(config.output), Store(config.identity.pairs)
    claim, pairs_manifest = read_identity(store), read_manifest(pairs)
    units = plan_units(pairs_manifest.shards, claim["unit_rows"])
    finished = finished_units(store)
    problems = [f"unit {unit.name} has no receipt" for unit in units if unit.name not in finished]
    problems += [f"{RECEIPTS}/{name}.json is of no unit" for name in sorted(finished - {unit.name for unit in units})]
    if pairs_manifest.content_hash != claim["identity"]["pairs"]:
        problems.append(f"the pairs at {pairs.url} are not those that were labelled")
    checked = [unit for unit in units if unit.name in finished]
    receipts = []
    for unit in checked:
        found, receipt = _check_unit(store, pairs, unit, claim["fingerprint"])
        problems += found
        receipts += [receipt] if receipt else []
    problems += list(_check_manifest(store, receipts))
    return {
        "stage": "verify",
        "output": config.output,
        "units": len(units),
        "checked": len(checked),
        "pairs": sum(shard.rows for shard in pairs_manifest.shards),
        "labelled": sum(receipt.data.rows for receipt in receipts),
        "quarantined": sum(receipt.quarantine.rows for receipt in receipts if receipt.quarantine),
        "problems": problems,
        "failed": bool(problems),
    }


def _check_unit(store: Store, pairs: Store, unit: Unit, fingerprint: str) -> tuple[list[str], Receipt | None]:
    try:
        receipt = read_receipt(store, unit.name)
        labels = from_parquet(read_shard(store, receipt.data))
        quarantine = from_parquet(read_shard(store, receipt.quarantine)) if receipt.quarantine else None
        source = from_parquet(read_shard(pairs, unit.shard)).slice(unit.start, unit.rows)
    except (UserError, OSError, ValueError) as error:
        return [str(error)], None
    problems = []
    if receipt.fingerprint != fingerprint:
        problems.append(f"unit {unit.name}: its receipt is of another job")
    rows = labels["row"].to_numpy()
    held = np.sort(np.concatenate([rows, quarantine["row"].to_numpy()])) if quarantine else rows
    if labels.num_rows != receipt.data.rows or not np.array_equal(held, np.arange(unit.start, unit.stop)):
        problems.append(f"unit {unit.name}: labelled and quarantined rows are not rows {unit.start} to {unit.stop}")
        return problems, receipt
    for name in ("query_id", "passage_id"):
        if source[name].take(rows - unit.start).combine_chunks() != labels[name].combine_chunks():
            problems.append(f"unit {unit.name}: {name} differs from the pairs'")
    if not np.isfinite([labels["false_logit"].to_numpy(), labels["true_logit"].to_numpy()]).all():
        problems.append(f"unit {unit.name}: a logit is not finite")
    return problems, receipt


def _check_manifest(store: Store, receipts: list[Receipt]) -> Iterator[str]:
    try:
        manifest: Manifest = read_manifest(store)
    except UserError as error:
        yield str(error)
        return
    if [shard.name for shard in manifest.shards] != [receipt.data.name for receipt in receipts]:
        yield "the manifest names other label shards than the receipts"
    if manifest.counts["pairs"] != manifest.counts["labelled"] + manifest.counts["quarantined"]:
        yield f"the manifest's counts do not add up: {manifest.counts}"
