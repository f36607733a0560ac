"""The benchmark of a GPU's memory, as far as a machine without one can take it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.benchmarks.memory import STARTS, planned_gb, settings


def test_settings_are_those_of_the_recipe_and_fit_one_card_of_80_gb() -> None:
    execution = settings()
    assert (execution.zero_stage, execution.offload, execution.gradient_accumulation) == (2, "cpu", 16)
    assert execution.activation_checkpointing
    assert planned_gb(STARTS["small"], execution) < planned_gb(STARTS["3b"], execution) < 80


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU it measures")
def test_without_a_gpu_it_says_that_nothing_was_measured(tmp_path: Path, repository: Path) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.memory", "--json", str(tmp_path / "found.json")]
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=repository, timeout=300)
    assert "memory: not measured, this run had no GPU" in found.stdout
    figures = json.loads((tmp_path / "found.json").read_text())["figures"]
    assert figures["planned_gb"] > 0 and figures["measured_gb"] is None and "measured_over_planned" not in figures
