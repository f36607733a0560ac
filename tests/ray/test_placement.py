"""Actors and training processes run on the nodes that a custom resource marks, and on no others."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import ray
from ray.cluster_utils import Cluster

from inranker.labeling.config import LabelExecution, LabelIdentity
from inranker.labeling.factory import LabelConfig, Stages, label
from inranker.labeling.scorer import PairScorer
from inranker.training.config import TrainConfig, TrainExecution, TrainIdentity
from inranker.training.loop import make_job, resources

MARK = "label"


class MarkedScorer(PairScorer):
    """Scores, and says where it is by refusing to be anywhere else."""

    def __call__(self, work: pa.Table) -> pa.Table:
        here = ray.get_runtime_context().get_node_id()
        (node,) = [node for node in ray.nodes() if node["NodeID"] == here]
        if MARK not in node["Resources"]:
            raise RuntimeError(f"scoring on a node without {MARK}: {node['Resources']}")
        return super().__call__(work)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Two nodes that could do the work, the second of them marked."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=2, resources={MARK: 1})
        cluster.wait_for_nodes()
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.slow
def test_scoring_and_the_audit_stay_on_marked_nodes(
    cluster: Cluster, pairs: Path, teacher: Path, tmp_path: Path
) -> None:
    execution = LabelExecution(
        actors=2, threads=1, unit_rows=50, progress=False, write_report=False, audit_share=0, node_resource=MARK
    )
    config = LabelConfig(LabelIdentity(str(pairs), str(teacher)), str(tmp_path / "labels"), execution)
    assert label(config, Stages(score=MarkedScorer))["labelled"] == 300
    audited = replace(config, output=str(tmp_path / "audited"), execution=replace(execution, audit_share=0.1))
    assert label(audited)["audit"]["pairs"] > 0


@pytest.mark.slow
def test_training_asks_for_marked_nodes(cluster: Cluster, pairs: Path, teacher: Path, tmp_path: Path) -> None:
    from inranker.training.custody import find_source
    from inranker.training.loop import train

    identity = TrainIdentity(start=str(teacher), pairs=str(pairs), loss="ce", steps=2, batch_size=4)
    execution = TrainExecution(progress=False, write_report=False, trackers=[], threads=1, node_resource=MARK)
    config = TrainConfig(identity, str(tmp_path / "student"), execution)
    ray.init(address=cluster.address)
    assert resources(make_job(config, find_source(identity), None)) == {"CPU": 1, MARK: 0.001}
    assert train(config)["steps"] == 2
