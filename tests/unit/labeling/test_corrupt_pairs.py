"""A pairs shard that is what its manifest says and still no table of pairs is refused by name."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from inranker.errors import UserError
from inranker.fingerprint import sha256_bytes
from inranker.labeling.rows import read_unit, to_parquet
from inranker.manifest import Shard
from inranker.storage import Store
from inranker.units import Unit
from tests.builders import PAIR_SCHEMA, pair_rows

ROWS = 40


def table() -> pa.Table:
    return pa.Table.from_pylist(pair_rows(ROWS), PAIR_SCHEMA)


CORRUPTIONS: dict[str, tuple[Callable[[], bytes], str]] = {
    "garbage": (lambda: b"not Parquet at all" * 100, "cannot be read"),
    "empty": (lambda: b"", "cannot be read"),
    "half": (lambda: to_parquet(table())[:2000], "cannot be read"),
    "damaged-footer": (lambda: to_parquet(table())[:-40] + b"\xff" * 32 + to_parquet(table())[-8:], "cannot be read"),
    "no-passages": (lambda: to_parquet(table().drop_columns(["passage"])), "has no column passage"),
    "too-few-rows": (lambda: to_parquet(table().slice(0, 10)), f"has 10 rows, not {ROWS}"),
    "numbers-for-text": (
        lambda: to_parquet(table().set_column(2, "query", pa.array(range(ROWS)))),
        "query is int64, not text",
    ),
}


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_a_corrupt_shard_is_named(corruption: str, tmp_path: Path) -> None:
    make, sentence = CORRUPTIONS[corruption]
    store, data = Store(str(tmp_path)), make()
    store.write("pairs-00000.parquet", data)
    unit = Unit(0, Shard("pairs-00000.parquet", ROWS, sha256_bytes(data)), 0, ROWS)
    with pytest.raises(UserError, match=rf"pairs-00000\.parquet:? {sentence}"):
        read_unit(store, unit)
