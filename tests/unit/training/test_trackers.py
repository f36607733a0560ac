"""Trackers that no service runs for here: what they are told. TensorBoard's files are read in test_worker.

mlflow is no dependency of the project, so a stand-in takes its place: it notes calls, and hands out run ids as the real
one does.
"""

import sys
from types import SimpleNamespace

import pytest

from inranker.training.trackers import MLFLOW_RUN, open_trackers


@pytest.fixture
def calls(monkeypatch):
    """What mlflow was asked for, in order."""
    made = []

    def start_run(**given):
        made.append(("start_run", given))
        return SimpleNamespace(info=SimpleNamespace(run_id=given.get("run_id", "run-1")))

    fake = SimpleNamespace(
        start_run=start_run,
        log_params=lambda given: made.append(("log_params", given)),
        log_metrics=lambda given, step: made.append(("log_metrics", given, step)),
        end_run=lambda: made.append(("end_run",)),
    )
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    return made


def test_later_starts_write_to_the_mlflow_run_of_the_first(calls, tmp_path):
    output = str(tmp_path / "student")
    for step in (0, 5):
        (tracker,) = open_trackers(["mlflow"], output, step, {"loss": "mse"})
        tracker.write({"step": step + 1, "loss": 0.5, "note": "not drawn", "delta": float("nan")})
        tracker.close()
    assert calls == [
        ("start_run", {"run_name": "student"}),
        ("log_params", {"loss": "mse"}),
        ("log_metrics", {"loss": 0.5}, 1),
        ("end_run",),
        ("start_run", {"run_id": "run-1"}),
        ("log_metrics", {"loss": 0.5}, 6),
        ("end_run",),
    ]
    assert "run-1" in (tmp_path / "student" / MLFLOW_RUN).read_text()
