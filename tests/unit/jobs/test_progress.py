"""The figures of a job that runs, against a clock that the test holds."""

import io
import json
import logging
from pathlib import Path

import pytest

from inranker.jobs import progress as module
from inranker.jobs.kind import JobKind
from inranker.jobs.progress import INTERVAL_SECONDS, PROGRESS, UnitProgress, to_store
from inranker.labeling.config import LabelExecution
from inranker.manifest import Shard
from inranker.storage import Store
from inranker.units import plan_units

KIND = JobKind("label", "pair")
UNITS = plan_units([Shard("a", 100, ""), Shard("b", 100, "")], 50)
UNIT = {"rows": 50, "quarantined": 1, "scored": 45, "tokens": 900, "squares": 20_000, "seconds": 4.0}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_speed_cost_and_share_of_peak_are_of_this_start(clock: list[float]) -> None:
    told: list[dict[str, object]] = []
    execution = LabelExecution(actors=2, price_per_hour=36.0, peak_tflops=1e-9, progress=False)
    with UnitProgress(KIND, UNITS, UNITS[1:], execution, lambda *counts: float(sum(counts)), [told.append]) as progress:
        clock[0] += 5
        progress.advance(UNIT)
    first, last = told
    assert (first["state"], first["pairs_done"], first["units_done"], first["eta_seconds"]) == ("running", 50, 1, None)
    assert (last["state"], last["pairs_done"], last["units_done"], last["quarantined"]) == ("done", 100, 2, 1)
    assert (last["pairs_per_second"], last["tokens_per_second"], last["eta_seconds"]) == (10.0, 180.0, 10.0)
    assert last["cost"] == pytest.approx(2 * 5 / 3600 * 36)
    assert last["share_of_peak"] == pytest.approx((45 + 900 + 20_000) / (2 * 5) / 1000, rel=1e-3)


def test_a_pool_that_has_grown_costs_its_busy_time(clock: list[float]) -> None:
    progress = UnitProgress(KIND, UNITS, UNITS, LabelExecution(price_per_hour=3600.0, progress=False), None)
    clock[0] += 1
    progress.advance(UNIT)
    assert progress.figures()["cost"] == 4.0
    assert progress.figures()["share_of_peak"] is None


def test_listeners_hear_at_intervals_and_of_the_end(clock: list[float]) -> None:
    told: list[dict[str, object]] = []
    with (
        pytest.raises(KeyError),
        UnitProgress(KIND, UNITS, UNITS, LabelExecution(progress=False), None, [told.append]) as progress,
    ):
        for _ in range(4):
            clock[0] += INTERVAL_SECONDS / 2
            progress.advance(UNIT)
        raise KeyError
    assert [figures["state"] for figures in told] == ["running", "running", "running", "stopped"]


def test_the_bar_says_what_it_costs(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    execution = LabelExecution(price_per_hour=3600.0, peak_tflops=1.0)
    with UnitProgress(KIND, UNITS, UNITS, execution, lambda *counts: 2e12, []) as progress:
        clock[0] += 4
        progress.advance(UNIT)
    assert "225 tokens/s, 50% of peak, cost 4.00, 1 quarantined" in screen.getvalue()


def test_progress_is_kept_in_the_output_and_a_full_disk_ends_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(str(tmp_path))
    write = to_store(store)
    write({"pairs": 1})
    write({"pairs": 2})
    assert json.loads(store.read(PROGRESS)) == {"pairs": 2}

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with caplog.at_level(logging.WARNING):
        write({"pairs": 3})
    assert "progress.json could not be written" in caplog.text
    assert store.list("") == [PROGRESS]
