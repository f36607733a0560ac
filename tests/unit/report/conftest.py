"""A finished label job whose texts attack the page that shows them."""

import pytest

from inranker.labeling.config import LabelConfig, LabelIdentity
from inranker.labeling.rows import from_parquet, quarantine_table, to_parquet
from inranker.manifest import read_manifest, read_shard, to_json
from inranker.storage import Store
from inranker.units import Receipt, plan_units, put_object, receipt_name
from tests.builders import make_pairs, pair_rows
from tests.unit.report.pages import ATTACK
from tests.unit.training.labels import make_labels


@pytest.fixture(scope="session")
def job(tmp_path_factory: pytest.TempPathFactory) -> LabelConfig:
    """Two hundred labelled pairs with receipts a second apart; five pairs are quarantined; texts attack the page."""
    folder = tmp_path_factory.mktemp("report")
    rows = pair_rows(200)
    for row in rows:
        row["passage"] = f"{row['passage']} {ATTACK}"
        row["query"] = f"{row['query']} {ATTACK}"
    pairs = make_pairs(folder / "pairs", rows, shard_rows=80)
    labels = make_labels(folder / "labels", pairs, quarantined=5)
    store = Store(str(labels))
    shards = read_manifest(store).shards
    for number, unit in enumerate(plan_units(read_manifest(str(pairs)).shards, 1000)):
        ids = from_parquet(read_shard(store, shards[number])).select(["row", "query_id", "passage_id"])
        lost = unit.rows - shards[number].rows
        stored = quarantine_table(ids.slice(0, lost), ["logits are not finite"] * lost)
        quarantine = put_object(store, "quarantine", unit, lost, to_parquet(stored), ".parquet") if lost else None
        figures = {"tokens": 1000, "seconds": 0.5, "finished_at": 1e9 + number}
        receipt = Receipt(unit.name, "f", unit.rows, shards[number], quarantine, figures)
        store.write(receipt_name(unit.name), to_json(receipt))
    return LabelConfig(LabelIdentity(str(pairs), "t"), str(labels))
