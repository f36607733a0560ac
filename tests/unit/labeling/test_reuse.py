"""Labels of earlier jobs are found by their texts, and are what scoring anew would give."""

from pathlib import Path

import numpy as np
import pytest

from inranker.errors import UserError
from inranker.labeling.dedupe import text_keys
from inranker.labeling.read import read_labels
from inranker.labeling.reuse import ReuseIndex, build_index, indexed_sources, reuse_sources
from inranker.labeling.verify import verify
from inranker.manifest import claim_output, read_manifest
from inranker.rerankers import scorer_identity
from inranker.storage import Store
from tests.builders import make_pairs, make_t5, pair_rows
from tests.unit.labeling.inprocess import label_here, label_job


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory, teacher: Path) -> Path:
    """Sixty pairs, labelled in an earlier job."""
    folder = tmp_path_factory.mktemp("earlier")
    label_here(label_job(make_pairs(folder / "pairs", pair_rows(60)), teacher, folder / "out"))
    return folder / "out"


def test_what_is_known_is_not_scored(earlier: Path, teacher: Path, tmp_path: Path) -> None:
    rows = pair_rows(80)[20:]  # 40 of the earlier pairs and 20 new ones, under other ids
    rows = [row | {"query_id": f"x{row['query_id']}", "passage_id": f"y{row['passage_id']}"} for row in rows]
    rows.append(rows[0] | {"passage_id": "again"})
    pairs = make_pairs(tmp_path / "pairs", rows)
    job = label_job(pairs, teacher, tmp_path / "out", unit_rows=100)
    sources = reuse_sources([str(earlier)], scorer_identity(teacher))
    identity = {"scorer": scorer_identity(teacher), "pairs": read_manifest(str(pairs)).content_hash}
    claim_output(Store(job.output), "label", identity, unit_rows=100)
    index = build_index(Store(job.output), sources)
    assert build_index(Store(job.output), sources) == index
    assert len(Store(job.output).list(index)) == 65  # not built twice
    assert label_here(job, index) == {"scored": 20, "duplicates": 0, "reused": 41}
    anew = label_job(pairs, teacher, tmp_path / "anew", unit_rows=100)
    assert label_here(anew) == {"scored": 60, "duplicates": 1, "reused": 0}
    found, expected = read_labels(job.output), read_labels(anew.output)
    for name in ("row", "query_id", "passage_id", "n_tokens", "truncated"):
        assert found[name] == expected[name]
    for name in ("false_logit", "true_logit"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
    assert verify(job)["problems"] == []
    assert indexed_sources(Store(job.output)) == sources


def test_nothing_is_scored_when_all_is_there(earlier: Path, teacher: Path, tmp_path: Path) -> None:
    pairs = make_pairs(tmp_path / "pairs", pair_rows(60)[10:35])
    job = label_job(pairs, teacher, tmp_path / "out")
    claim_output(
        Store(job.output),
        "label",
        {"scorer": scorer_identity(teacher), "pairs": read_manifest(str(pairs)).content_hash},
        unit_rows=50,
    )
    index = build_index(Store(job.output), reuse_sources([str(earlier), str(earlier)], scorer_identity(teacher)))
    assert label_here(job, index) == {"scored": 0, "duplicates": 0, "reused": 25}
    whole = read_labels(str(earlier))
    for name in ("false_logit", "true_logit", "n_tokens", "truncated"):
        assert read_labels(job.output)[name].to_pylist() == whole[name].to_pylist()[10:35]


def test_another_scorers_labels_are_refused_by_field(
    earlier: Path, tokenizer: Path, teacher: Path, tmp_path: Path
) -> None:
    stranger = make_t5(tmp_path / "stranger", tokenizer, seed=9)
    with pytest.raises(UserError, match=r"another scorer \(scorer\.weights_sha256: .*leave it out"):
        reuse_sources([str(earlier)], scorer_identity(stranger))
    with pytest.raises(UserError, match=r"scorer\.contract\.max_length: 512 -> 64"):
        reuse_sources([str(earlier)], scorer_identity(teacher, max_length=64))
    pairs = make_pairs(tmp_path / "pairs", pair_rows(3))
    with pytest.raises(UserError, match="stage 'mine'; name a labels directory"):
        reuse_sources([str(pairs)], scorer_identity(teacher))


def test_an_index_elsewhere_is_fetched_and_answers_alike(earlier: Path, teacher: Path) -> None:
    """Through a store that is not this machine's disk."""
    remote = Store("memory://reuse-index")
    index = ReuseIndex(remote, build_index(remote, reuse_sources([str(earlier)], scorer_identity(teacher))))
    rows = pair_rows(70)
    keys = text_keys([str(row["query"]) for row in rows], [str(row["passage"]) for row in rows])
    order = np.random.default_rng(0).permutation(70)
    found, answers = index.lookup(keys[order])
    assert found.tolist() == (order < 60).tolist()
    logits = read_labels(str(earlier))["true_logit"].to_numpy()
    assert answers["true_logit"].tolist() == logits[order[order < 60]].tolist()
    near = keys.copy()
    near["low"] += np.uint64(1)
    assert not index.lookup(near)[0].any()
