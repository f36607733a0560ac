"""A label job without Ray: its three stages as the plain functions that they are, one unit after the other."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from inranker.fingerprint import fingerprint, sha256_bytes
from inranker.labeling.config import LabelConfig, LabelExecution, LabelIdentity
from inranker.labeling.read import pairs_location
from inranker.labeling.rows import from_parquet, to_parquet
from inranker.labeling.scorer import LabelCommitter, PairScorer, PairTokenizer
from inranker.manifest import Manifest, claim_output, read_manifest, write_manifest
from inranker.rerankers import scorer_identity
from inranker.storage import Store
from inranker.units import Unit, plan_units, read_receipt, total_counts, unit_to_json


def label_job(pairs: Path, teacher: Path, output: Path | str, **execution: Any) -> LabelConfig:
    """The config of a small job."""
    chosen = {"unit_rows": 50, "progress": False, "threads": 1, **execution}
    return LabelConfig(LabelIdentity(str(pairs), str(teacher)), str(output), LabelExecution(**chosen))


def label_here(config: LabelConfig, *tokenizer_options: Any) -> dict[str, int]:
    """Label in this process.

    Returns:
        Pairs that were scored, and the receipts' `duplicates` and `reused`.
    """
    store, pairs = Store(config.output), read_manifest(config.identity.pairs)
    identity = {"scorer": scorer_identity(config.identity.teacher), "pairs": pairs.content_hash}
    claim_output(store, "label", identity, unit_rows=config.execution.unit_rows)
    job, teacher = fingerprint(identity), config.identity.teacher
    units = plan_units(pairs.shards, config.execution.unit_rows or 50)
    tokenise = PairTokenizer(config.identity.pairs, config.output, job, teacher, (), *tokenizer_options)
    score = PairScorer(teacher, "float32", "cpu", 1, None, lambda unit: 1, {})
    commit = LabelCommitter(config.output, job)
    counted = {"scored": 0, "duplicates": 0, "reused": 0}
    for unit in units:
        scored = score(tokenise(pa.table({"unit": [unit_to_json(unit)]})))
        counted["scored"] += len(scored["n_tokens"][0].as_buffer()) // 4
        committed = commit(scored)
        for name in ("duplicates", "reused"):
            counted[name] += committed[name][0].as_py()
    receipts = [read_receipt(store, unit.name) for unit in units]
    counts = total_counts(receipts)
    inputs = {"pairs": {**pairs_location(config.output, config.identity.pairs), "content_hash": pairs.content_hash}}
    shards = [receipt.data for receipt in receipts]
    totals = {"pairs": counts["rows"], "labelled": counts["done"], "quarantined": counts["quarantined"]}
    write_manifest(store, Manifest("label", job, identity, inputs, shards, totals))
    return counted


def change_labels(output: Path, unit: Unit, rows: list[int], by: float) -> None:
    """What a broken accelerator leaves: wrong logits under a true receipt."""
    receipt = output / "receipts" / f"{unit.name}.json"
    raw = json.loads(receipt.read_text())
    data = output / raw["data"]["name"]
    table = from_parquet(data.read_bytes())
    logits = table["true_logit"].to_numpy().copy()
    logits[np.isin(table["row"].to_numpy(), rows)] += by
    place = table.column_names.index("true_logit")
    changed = to_parquet(table.set_column(place, table.schema.field(place), pa.array(logits)))
    data.write_bytes(changed)
    raw["data"]["sha256"] = sha256_bytes(changed)
    receipt.write_text(json.dumps(raw))
