"""BM25 on the real collections against figures that others published or measured."""

import json
from pathlib import Path

import pytest

from tests.benchmarks.bm25 import SETS, figures

KNOWN = ["cranfield", "cacm", "cisi", "vaswani", "covidqa", "faquad_pt", "pira_pt"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scifact", *KNOWN])
def test_bm25s_and_lucene_have_the_figures_of_the_collection(shared_dir: Path, tmp_path: Path, name: str) -> None:
    pytest.importorskip("pyserini", reason="the extra 'lucene' is not installed")
    row = figures(shared_dir / "collections", name, str(tmp_path))
    measured = json.loads((shared_dir / "reference" / "bm25_reference_numbers.json").read_text())["measured_here_bm25"]
    expected = next(entry for entry in measured if (entry["name"], entry["split"]) == (name, SETS[name][0]))
    for stage in ("bm25s", "lucene"):
        if name == "scifact":
            assert row[stage]["nDCG@10"] == pytest.approx(0.6789, abs=0.003)
            assert row[stage]["R@100"] == pytest.approx(0.9253, abs=0.003)
        else:
            assert row[stage]["nDCG@10"] == pytest.approx(expected["ndcg_cut_10"], abs=0.01)
            assert row[stage]["R@100"] == pytest.approx(expected["recall_100"], abs=0.01)
    assert row["lucene"]["nDCG@10"] == pytest.approx(row["bm25s"]["nDCG@10"], abs=0.005)
