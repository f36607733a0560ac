"""A real, complete BEIR set and T5's own vocabulary: the published BM25 figures, and the whole pipeline once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def run_stage(repository: Path, script: str, words: list[str], folder: Path) -> dict[str, object]:
    """Run a stage script with --json and return its summary."""
    command = [sys.executable, str(repository / "pipelines" / script), *words, "--json", str(folder / "summary.json")]
    environment = {**os.environ, "RAY_ADDRESS": ""}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-4000:]
    return json.loads((folder / "summary.json").read_text())


def test_bm25_reaches_the_published_scifact_figures(repository: Path, shared_dir: Path, tmp_path: Path) -> None:
    """Published: nDCG@10 0.6789, R@100 0.9253 (Anserini, flat index, k1 0.9, b 0.4)."""
    words = ["--collection", f"beir:{shared_dir}/collections/scifact", "--split", "test"]
    summary = run_stage(repository, "evaluate.py", [*words, "--systems", "bm25", "--depth", "1000"], tmp_path)
    figures = summary["systems"]["bm25"]
    assert 0.675 <= figures["nDCG@10"] <= 0.682
    assert figures["R@100"] >= 0.92


@pytest.mark.slow  # the same pipeline runs over a small collection in test_distill.py
def test_distill_runs_through_scifact_with_t5s_vocabulary(repository: Path, shared_dir: Path, tmp_path: Path) -> None:
    words = [
        str(repository / "pipelines" / "recipes" / "scifact-smoke.yaml"),
        *("--collection", f"beir:{shared_dir}/collections/scifact"),
        *("--tokenizer", str(shared_dir / "tokenizers" / "t5")),
        *("--output", str(tmp_path / "out")),
    ]
    summary = run_stage(repository, "distill.py", words, tmp_path)
    assert 0.675 <= summary["bm25"]["nDCG@10"] <= 0.682
    for name in ("teacher", "student_before", "student"):
        assert 0 < summary[name]["nDCG@10"] < 1
    assert summary["fidelity"]["mse"] < summary["fidelity"]["mse_before"]
