"""SIGKILL in the middle of a label job, the same command again: the labels of an undisturbed run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from inranker.labeling.read import read_labels
from inranker.storage import Store
from inranker.units import finished_units
from tests.builders import make_pairs, make_t5, make_tokenizer, pair_rows

UNITS = 60
PATIENCE_SECONDS = 120


def command(repository: Path, folder: Path, output: str) -> list[str]:
    return [
        sys.executable,
        str(repository / "pipelines" / "label.py"),
        *("--pairs", str(folder / "pairs"), "--teacher", str(folder / "teacher"), "--output", str(folder / output)),
        *("--unit_rows", "20", "--threads", "1", "--progress", "false", "--json", str(folder / f"{output}.json")),
    ]


def kill_when(process: subprocess.Popen[bytes], store: Store, receipts: int) -> int:
    """SIGKILL the driver once that many receipts are there; returns how many were."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if (done := len(finished_units(store))) >= receipts:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return done
        time.sleep(0.01)
    pytest.fail(f"the job ended (exit code {process.poll()}) before it could be killed")


def test_label_resume_after_sigkill_gives_the_undisturbed_labels(repository: Path, tmp_path: Path) -> None:
    make_pairs(tmp_path / "pairs", pair_rows(20 * UNITS), shard_rows=500)
    make_t5(tmp_path / "teacher", make_tokenizer(tmp_path / "tokenizer"))
    environment = {**os.environ, "RAY_ADDRESS": ""}
    subprocess.run(command(repository, tmp_path, "undisturbed"), check=True, env=environment, capture_output=True)

    store = Store(str(tmp_path / "killed"))
    process = subprocess.Popen(
        command(repository, tmp_path, "killed"),
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    done = kill_when(process, store, UNITS // 4)
    assert 0 < done < UNITS
    assert not store.exists("manifest.json")

    again = subprocess.run(command(repository, tmp_path, "killed"), env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    expected, found = read_labels(str(tmp_path / "undisturbed")), read_labels(str(tmp_path / "killed"))
    for name in ("shard", "row", "query_id", "passage_id"):
        assert found[name] == expected[name]
    np.testing.assert_allclose(found["true_logit"], expected["true_logit"], atol=1e-6)
    np.testing.assert_allclose(found["false_logit"], expected["false_logit"], atol=1e-6)
