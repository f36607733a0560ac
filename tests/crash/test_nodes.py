"""A worker node dies in the middle of a job: its units in flight are scored again elsewhere, and nothing else."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from ray.cluster_utils import Cluster

from inranker.labeling.read import read_labels
from inranker.labeling.verify import verify
from inranker.storage import Store
from inranker.units import finished_units
from tests.builders import make_pairs, pair_rows
from tests.s3_server import S3Server
from tests.unit.labeling.inprocess import label_here, label_job

UNITS, UNIT_ROWS = 30, 20
PATIENCE_SECONDS = 240
# By default Ray takes a minute to call a silent node dead.
SOON_MISSED = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 3000,
    "health_check_failure_threshold": 5,
}


@pytest.fixture
def cluster(s3_server: S3Server) -> Iterator[Cluster]:
    """A head that does no work and two nodes that do it; S3 is what they share."""
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": SOON_MISSED}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=3)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()


def scoring_processes(raylet: psutil.Process) -> list[psutil.Process]:
    """Actors of a node that score."""
    return [child for child in raylet.children(recursive=True) if "PairScorer" in " ".join(child.cmdline())]


@pytest.mark.slow
def test_a_worker_node_is_killed_and_the_job_finishes(
    cluster: Cluster, repository: Path, s3_url: str, teacher: Path, tmp_path: Path
) -> None:
    pairs = make_pairs(tmp_path / "pairs", pair_rows(UNITS * UNIT_ROWS), shard_rows=200)
    undisturbed = label_job(pairs, teacher, tmp_path / "undisturbed")
    label_here(undisturbed)
    config = label_job(pairs, teacher, s3_url, unit_rows=UNIT_ROWS)
    command = [
        *(sys.executable, str(repository / "pipelines" / "label.py"), "--output", s3_url),
        *("--pairs", str(pairs), "--teacher", str(teacher), "--unit_rows", str(UNIT_ROWS)),
        *("--actors", "2", "--threads", "1", "--progress", "false"),
    ]
    store = Store(s3_url)
    with open(tmp_path / "log", "wb") as log:
        driver = subprocess.Popen(command, env={**os.environ, "RAY_ADDRESS": cluster.address}, stdout=log, stderr=log)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(finished_units(store)) < 3:
        assert driver.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()[-3000:]
        time.sleep(0.05)
    # The node with more of the work goes, its raylet and its workers alike, as when its machine loses power.
    raylets = [psutil.Process(node.all_processes["raylet"][0].process.pid) for node in cluster.worker_nodes]
    raylet = max(raylets, key=lambda raylet: len(scoring_processes(raylet)))
    assert scoring_processes(raylet), "no actor was placed on a worker node"
    done = len(finished_units(store))
    for process in [raylet, *raylet.children(recursive=True)]:
        process.kill()
    assert done < UNITS
    assert driver.wait(PATIENCE_SECONDS) == 0, (tmp_path / "log").read_text()[-3000:]
    expected, found = read_labels(undisturbed.output), read_labels(s3_url)
    for name in ("shard", "row", "query_id", "passage_id"):
        assert found[name] == expected[name]
    for name in ("false_logit", "true_logit"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)
    assert verify(config)["problems"] == []
