"""Where a job over units starts, and when it is whole: claims, receipts, and nothing else decides."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inranker.errors import UserError
from inranker.fingerprint import fingerprint, plain
from inranker.jobs.kind import JobKind
from inranker.manifest import IDENTITY, Shard, read_identity, require_same_identity
from inranker.storage import Store
from inranker.units import Receipt, Unit, finished_units, plan_units, read_receipts


@dataclass(frozen=True)
class UnitsToDo:
    """All units of a job, and those that have no receipt yet."""

    units: list[Unit]
    pending: list[Unit]


def units_to_do(store: Store, shards: Sequence[Shard], done: bool, again: str) -> UnitsToDo:
    """The units of a claimed output, as its first start fixed them; one listing of receipts says what is left.

    Args:
        store: the output.
        shards: the input.
        done: whether the output has a manifest.
        again: what happens to units without a receipt, for people.

    Raises:
        UserError: there is a manifest, and yet a unit has no receipt.
    """
    units = plan_units(shards, read_identity(store)["unit_rows"])
    finished = finished_units(store)
    pending = [unit for unit in units if unit.name not in finished]
    if done and pending:
        raise UserError(
            f"{store.url} has a manifest and yet no receipt of {len(pending)} of {len(units)} units (first: "
            f"{pending[0].name}): receipts were removed; remove manifest.json too, and they are {again} again"
        )
    return UnitsToDo(units, pending)


def expected_units(store: Store, kind: JobKind, identity: Any, shards: Sequence[Shard], unit_rows: int) -> list[Unit]:
    """The job's units before it is started: as fixed at its first start, or as it would fix them now.

    Raises:
        UserError: the output belongs to another job.
    """
    if store.exists(IDENTITY):
        require_same_identity(
            store, {"stage": kind.stage, "fingerprint": fingerprint(identity), "identity": plain(identity)}
        )
        unit_rows = read_identity(store)["unit_rows"]
    return plan_units(shards, unit_rows)


def all_receipts(store: Store, units: Sequence[Unit], job_fingerprint: str) -> list[Receipt]:
    """The receipts of a job that is to be completed, in the order of its units.

    Raises:
        RuntimeError: a unit has no receipt.
        UserError: a receipt is damaged or of another job.
    """
    finished = finished_units(store)
    missing = [unit.name for unit in units if unit.name not in finished]
    if missing:
        raise RuntimeError(f"{len(missing)} of {len(units)} units have no receipt (first: {missing[0]}); run it again")
    receipts = read_receipts(store, [unit.name for unit in units])
    for receipt in receipts:
        if receipt.fingerprint != job_fingerprint:
            raise UserError(f"the receipt of unit {receipt.unit} is of another job; use an output directory of its own")
    return receipts


def unit_rows_for(total: int, actors: int, largest: int, smallest: int, units_per_actor: int) -> int:
    """Units big enough to keep an actor busy for a while, small enough that none stands idle at the end."""
    return max(smallest, min(largest, -(-total // (actors * units_per_actor))))


def too_many_quarantined(kind: JobKind, quarantined: int, total: int, share: float) -> list[str]:
    """The sentence that fails a job of too many quarantined rows; none where they are few enough."""
    if quarantined <= share * total:
        return []
    return [
        f"{quarantined} of {total} {kind.items} are quarantined, more than the share of "
        f"{share:g} that --max_quarantined allows; the files under quarantine/ say why"
    ]
