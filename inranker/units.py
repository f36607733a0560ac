"""Units of work and the receipts that make them done: the commit protocol that labelling and synthesis share.

A unit is a row range of one input shard. Its data is written under a key that nobody else uses, then its receipt is
created with put-if-absent. The first receipt wins; readers follow receipts only, so a worker that dies anywhere
leaves either a finished unit or one to be done again, never half of one.
"""

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from inranker.crashpoints import crash_point
from inranker.errors import UserError
from inranker.fingerprint import plain, sha256_bytes
from inranker.manifest import Shard, to_json
from inranker.storage import Store

RECEIPTS = "receipts"


@dataclass(frozen=True)
class Unit:
    """Rows [start, stop) of input shard number `number`."""

    number: int
    shard: Shard
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Sorts as the rows do."""
        return f"{self.number:06d}-{self.start:09d}-{self.stop:09d}"

    @property
    def rows(self) -> int:
        """Number of input rows."""
        return self.stop - self.start


@dataclass(frozen=True)
class Receipt:
    """Proof that a unit is done; `data.rows` + `quarantine.rows` are the unit's rows."""

    unit: str
    fingerprint: str
    rows: int
    data: Shard
    quarantine: Shard | None = None
    figures: dict[str, Any] = field(default_factory=dict)


def plan_units(shards: Sequence[Shard], unit_rows: int) -> list[Unit]:
    """Cut input shards into units of at most `unit_rows` rows, in order."""
    return [
        Unit(number, shard, start, min(start + unit_rows, shard.rows))
        for number, shard in enumerate(shards)
        for start in range(0, shard.rows, unit_rows)
    ]


def finished_units(store: Store) -> set[str]:
    """Names of the units that have a receipt: one listing, no bodies read."""
    return {name.removeprefix(f"{RECEIPTS}/").removesuffix(".json") for name in store.list(RECEIPTS)}


def put_object(store: Store, folder: str, unit: Unit, rows: int, data: bytes, suffix: str) -> Shard:
    """Write a unit's data under a key of its own."""
    crash_point("before-data")
    name = f"{folder}/{unit.name}-{uuid.uuid4().hex[:12]}{suffix}"
    store.write(name, data)
    return Shard(name, rows, sha256_bytes(data))


def commit(store: Store, unit: Unit, receipt: Receipt) -> bool:
    """Create the receipt; True when ours stands. The objects of a receipt that lost are removed: nobody reads them.

    Raises:
        ValueError: rows in are not rows labelled plus rows quarantined.
    """
    quarantined = receipt.quarantine.rows if receipt.quarantine else 0
    if receipt.rows != unit.rows or receipt.data.rows + quarantined != unit.rows:
        raise ValueError(f"unit {unit.name}: {unit.rows} rows in, {receipt.data.rows} done, {quarantined} quarantined")
    crash_point("after-data")
    won = store.put_if_absent(receipt_name(unit.name), to_json(receipt))
    crash_point("after-receipt")
    if not won:
        for stored in (receipt.data, receipt.quarantine):
            if stored is not None:
                store.delete(stored.name)
    return won


def read_receipt(store: Store, unit_name: str) -> Receipt:
    """The receipt of a unit.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        return _parse_receipt(store, unit_name, store.read(receipt_name(unit_name)))
    except FileNotFoundError as error:
        raise UserError(
            f"{store.url} has no receipt of unit {unit_name}; run the stage again to complete it"
        ) from error


def read_receipts(store: Store, unit_names: Sequence[str]) -> list[Receipt]:
    """The receipts of many units, read side by side, in the order of the names; see `read_receipt`."""
    try:
        contents = store.read_many([receipt_name(name) for name in unit_names])
    except FileNotFoundError:
        return [read_receipt(store, name) for name in unit_names]  # says which
    return [_parse_receipt(store, name, data) for name, data in zip(unit_names, contents, strict=True)]


def _parse_receipt(store: Store, unit_name: str, data: bytes) -> Receipt:
    try:
        raw = json.loads(data)
        quarantine = Shard(**raw["quarantine"]) if raw["quarantine"] else None
        return Receipt(**{**raw, "data": Shard(**raw["data"]), "quarantine": quarantine})
    except (ValueError, TypeError, KeyError) as error:
        name = receipt_name(unit_name)
        raise UserError(f"{store.url}/{name} is no receipt ({error}); remove it and run the stage again") from error


def receipt_name(unit_name: str) -> str:
    """Where a unit's receipt lies."""
    return f"{RECEIPTS}/{unit_name}.json"


def total_counts(receipts: Iterable[Receipt]) -> dict[str, int]:
    """Rows in, done and quarantined over receipts."""
    counts = {"rows": 0, "done": 0, "quarantined": 0, "units": 0}
    for receipt in receipts:
        counts["rows"] += receipt.rows
        counts["done"] += receipt.data.rows
        counts["quarantined"] += receipt.quarantine.rows if receipt.quarantine else 0
        counts["units"] += 1
    return counts


def unit_to_json(unit: Unit) -> str:
    """A unit as it travels through a data pipeline."""
    return json.dumps(plain(unit))


def unit_from_json(text: str) -> Unit:
    """The unit that `unit_to_json` wrote."""
    raw = json.loads(text)
    return Unit(**{**raw, "shard": Shard(**raw["shard"])})
