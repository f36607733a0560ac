"""The preemption drill, short: jobs that lose processes and nodes make what undisturbed ones make, or it fails."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.drill import DrillConfig, compare, summarize
from cluster.killer import Kill, Killer
from cluster.local import LocalCluster
from inranker.rerankers.create import T5Shape
from tests.builders import make_pairs, make_t5, pair_rows
from tests.unit.labeling.inprocess import label_here, label_job

UNITS, UNIT_ROWS = 16, 100
# A unit takes long enough to be hit.
SHAPE = T5Shape(d_model=256, d_ff=1024, d_kv=32, num_heads=8, num_layers=4, num_decoder_layers=1)


@pytest.fixture(scope="module")
def big_teacher(tmp_path_factory: pytest.TempPathFactory, tokenizer: Path) -> Path:
    return make_t5(tmp_path_factory.mktemp("drill") / "teacher", tokenizer, seed=1, shape=SHAPE)


@pytest.fixture(scope="module")
def big_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pairs(tmp_path_factory.mktemp("drill") / "pairs", pair_rows(UNITS * UNIT_ROWS), shard_rows=400)


def run_drill(repository: Path, output: Path, *words: str) -> tuple[int, dict[str, object], str]:
    """The command that `make drill` gives; its exit code, its summary, what it said."""
    summary = output / "drill.json"
    command = [sys.executable, "-m", "cluster.drill", "--output", str(output), "--json", str(summary), *words]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert summary.exists(), done.stderr[-3000:]
    return done.returncode, json.loads(summary.read_text()), done.stdout + done.stderr


def test_drill_of_a_label_job_gives_the_undisturbed_labels(
    repository: Path, tmp_path: Path, big_pairs: Path, big_teacher: Path
) -> None:
    label_here(label_job(big_pairs, big_teacher, tmp_path / "undisturbed" / "labels", unit_rows=UNIT_ROWS))
    code, found, said = run_drill(
        *(repository, tmp_path, "--pairs", str(big_pairs), "--teacher", str(big_teacher)),
        *("--unit_rows", str(UNIT_ROWS), "--stages", "label", "--kinds", "worker", "node"),
        *("--minutes", "0.2", "--kill_every", "3", "--nodes", "2", "--seed", "3"),
    )
    assert code == 0 and not found["failed"], said[-3000:]
    kills = found["kills"]
    assert isinstance(kills, dict) and kills["worker"] + kills["node"] >= 1
    assert found["largest_difference"] == {"logits": pytest.approx(0, abs=1e-6)}
    assert "units scored again" in said


@pytest.mark.slow
def test_drill_of_label_and_train_gives_the_undisturbed_student(repository: Path, tmp_path: Path) -> None:
    code, found, said = run_drill(repository, tmp_path, "--minutes", "2", "--kill_every", "15", "--queries", "200")
    assert code == 0 and not found["failed"], said[-3000:]
    differences = found["largest_difference"]
    assert isinstance(differences, dict) and set(differences) == {"logits", "weights"}
    assert all(difference <= 1e-6 for difference in differences.values())


def test_drill_fails_when_labels_differ_or_nothing_was_killed(
    tmp_path: Path, pairs: Path, teacher: Path, big_teacher: Path
) -> None:
    for name, model in (("calm", teacher), ("same", teacher), ("other", big_teacher)):
        label_here(label_job(pairs, model, tmp_path / name / "labels"))
    config = DrillConfig(stages=["label"])
    same, other = (compare(config, tmp_path / "calm", tmp_path / name) for name in ("same", "other"))
    assert same == {"logits": 0.0} and other["logits"] > 1e-3
    killer = Killer(LocalCluster(), 0, 1.0, 1.0, ["worker"], 1)
    assert summarize(config, killer, [same], None, [1.0], 1.0)["reasons"] == [
        "nothing was killed; give it more minutes or a smaller --kill_every"
    ]
    killer.kills.append(Kill(1.0, "worker", "PairScorer on node-2", "round-1/label"))
    killer.cost(units_again=2)
    fine = summarize(config, killer, [same], None, [1.0], 1.0)
    assert not fine["failed"] and fine["units_again"] == 2 and "PairScorer on node-2" in fine["table"]
    assert (
        "logits differ from the undisturbed run's"
        in summarize(config, killer, [same, other], None, [1.0], 1.0)["reasons"][0]
    )
