"""The audit scores some labels again and finds the one that is wrong."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from inranker.labeling.audit import (
    AuditSettings,
    audit_units,
    audited_rows,
    compare_orders,
    effective_share,
    merge,
    share_out,
)
from inranker.manifest import Shard, read_manifest
from inranker.units import Unit, plan_units
from tests.unit.labeling.inprocess import change_labels, label_here, label_job


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory, pairs: Path, teacher: Path) -> tuple[AuditSettings, list[Unit]]:
    config = label_job(pairs, teacher, tmp_path_factory.mktemp("audited") / "out")
    label_here(config)
    units = plan_units(read_manifest(str(pairs)).shards, 50)
    place = ("job", str(pairs), config.output, str(teacher), "float32", "cpu", 1, None)
    return AuditSettings(*place, overrides=(), share=effective_share(0.001, 300), seed=3), units


def test_true_labels_pass(audited: tuple[AuditSettings, list[Unit]]) -> None:
    settings, units = audited
    findings = audit_units(settings, units)
    assert findings.pairs == sum(len(audited_rows(unit, settings.share, settings.seed)) for unit in units) >= 48
    assert findings.max_logit_difference < 1e-4
    assert findings.orders_compared > 50
    assert findings.rank_flips == 0
    parts = share_out(units, settings.share, settings.seed, 3)
    assert 1 < len(parts) <= 3
    apart = merge(audit_units(settings, part) for part in parts)
    assert (apart.pairs, apart.units, apart.orders_compared) == (
        findings.pairs,
        findings.units,
        findings.orders_compared,
    )


def test_a_wrong_label_is_found_and_named(audited: tuple[AuditSettings, list[Unit]]) -> None:
    settings, units = audited
    unit = next(unit for unit in units[3:] if audited_rows(unit, settings.share, settings.seed))
    row = audited_rows(unit, settings.share, settings.seed)[2]
    change_labels(Path(settings.output), unit, [row], by=50.0)
    try:
        findings = audit_units(settings, units)
    finally:
        change_labels(Path(settings.output), unit, [row], by=-50.0)
    assert findings.max_logit_difference == pytest.approx(50.0, abs=1e-3)
    assert findings.worst == f"unit {unit.name}, row {row}"
    assert findings.rank_flips > 0


def units_of(rows: int, count: int) -> Iterator[Unit]:
    return (Unit(number, Shard("p", rows, ""), 0, rows) for number in range(count))


@pytest.mark.parametrize(("rows", "count"), [(50, 4000), (8192, 60)])
def test_the_audited_rows_are_the_share_asked_for(rows: int, count: int) -> None:
    chosen = [audited_rows(unit, 0.004, 7) for unit in units_of(rows, count)]
    assert sum(map(len, chosen)) == pytest.approx(0.004 * rows * count, rel=0.15)
    assert chosen == [audited_rows(unit, 0.004, 7) for unit in units_of(rows, count)]
    assert chosen != [audited_rows(unit, 0.004, 8) for unit in units_of(rows, count)]
    assert all(part.start >= 0 and part.stop <= rows for part in chosen)
    assert len({part.start for part in chosen if part}) > 10


def test_small_jobs_are_audited_and_none_need_be() -> None:
    assert effective_share(0.001, 25_000_000) == 0.001
    assert effective_share(0.001, 640) == 0.1
    assert effective_share(0.001, 3) == 1.0
    assert effective_share(0.0, 3) == 0.0
    assert share_out(list(units_of(50, 3)), 0.0, 1, 2) == []
    assert audited_rows(Unit(0, Shard("p", 3, ""), 0, 3), 1.0, 0) == range(3)


def test_only_orders_within_a_query_count_and_ties_are_none() -> None:
    queries = np.array(["a", "a", "a", "b", "b"])
    first = np.array([3.0, 2.0, 2.0, 1.0, 0.0])
    assert compare_orders(queries, first, first) == (3, 0)
    assert compare_orders(queries, first, np.array([2.0, 3.0, 2.0, 1.0, 1.0])) == (3, 3)
