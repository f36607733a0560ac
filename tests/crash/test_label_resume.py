"""SIGKILL of the driver in the middle of a label job, the same command again: the labels of an undisturbed run.

Its workers die on their own, seconds later, and may still finish units meanwhile.
"""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from inranker.labeling.config import LabelConfig, LabelExecution, LabelIdentity
from inranker.labeling.factory import label
from inranker.labeling.read import read_labels
from inranker.storage import Store
from inranker.units import finished_units
from tests.builders import make_pairs, pair_rows

UNITS, UNIT_ROWS = 30, 40
PATIENCE_SECONDS = 120


def job(pairs: Path, teacher: Path, output: Path) -> LabelConfig:
    execution = LabelExecution(unit_rows=UNIT_ROWS, threads=1, progress=False, audit_share=0.0, write_report=False)
    return LabelConfig(LabelIdentity(str(pairs), str(teacher)), str(output), execution)


def command(repository: Path, config: LabelConfig) -> list[str]:
    return [
        *(sys.executable, str(repository / "pipelines" / "label.py"), "--output", config.output),
        *("--pairs", config.identity.pairs, "--teacher", config.identity.teacher),
        *("--unit_rows", str(UNIT_ROWS), "--threads", "1", "--progress", "false"),
        *("--audit_share", "0", "--write_report", "false"),
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


def test_label_resume_after_sigkill_gives_the_undisturbed_labels(
    ray_session: None, repository: Path, teacher: Path, tmp_path: Path
) -> None:
    pairs = make_pairs(tmp_path / "pairs", pair_rows(UNIT_ROWS * UNITS), shard_rows=400)
    label(job(pairs, teacher, tmp_path / "undisturbed"))

    killed = job(pairs, teacher, tmp_path / "killed")
    store = Store(killed.output)
    process = subprocess.Popen(command(repository, killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    done = kill_when(process, store, UNITS // 5)
    assert 0 < done < UNITS
    assert not store.exists("manifest.json")
    before = {name: store.read(f"receipts/{name}.json") for name in finished_units(store)}

    again = subprocess.run(command(repository, killed), capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert all(store.read(f"receipts/{name}.json") == receipt for name, receipt in before.items())
    expected, found = read_labels(str(tmp_path / "undisturbed")), read_labels(killed.output)
    for name in ("shard", "row", "query_id", "passage_id"):
        assert found[name] == expected[name]
    np.testing.assert_allclose(found["true_logit"], expected["true_logit"], atol=1e-6)
    np.testing.assert_allclose(found["false_logit"], expected["false_logit"], atol=1e-6)
