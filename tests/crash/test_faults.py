"""Faults beside sudden death at a commit step: poison pairs, a full disk, racing jobs, a server that goes away."""

import ctypes
import errno
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from inranker.errors import UserError
from inranker.labeling.factory import Stages, label
from inranker.labeling.read import read_labels
from inranker.labeling.scorer import PairScorer, PairTokenizer
from inranker.labeling.verify import verify
from inranker.manifest import read_manifest
from inranker.storage import Store
from inranker.units import finished_units, unit_from_json
from tests.builders import make_pairs, make_t5, pair_rows
from tests.s3_server import S3Server
from tests.unit.labeling import inprocess
from tests.unit.labeling.inprocess import label_here, label_job

POISON = "000001-000000000-000000040"  # the name of the unit that the tests below make deadly
PATIENCE_SECONDS = 120


def poisoned(stage: type, end: Callable[[], object]) -> type:
    """A stage that ends its process whenever it meets the unit `POISON`."""

    class Poisoned(stage):  # type: ignore[misc]
        def __call__(self, work: pa.Table) -> pa.Table:
            unit = unit_from_json(work["unit"][0].as_py())
            if unit.name == POISON:
                if isinstance(self, PairScorer):  # tasks are counted by what calls them
                    with self.turns.of(unit.name):
                        end()
                end()
            return super().__call__(work)

    return Poisoned


def segfault() -> None:
    """Read address 0, as a broken kernel might."""
    ctypes.string_at(0)


def be_killed() -> None:
    """What the kernel does to a process when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def assert_same_labels(output: str, undisturbed: str) -> None:
    """Every row once, with the same logits."""
    expected, found = read_labels(undisturbed), read_labels(output)
    for name in ("shard", "row", "query_id", "passage_id"):
        assert found[name] == expected[name]
    for name in ("false_logit", "true_logit"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, pairs: Path, teacher: Path) -> str:
    output = str(tmp_path_factory.mktemp("undisturbed") / "out")
    label_here(label_job(pairs, teacher, output))
    return output


@pytest.mark.slow
@pytest.mark.parametrize(
    "stages",
    [
        pytest.param(Stages(score=poisoned(PairScorer, segfault)), id="segfault-in-scorer"),
        pytest.param(Stages(tokenise=poisoned(PairTokenizer, be_killed)), id="killed-in-tokenizer"),
    ],
)
def test_a_unit_that_always_ends_its_process_ends_the_job_by_name(
    stages: Stages, ray_session: None, teacher: Path, tmp_path: Path
) -> None:
    config = label_job(
        make_pairs(tmp_path / "pairs", pair_rows(80), shard_rows=40), teacher, tmp_path / "out", unit_rows=40
    )
    with pytest.raises(UserError, match=f"unit {POISON} ended its process 4 times"):
        label(config, stages)
    store = Store(config.output)
    assert not store.exists("manifest.json") and POISON not in finished_units(store)
    # Without the poison the same command goes on.
    assert label(config)["labelled"] == 80


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_ends_the_job_and_space_lets_it_go_on(
    small_disk: Path, pairs: Path, teacher: Path, undisturbed: str
) -> None:
    config = label_job(pairs, teacher, small_disk / "out")
    filler = small_disk / "filler"
    with open(filler, "wb", buffering=0) as file, pytest.raises(OSError) as full:
        while True:
            file.write(b"\0" * 4096)
    assert full.value.errno == errno.ENOSPC
    os.truncate(filler, filler.stat().st_size - 10 * 4096)  # enough for a unit or two
    with pytest.raises(UserError, match="no space left"):
        label_here(config)
    store = Store(config.output)
    done = finished_units(store)
    assert 0 < len(done) < 8
    # What is there is whole: a receipt names data, and half an object has no name.
    problems = verify(config)["problems"]
    assert all("has no receipt" in problem or "manifest" in problem for problem in problems), problems
    filler.unlink()
    label_here(config)
    assert done < finished_units(store)
    assert_same_labels(config.output, undisturbed)
    assert verify(config)["problems"] == []


@pytest.fixture
def loading_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let threads load models one after the other: transformers loads through a state that threads share."""
    lock = threading.Lock()

    def load(*arguments: Any) -> PairScorer:
        with lock:
            return PairScorer(*arguments)

    monkeypatch.setattr(inprocess, "PairScorer", load)


def race(*jobs: Callable[[], Any]) -> list["Future[Any]"]:
    """Start all at one instant; their outcomes, in order."""
    start = threading.Barrier(len(jobs))

    def run(job: Callable[[], Any]) -> Any:
        start.wait()
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return [pool.submit(run, job) for job in jobs]


@pytest.fixture(params=["local", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh place on disk and on S3."""
    return str(tmp_path / "out") if request.param == "local" else str(request.getfixturevalue("s3_url"))


def test_two_racing_jobs_of_one_identity_label_everything_once(
    loading_in_turn: None, output: str, pairs: Path, teacher: Path, undisturbed: str
) -> None:
    configs = [label_job(pairs, teacher, output, actors=actors) for actors in (1, 2)]
    outcomes = race(*(lambda config=config: label_here(config) for config in configs))
    assert [outcome.exception() for outcome in outcomes] == [None, None]
    assert_same_labels(output, undisturbed)
    assert verify(configs[0])["problems"] == []
    # The loser of each unit has taken its data away again.
    assert Store(output).list("data") == [shard.name for shard in read_manifest(output).shards]


def test_of_two_racing_jobs_of_different_identity_one_is_refused(
    loading_in_turn: None, output: str, pairs: Path, teacher: Path, tokenizer: Path, tmp_path: Path
) -> None:
    stranger = make_t5(tmp_path / "stranger", tokenizer, seed=2)
    configs = [label_job(pairs, each, output) for each in (teacher, stranger)]
    outcomes = race(*(lambda config=config: label_here(config) for config in configs))
    errors = [outcome.exception() for outcome in outcomes]
    (loser,) = (number for number, error in enumerate(errors) if error)
    assert isinstance(errors[loser], UserError) and "weights" in str(errors[loser])
    assert verify(configs[1 - loser])["problems"] == []


@pytest.mark.slow
def test_two_racing_jobs_on_ray_label_everything_once(
    ray_session: None, pairs: Path, teacher: Path, tmp_path: Path, undisturbed: str
) -> None:
    config = label_job(pairs, teacher, tmp_path / "out", unit_rows=20)
    outcomes = race(lambda: label(config), lambda: label(config))
    assert [outcome.exception() for outcome in outcomes] == [None, None]
    assert_same_labels(config.output, undisturbed)
    assert verify(config)["problems"] == []


@pytest.mark.slow
def test_the_s3_server_is_killed_in_the_middle_of_a_job_and_comes_back(
    ray_session: None, s3_server: S3Server, s3_url: str, pairs: Path, teacher: Path, undisturbed: str
) -> None:
    config = label_job(pairs, teacher, s3_url, unit_rows=10)
    store = Store(s3_url)
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(label, config)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (done := len(finished_units(store))) < 3:
            assert time.monotonic() < deadline and not job.done(), "the job ended before the server could be killed"
            time.sleep(0.02)
        s3_server.kill()
        try:
            time.sleep(3)
            assert done < 30 and not job.done()
        finally:
            s3_server.start()
        assert job.result()["labelled"] == 300
    assert_same_labels(s3_url, undisturbed)
    assert verify(config)["problems"] == []
