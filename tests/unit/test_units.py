"""The commit protocol: a receipt is proof, the first one wins, and rows always add up."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inranker.errors import UserError
from inranker.manifest import Shard, read_shard
from inranker.storage import Store
from inranker.units import (
    Receipt,
    commit,
    finished_units,
    plan_units,
    put_object,
    read_receipt,
    total_counts,
    unit_from_json,
    unit_to_json,
)


@given(st.lists(st.integers(0, 50), max_size=6), st.integers(1, 20))
def test_units_cover_every_row_once_and_sort_by_name(rows: list[int], unit_rows: int) -> None:
    units = plan_units([Shard(f"s{i}", count, "") for i, count in enumerate(rows)], unit_rows)
    covered = [(unit.number, row) for unit in units for row in range(unit.start, unit.stop)]
    assert covered == [(i, row) for i, count in enumerate(rows) for row in range(count)]
    assert [unit.name for unit in units] == sorted(unit.name for unit in units)
    assert all(0 < unit.rows <= unit_rows for unit in units)
    assert [unit_from_json(unit_to_json(unit)) for unit in units] == units


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


UNIT = plan_units([Shard("s", 3, "")], 3)[0]


def test_the_first_receipt_wins_and_the_loser_leaves_nothing(store: Store) -> None:
    receipts = [
        Receipt(UNIT.name, "f", 3, put_object(store, "data", UNIT, 3, text, ".bin")) for text in (b"first", b"second")
    ]
    assert [commit(store, UNIT, receipt) for receipt in receipts] == [True, False]
    assert finished_units(store) == {UNIT.name}
    assert read_receipt(store, UNIT.name) == receipts[0]
    assert read_shard(store, receipts[0].data) == b"first"
    assert len(store.list("data")) == 1


def test_committing_again_by_the_same_worker_is_no_loss(store: Store) -> None:
    receipt = Receipt(UNIT.name, "f", 3, put_object(store, "data", UNIT, 3, b"x", ".bin"))
    assert commit(store, UNIT, receipt) and commit(store, UNIT, receipt)
    assert read_shard(store, receipt.data) == b"x"


def test_rows_that_do_not_add_up_are_not_committed(store: Store) -> None:
    with pytest.raises(ValueError, match="3 rows in, 2 done, 0 quarantined"):
        commit(store, UNIT, Receipt(UNIT.name, "f", 3, put_object(store, "data", UNIT, 2, b"x", ".bin")))
    assert finished_units(store) == set()


def test_quarantined_rows_count(store: Store) -> None:
    data = put_object(store, "data", UNIT, 2, b"x", ".bin")
    receipt = Receipt(UNIT.name, "f", 3, data, put_object(store, "quarantine", UNIT, 1, b"y", ".bin"))
    assert commit(store, UNIT, receipt)
    assert read_receipt(store, UNIT.name) == receipt
    assert total_counts([receipt]) == {"rows": 3, "done": 2, "quarantined": 1, "units": 1}


def test_changed_or_missing_data_is_found(store: Store) -> None:
    stored = put_object(store, "data", UNIT, 3, b"x", ".bin")
    store.write(stored.name, b"y")
    with pytest.raises(UserError, match="differs"):
        read_shard(store, stored)
    store.delete(stored.name)
    with pytest.raises(UserError, match="is missing"):
        read_shard(store, stored)


def test_a_damaged_receipt_is_named(store: Store) -> None:
    store.write(f"receipts/{UNIT.name}.json", b"{}")
    with pytest.raises(UserError, match="is no receipt"):
        read_receipt(store, UNIT.name)
    with pytest.raises(UserError, match="no receipt of unit other"):
        read_receipt(store, "other")
