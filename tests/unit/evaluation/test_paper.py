"""The paper's tables as data, own figures beside them, and means over several evaluations."""

import json
from pathlib import Path

import pytest

from inranker.errors import UserError
from inranker.evaluation import paper
from inranker.evaluation.averages import AverageConfig, average
from inranker.manifest import Manifest, write_manifest
from inranker.storage import Store

TABLE_1 = [0.4125, 0.4356, 0.4807, 0.4638, 0.4870, 0.5008, 0.5174]


def evaluation(folder: Path, collection: str, depth: int = 1000, **systems: float) -> str:
    """An evaluation's output, as far as averaging reads it."""
    measured = {name.replace("_", "-"): {"nDCG@10": value} for name, value in systems.items()}
    store = Store(str(folder / collection.replace("/", "-")))
    summary = {"collection": collection, "depth": depth, "systems": measured}
    store.write("summary.json", json.dumps(summary).encode())
    write_manifest(store, Manifest("evaluate", "f", {}, {}, [], {}))
    return store.url


def test_the_means_of_table_6_are_those_of_table_1() -> None:
    names = [name for name in paper.systems() if name != "bm25"]
    assert [round(paper.average(name), 4) for name in names] == TABLE_1
    rows = [row for row in paper.read_table("averages") if row["table"] == "1"]
    assert [float(row["value"]) for row in rows][:7] == TABLE_1
    assert len(paper.figures_by_set()) == 16


def test_tables_that_share_a_figure_agree() -> None:
    columns = {"inranker_60m": "inranker-60m", "inranker_220m": "inranker-220m"}
    for row in paper.read_table("other_systems"):
        for theirs, ours in columns.items():
            if row["dataset"] != "average":
                assert float(row[theirs]) == paper.figures_by_set()[row["dataset"]][ours]


def test_own_figures_stand_beside_the_papers() -> None:
    measured = {"bm25": {"nDCG@10": 0.68}, "inranker-60m": {"nDCG@10": 0.75}, "mine": {"nDCG@10": 0.9}}
    found = paper.compare("paper", "beir/scifact", 1000, measured)
    assert [(row["system"], row["theirs"]) for row in found["rows"]] == [("bm25", 0.6789), ("inranker-60m", 0.7490)]
    assert found["rows"][1]["difference"] == pytest.approx(0.001)
    assert found["comparable"] and "+0.0010" in found["table"]
    shallow = paper.compare("paper", "beir/scifact", 100, measured)
    assert not shallow["comparable"] and "not comparable" in shallow["table"]


@pytest.mark.parametrize(
    ("reference", "collection", "name", "message"),
    [
        ("another", "beir/scifact", "bm25", "there is paper"),
        ("paper", "beir/cranfield", "bm25", "no figure of beir/cranfield; its sets are trec-covid"),
        ("paper", "beir/scifact", "mine", "one of bm25, monot5-60m"),
    ],
)
def test_what_the_paper_does_not_have_is_said(reference: str, collection: str, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        paper.require_reference(reference, collection, [name])


def test_means_over_sets_and_apart_by_domain(tmp_path: Path) -> None:
    outputs = [
        evaluation(tmp_path, "beir/scifact", bm25=0.6, mine=0.8),
        evaluation(tmp_path, "beir/fiqa", bm25=0.2, mine=0.3),
        evaluation(tmp_path, "beir/nq", bm25=0.4, mine=0.1, other=0.9),
    ]
    found = average(AverageConfig(outputs, in_domain=["scifact"]))
    assert found["averages"]["average"] == pytest.approx({"bm25": 0.4, "mine": 0.4})
    assert found["averages"]["in-domain"] == {"bm25": 0.6, "mine": 0.8}
    assert found["averages"]["out-of-domain"] == pytest.approx({"bm25": 0.3, "mine": 0.2})
    assert "other" not in found["table"] and "out-of-domain" in found["table"]


def test_table_4_by_sample_set_against_the_paper(tmp_path: Path) -> None:
    """The paper's own figures, averaged by its sample sets, are those of its Table 4."""
    outputs = []
    for name, values in paper.figures_by_set().items():
        outputs.append(evaluation(tmp_path, f"beir/{name}", **{"monot5_60m": values["monot5-60m"]}))
    for sample in (1, 2):
        found = average(AverageConfig(outputs, sample_set=sample, against="paper"))
        for group in ("in-domain", "out-of-domain"):
            row = next(
                row
                for row in paper.read_table("averages")
                if (row["table"], row["row"], row["collection"], row["split"])
                == ("4", "1", f"sample-set-{sample}", group)
            )
            assert found["averages"][group]["monot5-60m"] == pytest.approx(float(row["value"]), abs=1e-4)
            assert found["against"][group]["rows"][0]["difference"] == pytest.approx(0, abs=1e-9)


def test_what_cannot_be_averaged_is_said(tmp_path: Path) -> None:
    one = evaluation(tmp_path / "a", "beir/nq", bm25=0.4)
    with pytest.raises(UserError, match="two evaluations are of nq"):
        average(AverageConfig([one, one]))
    with pytest.raises(UserError, match="depth 100, others to 1000"):
        average(AverageConfig([one, evaluation(tmp_path / "b", "beir/fiqa", depth=100, bm25=0.4)]))
    with pytest.raises(UserError, match="no system is in all"):
        average(AverageConfig([one, evaluation(tmp_path / "c", "beir/fiqa", other=0.4)]))
    with pytest.raises(UserError, match="in_domain names 'fiqa'"):
        average(AverageConfig([one], in_domain=["fiqa"]))
    with pytest.raises(UserError, match="has no RR@10"):
        average(AverageConfig([one], measure="RR@10"))
