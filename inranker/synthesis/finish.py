"""The end of a synthesis job: its query set, its manifest, its summary, and why it may count as failed."""

from typing import Any

from inranker.corpora import Collection
from inranker.crashpoints import crash_point
from inranker.fingerprint import fingerprint
from inranker.jobs.resume import all_receipts, too_many_quarantined
from inranker.jobs.rows import from_parquet
from inranker.manifest import Manifest, read_shard, write_manifest
from inranker.storage import Store
from inranker.synthesis.collect import collect
from inranker.synthesis.config import SynthesizeConfig
from inranker.synthesis.job import SYNTHESIZE
from inranker.synthesis.links import SHOWN, collection_link
from inranker.synthesis.prompts import Book
from inranker.units import Unit, total_counts


def complete(
    config: SynthesizeConfig,
    store: Store,
    identity: dict[str, Any],
    collection: Collection,
    book: Book,
    sample: Manifest,
    units: list[Unit],
    seconds: float,
) -> Manifest:
    """Write the query set and the manifest of a job whose units are all done.

    Raises:
        RuntimeError: a unit has no receipt.
        UserError: there is no query at all, or a filter lacks what it needs.
    """
    receipts = all_receipts(store, units, fingerprint(identity))
    tables = (from_parquet(read_shard(store, receipt.data)) for receipt in receipts)
    collected = collect(config, store, tables, collection)
    counts = total_counts(receipts)
    figures = {
        name: round(sum(receipt.figures[name] for receipt in receipts), 6)
        for name in ("tokens", "generated_tokens", "spent")
    }
    figures |= {
        "generating_seconds": round(sum(receipt.figures["seconds"] for receipt in receipts), 3),
        "last_start_seconds": round(seconds, 3),
        "generations": [receipt.data for receipt in receipts],
        **collected.figures,
    }
    crash_point("before-manifest")
    manifest = write_manifest(
        store,
        Manifest(
            stage=SYNTHESIZE.stage,
            fingerprint=fingerprint(identity),
            identity=identity,
            inputs=_inputs(config, identity, collection, book),
            shards=[collected.shard],
            counts={
                **sample.counts,
                "prompts": counts["rows"],
                "quarantined": counts["quarantined"],
                **collected.counts,
            },
            figures=figures,
        ),
    )
    crash_point("after-manifest")
    return manifest


def _inputs(
    config: SynthesizeConfig, identity: dict[str, Any], collection: Collection, book: Book
) -> dict[str, dict[str, Any]]:
    chosen = config.identity
    inputs: dict[str, dict[str, Any]] = {
        "collection": collection_link(chosen.collection, collection, chosen.fix_text),
        "model": {"path": chosen.model, "content_hash": fingerprint(identity["model"])},
    }
    if book.pool:
        shown = {example.query_id: example.query for example in book.pool}
        inputs[SHOWN] = {
            "name": collection.name,
            "split": chosen.examples_split,
            "content_hash": identity["shown"],
            "query_ids": sorted(shown),
            "texts": [shown[query_id] for query_id in sorted(shown)],
        }
    return inputs


def summarize(config: SynthesizeConfig, manifest: Manifest, skipped: bool) -> dict[str, Any]:
    """What a synthesis job reports."""
    counts, figures = manifest.counts, manifest.figures
    share = config.execution.max_quarantined
    reasons = too_many_quarantined(SYNTHESIZE, counts["quarantined"], counts["prompts"], share)
    seconds = figures["generating_seconds"]
    return {
        "stage": SYNTHESIZE.stage,
        "output": config.output,
        "fingerprint": manifest.fingerprint,
        "skipped": skipped,
        **counts,
        "tokens": figures["tokens"],
        "generated_tokens": figures["generated_tokens"],
        "spent": figures["spent"],
        "prompts_per_generating_second": round(counts["prompts"] / seconds, 3) if seconds else None,
        "filters": figures.get("filters", []),
        "failed": bool(reasons),
        "reasons": reasons,
    }
