"""Training on a real Ray: two workers with ZeRO-2, and jobs that die and go on as if they had not."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from safetensors.numpy import load_file

from inranker.errors import UserError
from inranker.manifest import read_manifest
from inranker.rerankers import load_contract, load_reranker
from inranker.training.agreement import AGREEMENT, correlation
from inranker.training.checkpoint import STATE
from inranker.training.config import Dev, TrainConfig, TrainExecution, TrainIdentity
from inranker.training.dev import DEV_SCORE
from inranker.training.loop import CHECKPOINTS, STOPPED_BY_SIGNAL, train
from tests.builders import make_t5, pair_rows
from tests.unit.training.labels import make_collection, make_labels

STEPS = 60
# The others run under `make test-all`.
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 10))]
PATIENCE_SECONDS = 240


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("training")


@pytest.fixture(scope="module")
def identity(folder: Path, pairs: Path, tokenizer: Path) -> TrainIdentity:
    """Dropout stays on (the model's 0.1): it too must not depend on who computes a pair, or when."""
    start = make_t5(folder / "start", tokenizer, seed=5)
    labels = make_labels(folder / "labels", pairs, scale=0.01)
    return TrainIdentity(start=str(start), labels=str(labels), steps=STEPS, batch_size=16, learning_rate=1e-3, seed=11)


def execution(folder: Path, **fields: object) -> TrainExecution:
    chosen = {"log_every": 1, "checkpoint_every": 10, "threads": 1, "progress": False, "cache": str(folder / "cache")}
    return TrainExecution(**{**chosen, **fields})


def losses(output: Path) -> list[float]:
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    return [line["loss"] for line in lines]


def weights(output: Path) -> dict[str, np.ndarray]:
    return load_file(output / "student" / "model.safetensors")


def assert_same_student(left: Path, right: Path, atol: float) -> None:
    mine, theirs = weights(left), weights(right)
    assert mine.keys() == theirs.keys()
    for name, weight in mine.items():
        np.testing.assert_allclose(weight, theirs[name], atol=atol, err_msg=name)


@pytest.fixture(scope="module")
def undisturbed(folder: Path, identity: TrainIdentity, ray_session: None) -> Path:
    """One worker that computes each batch in the two pieces that two workers would."""
    output = folder / "undisturbed"
    summary = train(TrainConfig(identity, str(output), execution(folder, gradient_accumulation=2)))
    assert summary["steps"] == STEPS and not summary["skipped"]
    assert summary["correlation"] == correlation(json.loads((output / AGREEMENT).read_text()))
    assert "Student and teacher" in Path(summary["report"]).read_text()
    assert "student/README.md" in [shard.name for shard in read_manifest(str(output)).shards]
    return output


def test_the_student_learns_and_its_manifest_leads_back(
    undisturbed: Path, identity: TrainIdentity, folder: Path
) -> None:
    curve = losses(undisturbed)
    assert np.mean(curve[-10:]) < 0.7 * np.mean(curve[:10])
    manifest = read_manifest(str(undisturbed))
    assert manifest.inputs["labels"]["content_hash"] == read_manifest(identity.labels or "").content_hash
    assert manifest.inputs["pairs"]["content_hash"]
    student = load_reranker(undisturbed / "student")
    assert student.contract.score == "margin" and student.contract.template == load_contract(identity.start).template
    rows = pair_rows(20)
    score = student.score([row["query"] for row in rows], [row["passage"] for row in rows])
    assert np.isfinite(score).all() and score.std() > 0


def test_a_finished_job_returns_at_once_and_another_one_is_refused(
    undisturbed: Path, identity: TrainIdentity, folder: Path
) -> None:
    started = time.perf_counter()
    summary = train(TrainConfig(identity, str(undisturbed), execution(folder, workers=2)))
    assert summary["skipped"] and time.perf_counter() - started < 10
    other = TrainIdentity(**{**vars(identity), "learning_rate": 2e-3})
    with pytest.raises(UserError, match="learning_rate"):
        train(TrainConfig(other, str(undisturbed), execution(folder)))


def test_zero_two_on_two_workers_gives_the_losses_of_one(
    undisturbed: Path, identity: TrainIdentity, folder: Path
) -> None:
    output = folder / "zero2"
    train(TrainConfig(identity, str(output), execution(folder, workers=2, zero_stage=2)))
    np.testing.assert_allclose(losses(output), losses(undisturbed), rtol=1e-5, atol=1e-5)
    assert_same_student(output, undisturbed, 1e-4)


def test_checkpoints_of_the_best_score_are_kept_beside_the_newest(
    identity: TrainIdentity, folder: Path, ray_session: None, tmp_path: Path
) -> None:
    dev = Dev(make_collection(tmp_path / "collection"), "dev", queries=9, depth=4, every=2)
    output = tmp_path / "out"
    chosen = execution(folder, checkpoint_every=2, keep_checkpoints=2, keep_checkpoints_by="score")
    train(TrainConfig(replace(identity, steps=10, learning_rate=1e-2, dev=dev), str(output), chosen))
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    score = {line["step"]: line[DEV_SCORE] for line in lines if DEV_SCORE in line}
    assert list(score) == [2, 4, 6, 8, 10] and len(set(score.values())) > 1, score
    kept = {json.loads(file.read_text())["step"] for file in (output / CHECKPOINTS).rglob(STATE)}
    assert 10 in kept and len(kept) <= 3
    lost = score.keys() - kept
    assert max(score[step] for step in lost) <= min(score[step] for step in kept - {10})


def last_step(output: Path) -> int:
    file = output / "metrics.jsonl"
    return len(file.read_text().splitlines()) if file.exists() else 0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_SECONDS} s for {what}"
        time.sleep(0.02)


