"""Label shards that no scorer wrote (combined, imported): committed and completed as a label job's are."""

from typing import Any

import pyarrow as pa

from inranker.fingerprint import fingerprint
from inranker.labeling.rows import to_parquet
from inranker.manifest import Manifest, write_manifest
from inranker.storage import Store
from inranker.units import Receipt, Unit, commit, put_object, read_receipt, total_counts


def commit_labels(store: Store, unit: Unit, job: str, labels: pa.Table, unusable: pa.Table) -> None:
    """Make a unit done: its labels, its quarantine if any, and the receipt of the job of this fingerprint.

    Raises:
        ValueError: labels and quarantine do not add up to the unit.
    """
    data = put_object(store, "data", unit, labels.num_rows, to_parquet(labels), ".parquet")
    quarantine = None
    if unusable.num_rows:
        quarantine = put_object(store, "quarantine", unit, unusable.num_rows, to_parquet(unusable), ".parquet")
    commit(store, unit, Receipt(unit.name, job, unit.rows, data, quarantine))


def complete_labels(
    store: Store, identity: dict[str, Any], units: list[Unit], inputs: dict[str, Any], figures: dict[str, Any]
) -> Manifest:
    """Write the manifest of labels whose units all have a receipt.

    Raises:
        UserError: a receipt is missing or damaged.
    """
    receipts = [read_receipt(store, unit.name) for unit in units]
    counts = total_counts(receipts)
    return write_manifest(
        store,
        Manifest(
            stage="label",
            fingerprint=fingerprint(identity),
            identity=identity,
            inputs=inputs,
            shards=[receipt.data for receipt in receipts],
            counts={"pairs": counts["rows"], "labelled": counts["done"], "quarantined": counts["quarantined"]},
            figures=figures,
        ),
    )
