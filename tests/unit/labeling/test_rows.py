"""Units are read from their shards: each shard once, and what is wrong with it is said."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inranker.errors import UserError
from inranker.fingerprint import sha256_bytes
from inranker.labeling.rows import UnitReader, to_parquet
from inranker.manifest import Shard, read_manifest
from inranker.storage import Store
from inranker.units import Unit, plan_units


class CountingStore(Store):
    """Notes what is read."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.names: list[str] = []

    def read(self, name: str) -> bytes:
        self.names.append(name)
        return super().read(name)


def test_a_shard_is_read_once_for_its_units(pairs: Path) -> None:
    store = CountingStore(str(pairs))
    shards = read_manifest(store).shards
    store.names.clear()
    reader = UnitReader(store)
    tables = [reader(unit).pairs for unit in plan_units(shards, 50)]
    assert store.names == [shard.name for shard in shards]
    whole = pa.concat_tables([pq.read_table(pairs / shard.name) for shard in shards])
    assert pa.concat_tables(tables)["passage"].to_pylist() == whole["passage"].to_pylist()
    assert tables[1]["row"].to_pylist() == list(range(50, 100))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"no parquet", "cannot be read"),
        (to_parquet(pa.table({"query": ["a"], "passage": ["b"], "query_id": ["q"]})), "has no column passage_id"),
        (
            to_parquet(pa.table({name: ["a"] for name in ("query_id", "passage_id", "query", "passage")})),
            "has 1 rows, not 2",
        ),
    ],
)
def test_a_shard_that_is_not_as_promised_is_named(content: bytes, sentence: str, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write("pairs-00000.parquet", content)
    unit = Unit(0, Shard("pairs-00000.parquet", 2, sha256_bytes(content)), 0, 2)
    with pytest.raises(UserError, match=rf"pairs-00000\.parquet {sentence}"):
        UnitReader(store)(unit)
