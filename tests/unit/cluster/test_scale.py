"""Scale on paper: the tables shown are the script's, and the script's requests are those that a job makes."""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from inranker.fingerprint import fingerprint
from inranker.jobs.resume import all_receipts, units_to_do
from inranker.labeling.job import job_identity, read_pairs
from inranker.storage import Store
from tests.unit.labeling.inprocess import label_here, label_job

CLUSTER = Path(__file__).resolve().parents[3] / "cluster"


@pytest.fixture(scope="module")
def scale() -> Iterator[ModuleType]:
    sys.path.insert(0, str(CLUSTER))
    import scale

    yield scale
    sys.path.remove(str(CLUSTER))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Requests by kind: every object that is written, read or listed, wherever it lies."""
    counts: Counter[str] = Counter()

    def count(method: str, kind: str) -> None:
        original = getattr(Store, method)

        def wrapped(self: Store, *arguments: Any) -> Any:
            if self.url.startswith("memory://"):
                counts[f"{kind} {str(arguments[0]).partition('/')[0]}"] += 1
            return original(self, *arguments)

        monkeypatch.setattr(Store, method, wrapped)

    for method, kind in (("write", "PUT"), ("put_if_absent", "PUT"), ("read", "GET"), ("list", "LIST")):
        count(method, kind)
    return counts


@pytest.mark.parametrize("unit_rows", [60, 25])
def test_a_unit_is_two_puts_and_its_receipt_is_read_once(
    scale: ModuleType, counted: Counter[str], pairs: Path, teacher: Path, unit_rows: int
) -> None:
    config = label_job(pairs, teacher, f"memory://scale-{unit_rows}", unit_rows=unit_rows)
    label_here(config)
    manifest = read_pairs(config)
    identity = job_identity(config, manifest)
    done = counted.copy()
    work = units_to_do(Store(config.output), manifest.shards, True, "scored")
    all_receipts(Store(config.output), work.units, fingerprint(identity))
    completing = counted - done
    assert work.pending == []
    units = len(work.units)
    # One identity and one manifest beside the units.
    puts = sum(number for name, number in done.items() if name.startswith("PUT"))
    assert puts == 2 * units + 2 == scale.requests(units, len(manifest.shards), 0.0)["PUT"]
    assert done["PUT data"] == done["PUT receipts"] == units
    assert completing["GET receipts"] == units
    assert completing["LIST receipts"] == 2


def test_the_readme_shows_the_label_table_of_the_script(scale: ModuleType) -> None:
    shown = scale.in_readme((CLUSTER / "README.md").read_text())
    assert shown.startswith(scale.label_table() + "\n\n"), "run python cluster/scale.py --write"
    assert shown.endswith("\n\n" + scale.constants_table())


@pytest.mark.slow
def test_the_readme_shows_all_tables_of_the_script(scale: ModuleType) -> None:
    shown = scale.in_readme((CLUSTER / "README.md").read_text())
    assert shown == scale.report(), "run python cluster/scale.py --write"


def test_constants_name_benchmarks_that_exist(scale: ModuleType, repository: Path) -> None:
    for constant in scale.CONSTANTS.values():
        assert (repository / f"{constant.source.replace('.', '/')}.py").exists()


def test_hours_are_shared_by_gpus_and_dollars_are_not(scale: ModuleType) -> None:
    one, eight = scale.label_job(1), scale.label_job(8)
    assert one["hours"] == pytest.approx(8 * eight["hours"], rel=0.01)
    assert one["cost"] == pytest.approx(eight["cost"], rel=0.01)
    slower = scale.label_job(1, peak_tflops=312.0)
    assert slower["hours"] == pytest.approx(one["hours"] * 989 / 312, rel=0.01)
