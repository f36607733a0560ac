"""The crash-point sweep: die at each step of the commit protocol, on disk and on S3; nothing lost, nothing twice.

Twice for each point: the worker alone dies and the job finishes; driver and workers die and the same job, started
again, finishes. Points that only the driver passes have only the second.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from inranker.crashpoints import CRASH_FILE, CRASH_POINTS
from inranker.labeling.config import LabelConfig, LabelExecution, LabelIdentity
from inranker.labeling.factory import label
from inranker.labeling.read import read_labels
from inranker.labeling.verify import verify
from inranker.storage import Store
from tests.s3_server import S3Server

DRIVER_POINTS = ("after-identity", "before-manifest", "after-manifest")
WORKER_POINTS = tuple(point for point in CRASH_POINTS if point not in DRIVER_POINTS)
# The others run under `make test-all`.
ALWAYS = {("after-data", "local"), ("after-receipt", "s3")}
ALWAYS_ALL_DIE: set[tuple[str, str]] = set()  # test_label_resume.py kills a driver in every run
PATIENCE_SECONDS = 180
Places = Callable[[str], str]


def cases(points: tuple[str, ...], always: set[tuple[str, str]]) -> list[Any]:
    """Every point on every store; all but a few are marked slow."""
    return [
        pytest.param(point, store, marks=() if (point, store) in always else pytest.mark.slow)
        for point in points
        for store in ("local", "s3")
    ]


@pytest.fixture
def place(tmp_path: Path, s3_server: S3Server) -> Places:
    """A fresh output by the name of its store."""
    return lambda store: str(tmp_path / "out") if store == "local" else s3_server.make_prefix()


@pytest.fixture
def order() -> Iterator[Path]:
    """Where the crash points of this session look for orders; nothing is left for the next test."""
    path = Path(os.environ[CRASH_FILE])
    yield path
    for leftover in (path, fired(path)):
        leftover.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, ray_session: None, pairs: Path, teacher: Path) -> Path:
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    label(job(pairs, teacher, str(output)))
    return output


def fired(order: Path) -> Path:
    return order.with_name(f"{order.name}.fired")


def job(pairs: Path, teacher: Path, output: str) -> LabelConfig:
    execution = LabelExecution(unit_rows=50, threads=1, progress=False)
    return LabelConfig(LabelIdentity(str(pairs), str(teacher)), output, execution)


def assert_whole(config: LabelConfig, undisturbed: Path) -> None:
    """Every row once, with the logits of the undisturbed job; every receipt true."""
    expected, found = read_labels(str(undisturbed)), read_labels(config.output)
    for name in ("shard", "row", "query_id", "passage_id"):
        assert found[name] == expected[name]
    for name in ("false_logit", "true_logit"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)
    assert verify(config)["problems"] == []


@pytest.mark.parametrize(("point", "store"), cases(WORKER_POINTS, ALWAYS))
def test_a_worker_dies_and_the_job_finishes(
    point: str, store: str, place: Places, order: Path, pairs: Path, teacher: Path, undisturbed: Path
) -> None:
    config = job(pairs, teacher, place(store))
    order.write_text(point)
    label(config)
    assert fired(order).exists(), f"no process passed {point}"
    assert_whole(config, undisturbed)


@pytest.mark.parametrize(("point", "store"), cases(CRASH_POINTS, ALWAYS_ALL_DIE))
def test_all_processes_die_and_the_job_started_again_finishes(
    point: str,
    store: str,
    place: Places,
    order: Path,
    repository: Path,
    tmp_path: Path,
    pairs: Path,
    teacher: Path,
    undisturbed: Path,
) -> None:
    """The second start is in this session's Ray, to save a minute; `test_label_resume.py` gives the command twice."""
    config = job(pairs, teacher, place(store))
    command = [
        *(sys.executable, str(repository / "pipelines" / "label.py")),
        *("--pairs", str(pairs), "--teacher", str(teacher), "--output", config.output),
        *("--unit_rows", "50", "--threads", "1", "--progress", "false"),
    ]
    order.write_text(point)
    with open(tmp_path / "log", "wb") as log:
        driver = subprocess.Popen(command, stdout=log, stderr=log)
    kill_when_fired(driver, order, tmp_path / "log")
    assert label(config)["skipped"] == (point == "after-manifest")
    assert_whole(config, undisturbed)


def kill_when_fired(driver: "subprocess.Popen[bytes]", order: Path, log: Path) -> None:
    """SIGKILL the driver and everything it started, at the instant at which the crash point fired."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not fired(order).exists():
        if time.monotonic() > deadline or (driver.poll() is not None and not fired(order).exists()):
            pytest.fail(f"the crash point did not fire (exit code {driver.poll()}): {log.read_text()[-3000:]}")
        time.sleep(0.005)
    family = []
    if driver.poll() is None:
        process = psutil.Process(driver.pid)
        family = [process, *process.children(recursive=True)]
    for process in family:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue  # it was the one that the crash point ended
    driver.wait()


def test_a_job_on_s3_is_refused_nothing_and_hides_its_secret(
    s3_url: str, s3_server: S3Server, pairs: Path, teacher: Path, undisturbed: Path
) -> None:
    config = job(pairs, teacher, s3_url)
    label(config)
    assert_whole(config, undisturbed)
    store = Store(s3_url)
    secret = s3_server.environment["AWS_SECRET_ACCESS_KEY"].encode()
    assert not [name for name in store.list("") if secret in store.read(name)]
