"""Check every claim that a synthesis output makes: receipt, object, sha256, row count, alignment with its sample."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from inranker.errors import UserError
from inranker.jobs.verify import check_same, check_units
from inranker.manifest import read_identity, read_manifest, verify_shards
from inranker.storage import Store
from inranker.synthesis.config import SynthesizeConfig
from inranker.synthesis.sampling import sample_store
from inranker.units import Receipt, Unit, plan_units


def verify(config: SynthesizeConfig) -> dict[str, Any]:
    """Re-read everything a synthesis job wrote and list all that is not as its receipts say.

    Returns:
        `problems` (one sentence each), counts, and `failed` when there is a problem.
    """
    store, source = Store(config.output), sample_store(config.output)
    claim, sample = read_identity(store), read_manifest(source)
    units = plan_units(sample.shards, claim["unit_rows"])
    found = check_units(store, source, units, claim["fingerprint"], "generated", _check_rows)
    problems = [*found.problems, *_check_manifest(store, found.receipts)]
    if sample.identity.get("job") != claim["fingerprint"]:
        problems.append(f"the sample at {source.url} is of another job")
    return {
        "stage": "verify",
        "output": config.output,
        "units": len(units),
        "checked": found.checked,
        "prompts": sum(shard.rows for shard in sample.shards),
        "generated": sum(receipt.data.rows for receipt in found.receipts),
        "quarantined": sum(receipt.quarantine.rows for receipt in found.receipts if receipt.quarantine),
        "problems": problems,
        "failed": bool(problems),
    }


def _check_rows(unit: Unit, sample: pa.Table, queries: pa.Table) -> list[str]:
    problems = check_same(unit, sample, queries, ("passage_id", "passage", "prompt", "sample"), "sample's")
    if pc.any(pc.equal(pc.utf8_length(queries["query"]), 0)).as_py():
        problems.append(f"unit {unit.name}: a query is empty")
    return problems


def _check_manifest(store: Store, receipts: list[Receipt]) -> list[str]:
    try:
        manifest = read_manifest(store)
        verify_shards(store, manifest)
    except UserError as error:
        return [str(error)]
    problems = []
    if [shard["name"] for shard in manifest.figures["generations"]] != [receipt.data.name for receipt in receipts]:
        problems.append("the manifest names other generations than the receipts")
    if manifest.counts["prompts"] != manifest.counts["generated"] + manifest.counts["quarantined"]:
        problems.append(f"the manifest's counts do not add up: {manifest.counts}")
    return problems
