"""Check every claim a labels directory makes: receipt, object, sha256, row count, alignment with the pairs."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from inranker.errors import UserError
from inranker.jobs.verify import check_same, check_units
from inranker.labeling.config import LabelConfig
from inranker.manifest import Manifest, read_identity, read_manifest
from inranker.storage import Store
from inranker.units import Receipt, Unit, plan_units


def verify(config: LabelConfig) -> dict[str, Any]:
    """Re-read everything a label job wrote and list all that is not as its receipts say.

    Returns:
        `problems` (one sentence each), counts, and `failed` when there is a problem.
    """
    store, pairs = Store(config.output), Store(config.identity.pairs)
    claim, pairs_manifest = read_identity(store), read_manifest(pairs)
    units = plan_units(pairs_manifest.shards, claim["unit_rows"])
    found = check_units(store, pairs, units, claim["fingerprint"], "labelled", _check_rows)
    problems, receipts = found.problems, found.receipts
    if pairs_manifest.content_hash != claim["identity"]["pairs"]:
        problems.append(f"the pairs at {pairs.url} are not those that were labelled")
    problems += list(_check_manifest(store, receipts))
    return {
        "stage": "verify",
        "output": config.output,
        "units": len(units),
        "checked": found.checked,
        "pairs": sum(shard.rows for shard in pairs_manifest.shards),
        "labelled": sum(receipt.data.rows for receipt in receipts),
        "quarantined": sum(receipt.quarantine.rows for receipt in receipts if receipt.quarantine),
        "problems": problems,
        "failed": bool(problems),
    }


def _check_rows(unit: Unit, pairs: pa.Table, labels: pa.Table) -> list[str]:
    problems = check_same(unit, pairs, labels, ("query_id", "passage_id"), "pairs'")
    if not np.isfinite([labels["false_logit"].to_numpy(), labels["true_logit"].to_numpy()]).all():
        problems.append(f"unit {unit.name}: a logit is not finite")
    return problems


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
