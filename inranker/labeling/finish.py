"""The end of a label job: its manifest, its summary, and why it may count as failed."""

from typing import Any

from inranker.crashpoints import crash_point
from inranker.fingerprint import fingerprint
from inranker.jobs.resume import all_receipts, too_many_quarantined
from inranker.labeling.config import LabelConfig
from inranker.labeling.job import LABEL
from inranker.labeling.read import pairs_location
from inranker.labeling.reuse import indexed_sources
from inranker.manifest import Manifest, write_manifest
from inranker.storage import Store
from inranker.units import Unit, total_counts

# Largest |difference of a logit| that another batch layout explains: sums in another order, far below it in float32;
# bfloat16 keeps 8 bits, so each of many steps may round a logit of 8 by 0.03.
AUDIT_THRESHOLDS = {"float32": 1e-3, "bfloat16": 0.5}


def complete(
    config: LabelConfig,
    store: Store,
    identity: dict[str, Any],
    units: list[Unit],
    pairs_hash: str,
    seconds: float,
    audit: dict[str, Any] | None,
) -> Manifest:
    """Write the manifest of a job whose units are all done.

    Raises:
        RuntimeError: a unit has no receipt.
    """
    receipts = all_receipts(store, units, fingerprint(identity))
    counts = total_counts(receipts)
    figures = {
        "tokens": sum(receipt.figures["tokens"] for receipt in receipts),
        "scoring_seconds": round(sum(receipt.figures["seconds"] for receipt in receipts), 3),
        "duplicates": sum(receipt.figures.get("duplicates", 0) for receipt in receipts),
        "reused": sum(receipt.figures.get("reused", 0) for receipt in receipts),
        "last_start_seconds": round(seconds, 3),
        "audit": audit,
    }
    earlier = indexed_sources(store)
    crash_point("before-manifest")
    manifest = write_manifest(
        store,
        Manifest(
            stage="label",
            fingerprint=fingerprint(identity),
            identity=identity,
            inputs={
                "pairs": {**pairs_location(config.output, config.identity.pairs), "content_hash": pairs_hash},
                "teacher": {"path": config.identity.teacher, "scorer": fingerprint(identity["scorer"])},
                **({"reuse": {"labels": earlier}} if earlier else {}),
            },
            shards=[receipt.data for receipt in receipts],
            counts={"pairs": counts["rows"], "labelled": counts["done"], "quarantined": counts["quarantined"]},
            figures=figures,
        ),
    )
    crash_point("after-manifest")
    return manifest


def summarize(config: LabelConfig, manifest: Manifest, skipped: bool) -> dict[str, Any]:
    """What a label job reports."""
    counts, reasons = manifest.counts, failures(config, manifest)
    seconds = manifest.figures["scoring_seconds"]
    scored = counts["labelled"] - manifest.figures.get("duplicates", 0) - manifest.figures.get("reused", 0)
    return {
        "stage": "label",
        "output": config.output,
        "fingerprint": manifest.fingerprint,
        "skipped": skipped,
        **counts,
        "tokens": manifest.figures["tokens"],
        "duplicates": manifest.figures.get("duplicates", 0),
        "reused": manifest.figures.get("reused", 0),
        "pairs_per_scoring_second": round(scored / seconds, 1) if seconds else None,
        "audit": manifest.figures.get("audit"),
        "failed": bool(reasons),
        "reasons": reasons,
    }


def failures(config: LabelConfig, manifest: Manifest) -> list[str]:
    """Why a job whose units are all done still counts as failed; one sentence each."""
    counts, execution = manifest.counts, config.execution
    reasons = too_many_quarantined(LABEL, counts["quarantined"], counts["pairs"], execution.max_quarantined)
    audit = manifest.figures.get("audit")
    threshold = execution.audit_threshold
    if threshold is None:
        threshold = AUDIT_THRESHOLDS[config.identity.precision]
    if audit and audit["max_logit_difference"] > threshold:
        reasons.append(
            f"the audit scored {audit['pairs']} pairs again and a logit of {audit['worst']} differs by "
            f"{audit['max_logit_difference']:.4g}, more than --audit_threshold {threshold:g}; trust neither hardware "
            "nor labels, and label them anew"
        )
    return reasons