def kill_step(seed: int) -> int:
    """The update after which something is killed."""
    return random.Random(seed).randrange(5, STEPS - 10)


@pytest.mark.parametrize("seed", SEEDS)
def test_resume_after_a_worker_is_killed_ends_in_the_same_weights(
    seed: int, folder: Path, identity: TrainIdentity, undisturbed: Path
) -> None:
    output, killed = folder / f"worker-killed-{seed}", []

    def kill_one() -> None:
        wait_until(lambda: last_step(output) >= kill_step(seed), f"step {kill_step(seed)}")
        workers = [
            process
            for process in psutil.Process().children(recursive=True)
            if "RayTrainWorker" in " ".join(process.cmdline())
        ]
        workers[0].kill()
        killed.append(workers[0].pid)

    killer = threading.Thread(target=kill_one)
    killer.start()
    train(TrainConfig(identity, str(output), execution(folder, gradient_accumulation=2)))
    killer.join()
    assert len(killed) == 1
    losses(output)
    assert_same_student(output, undisturbed, 1e-6)


def start_driver(folder: Path, output: Path, identity: TrainIdentity) -> subprocess.Popen[str]:
    """The stage's own script, with a Ray of its own, told relative paths."""
    relative = {name: os.path.relpath(getattr(identity, name), folder) for name in ("start", "labels")}
    chosen = execution(Path(), gradient_accumulation=2)
    recipe = folder / f"{output.name}.yaml"
    recipe.write_text(yaml.safe_dump({"identity": asdict(identity) | relative, "execution": asdict(chosen)}))
    repository = Path(__file__).resolve().parents[2]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return subprocess.Popen(
        [sys.executable, str(repository / "pipelines" / "train.py"), recipe.name, "--output", output.name],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment | {"PYTHONPATH": str(repository)},
        cwd=folder,
    )


def works(process: psutil.Process) -> bool:
    """Whether a process still runs; a node's agents, which touch no job, take a minute to notice its end."""
    try:
        return "Agent" not in process.name() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def assert_resumes(output: Path, folder: Path, identity: TrainIdentity, undisturbed: Path) -> None:
    """The job goes on, in another Ray, to the weights that it would have had."""
    assert not (output / "manifest.json").exists()
    summary = train(TrainConfig(identity, str(output), execution(folder, gradient_accumulation=2)))
    assert summary["steps"] == STEPS
    losses(output)
    assert_same_student(output, undisturbed, 1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_resume_after_the_driver_is_killed_ends_in_the_same_weights(
    seed: int, folder: Path, identity: TrainIdentity, undisturbed: Path
) -> None:
    output = folder / f"driver-killed-{seed}"
    driver = start_driver(folder, output, identity)
    wait_until(lambda: last_step(output) >= kill_step(seed), f"step {kill_step(seed)}")
    processes = psutil.Process(driver.pid).children(recursive=True)
    driver.kill()
    driver.communicate(timeout=PATIENCE_SECONDS)
    wait_until(lambda: not any(map(works, processes)), "Ray to end with its driver")
    assert_resumes(output, folder, identity, undisturbed)


@pytest.mark.slow
def test_resume_after_sigterm_ends_in_the_same_weights(
    folder: Path, identity: TrainIdentity, undisturbed: Path
) -> None:
    output = folder / "told-to-stop"
    driver = start_driver(folder, output, identity)
    wait_until(lambda: last_step(output) >= 9, "step 9")
    driver.send_signal(signal.SIGTERM)
    _, said = driver.communicate(timeout=PATIENCE_SECONDS)
    assert driver.returncode == STOPPED_BY_SIGNAL, said
    assert "the same command goes on from there" in said
    kept = (output / "checkpoints").glob("checkpoint_*/state.json")
    step = max(json.loads(file.read_text())["step"] for file in kept)
    assert 9 < step < STEPS and step == last_step(output)
    assert_resumes(output, folder, identity, undisturbed)


@pytest.mark.slow  # the worker's own part is in unit/training/test_settings.py
def test_collapse_stops_the_job_with_a_sentence(folder: Path, identity: TrainIdentity, ray_session: None) -> None:
    wild = TrainIdentity(**{**vars(identity), "learning_rate": 1e30, "clip": 0.0})
    with pytest.raises(UserError, match=r"training has collapsed; lower learning_rate"):
        train(TrainConfig(wild, str(folder / "collapsed"), execution(folder)))
