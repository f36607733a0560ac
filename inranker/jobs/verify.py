"""Check every claim that the units of an output make: receipt, object, sha256, row count, fingerprint."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from inranker.errors import UserError
from inranker.jobs.rows import from_parquet
from inranker.manifest import read_shard
from inranker.storage import Store
from inranker.units import RECEIPTS, Receipt, Unit, finished_units, read_receipt

CheckRows = Callable[[Unit, pa.Table, pa.Table], list[str]]
"""(unit, its rows of the input, its data) -> what is wrong with the data."""


@dataclass(frozen=True)
class Checked:
    """What was found.

    Attributes:
        problems: one sentence each.
        checked: units that have a receipt.
        receipts: those that could be read.
    """

    problems: list[str]
    checked: int
    receipts: list[Receipt]


def check_units(
    store: Store, source: Store, units: Sequence[Unit], fingerprint: str, done: str, check_rows: CheckRows
) -> Checked:
    """Re-read what the units of a job wrote.

    Args:
        store: the output.
        source: holds the units' input shards.
        units: all units of the job.
        fingerprint: of the job.
        done: what became of the rows that were not quarantined, for people: "labelled".
        check_rows: looks into the data itself.
    """
    finished = finished_units(store)
    problems = [f"unit {unit.name} has no receipt" for unit in units if unit.name not in finished]
    problems += [f"{RECEIPTS}/{name}.json is of no unit" for name in sorted(finished - {unit.name for unit in units})]
    checked = [unit for unit in units if unit.name in finished]
    receipts = []
    for unit in checked:
        found, receipt = _check_unit(store, source, unit, fingerprint, done, check_rows)
        problems += found
        receipts += [receipt] if receipt else []
    return Checked(problems, len(checked), receipts)


def _check_unit(
    store: Store, source: Store, unit: Unit, fingerprint: str, done: str, check_rows: CheckRows
) -> tuple[list[str], Receipt | None]:
    try:
        receipt = read_receipt(store, unit.name)
        data = from_parquet(read_shard(store, receipt.data))
        quarantine = from_parquet(read_shard(store, receipt.quarantine)) if receipt.quarantine else None
        rows_in = from_parquet(read_shard(source, unit.shard)).slice(unit.start, unit.rows)
    except (UserError, OSError, ValueError) as error:
        return [str(error)], None
    problems = []
    if receipt.fingerprint != fingerprint:
        problems.append(f"unit {unit.name}: its receipt is of another job")
    rows = data["row"].to_numpy()
    held = np.sort(np.concatenate([rows, quarantine["row"].to_numpy()])) if quarantine else rows
    if data.num_rows != receipt.data.rows or not np.array_equal(held, np.arange(unit.start, unit.stop)):
        problems.append(f"unit {unit.name}: {done} and quarantined rows are not rows {unit.start} to {unit.stop}")
        return problems, receipt
    return problems + check_rows(unit, rows_in, data), receipt


def check_same(unit: Unit, rows_in: pa.Table, data: pa.Table, columns: Sequence[str], owner: str) -> list[str]:
    """Whether columns that were carried over from the input are still the input's."""
    places = data["row"].to_numpy() - unit.start
    return [
        f"unit {unit.name}: {name} differs from the {owner}"
        for name in columns
        if rows_in[name].take(places).combine_chunks() != data[name].combine_chunks()
    ]
