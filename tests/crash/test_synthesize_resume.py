"""SIGKILL of a synthesis job at any step, the same command again: the queries of an undisturbed job, each once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inranker.crashpoints import CRASH_FILE, CRASH_POINTS
from inranker.storage import Store
from inranker.synthesis.config import SynthesizeConfig
from inranker.synthesis.factory import synthesize
from inranker.synthesis.verify import verify
from inranker.units import finished_units
from tests.crash.test_sweep import fired, kill_when_fired
from tests.synthesis import causal_model, queries_of, small_collection, synthesis_job

DRIVER_POINTS = ("after-identity", "before-manifest", "after-manifest")
POINTS = [point for point in CRASH_POINTS if point != "during-audit"]  # synthesis has no audit
WORKER_POINTS = [point for point in POINTS if point not in DRIVER_POINTS]
PASSAGES = 12


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_collection(tmp_path_factory.mktemp("collection"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tokenizer: Path) -> Path:
    return causal_model(tmp_path_factory.mktemp("causal"), tokenizer)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, ray_session: None, collection: Path, model: Path) -> Path:
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    synthesize(synthesis_job(collection, model, output, PASSAGES))
    return output


@pytest.fixture
def order() -> Iterator[Path]:
    """Where the crash points of this session look for orders; nothing is left for the next test."""
    path = Path(os.environ[CRASH_FILE])
    yield path
    for leftover in (path, fired(path)):
        leftover.unlink(missing_ok=True)


def command(repository: Path, config: SynthesizeConfig) -> list[str]:
    """The job as one starts it from the shell."""
    chosen = config.identity
    return [
        *(sys.executable, str(repository / "pipelines" / "synthesize.py"), "--output", config.output),
        *("--collection", chosen.collection, "--model", chosen.model, "--prompts", *chosen.prompts),
        *("--passages", str(chosen.passages), "--queries_per_passage", "2", "--examples", "2", "--passage_words", "20"),
        *("--decoding.temperature", "0.7", "--decoding.max_tokens", "12", "--transformers.dtype", "float32"),
        *("--unit_rows", str(config.execution.unit_rows), "--threads", "1", "--progress", "false"),
        *("--write_report", "false", "--max_quarantined", "1"),
    ]


def assert_whole(config: SynthesizeConfig, undisturbed: Path) -> None:
    """Every query of the undisturbed job, once; every receipt true."""
    assert queries_of(config.output) == queries_of(undisturbed)
    assert verify(config)["problems"] == []


@pytest.mark.parametrize(
    "point", [pytest.param(point, marks=() if point == "after-data" else pytest.mark.slow) for point in POINTS]
)
def test_synthesis_resumes_after_sigkill_of_driver_and_workers(
    point: str, order: Path, repository: Path, tmp_path: Path, collection: Path, model: Path, undisturbed: Path
) -> None:
    """The second start is in this session's Ray, to save half a minute."""
    config = synthesis_job(collection, model, tmp_path / "out", PASSAGES)
    order.write_text(point)
    with open(tmp_path / "log", "wb") as log:
        driver = subprocess.Popen(command(repository, config), stdout=log, stderr=log)
    kill_when_fired(driver, order, tmp_path / "log")
    store = Store(config.output)
    before = {name: store.read(f"receipts/{name}.json") for name in finished_units(store)}
    assert synthesize(config)["skipped"] == (point == "after-manifest")
    assert all(store.read(f"receipts/{name}.json") == receipt for name, receipt in before.items())
    assert_whole(config, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("point", WORKER_POINTS)
def test_a_worker_dies_and_the_synthesis_finishes(
    point: str, order: Path, tmp_path: Path, collection: Path, model: Path, undisturbed: Path
) -> None:
    config = synthesis_job(collection, model, tmp_path / "out", PASSAGES)
    order.write_text(point)
    synthesize(config)
    assert fired(order).exists(), f"no process passed {point}"
    assert_whole(config, undisturbed)


@pytest.mark.slow
def test_synthesis_resumes_by_the_same_command_after_sigkill_of_the_driver_alone(
    repository: Path, tmp_path: Path, collection: Path, model: Path, undisturbed: Path
) -> None:
    config = synthesis_job(collection, model, tmp_path / "out", PASSAGES)
    process = subprocess.Popen(command(repository, config), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not finished_units(Store(config.output)):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = subprocess.run(command(repository, config), capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert_whole(config, undisturbed)
