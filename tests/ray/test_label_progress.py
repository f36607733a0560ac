"""A running job's figures where people look for them: in its output, and at Ray's Prometheus endpoint."""

import json
import time
import urllib.request
from pathlib import Path

import pytest
import ray

from inranker.jobs.graph import RayGauges
from inranker.labeling.config import LabelConfig, LabelExecution, LabelIdentity
from inranker.labeling.factory import label
from inranker.labeling.job import LABEL
from inranker.labeling.verify import verify

pytestmark = pytest.mark.usefixtures("ray_session")
SCRAPE_SECONDS = 90


def test_a_finished_job_leaves_its_figures_and_still_verifies(pairs: Path, teacher: Path, tmp_path: Path) -> None:
    execution = LabelExecution(
        unit_rows=120, progress=False, threads=1, write_report=False, price_per_hour=3600.0, peak_tflops=1e-3
    )
    config = LabelConfig(LabelIdentity(str(pairs), str(teacher)), str(tmp_path / "out"), execution)
    label(config)
    found = json.loads((tmp_path / "out" / "progress.json").read_text())
    assert (found["state"], found["pairs_done"], found["units_done"], found["units"]) == ("done", 300, 3, 3)
    assert found["cost"] == pytest.approx(found["elapsed_seconds"], abs=0.2)  # one actor at one a second
    assert found["pairs_per_second"] > 0 and found["tokens_per_second"] > found["pairs_per_second"]
    assert 0 < found["share_of_peak"] < 1
    assert not verify(config)["failed"]
    assert label(config)["skipped"]


def test_prometheus_is_told() -> None:
    figures = {"pairs": 300, "pairs_done": 150, "units_done": 3, "quarantined": 1, "pairs_per_second": 12.5}
    figures |= {"tokens_per_second": 99.0, "share_of_peak": None, "eta_seconds": 12.0, "cost": 1.25}
    gauges = RayGauges(LABEL, "s3://bucket/labels-under-test")
    gauges.tell(figures)
    node = ray.nodes()[0]
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    deadline = time.monotonic() + SCRAPE_SECONDS
    served: dict[str, float] = {}
    while time.monotonic() < deadline and len(served) < len(figures) - 1:
        time.sleep(1)
        with urllib.request.urlopen(address, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        ours = [line for line in lines if "labels-under-test" in line]
        served = {line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in ours}
    assert served == {f"ray_inranker_label_{name}": value for name, value in figures.items() if value is not None}
