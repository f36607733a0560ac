"""Calibrations: fitted to known probabilities, stored with the checkpoint, without a say in the order."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inranker import Ranker
from inranker.errors import UserError
from inranker.labeling.read import read_labelled_pairs
from inranker.ranking.calibrate import CalibrateConfig, CalibrateExecution, CalibrateIdentity, _from_labels, calibrate
from inranker.ranking.calibration import FITS, fit, held_out, quality
from inranker.rerankers import load_contract, save_contract, scorer_identity
from inranker.rerankers.calibration import Calibration, calibrated, sigmoid
from tests.builders import make_pairs, pair_rows
from tests.unit.beir_folder import write_beir
from tests.unit.training.labels import make_labels

GENERATOR = np.random.default_rng(0)
SCORES = GENERATOR.normal(0, 4, 20_000)
QUERY_IDS = [f"q{row // 100}" for row in range(len(SCORES))]
# What a score is really worth here: too sure of itself by 2.5, and few passages are relevant.
TRUE = sigmoid(SCORES / 2.5 - 1.5)
JUDGED = (GENERATOR.random(len(SCORES)) < TRUE).astype(float)


def test_platt_finds_scale_and_offset() -> None:
    found = fit(SCORES, JUDGED, "platt")
    assert (found.temperature, found.offset) == pytest.approx((2.5, -1.5), rel=0.05)
    exact = fit(SCORES, TRUE, "platt")  # a teacher's probabilities, without the noise of judging
    assert (exact.temperature, exact.offset) == pytest.approx((2.5, -1.5), rel=1e-3)


def test_temperature_finds_the_scale_where_there_is_no_offset() -> None:
    assert fit(SCORES, sigmoid(SCORES / 2.5), "temperature").temperature == pytest.approx(2.5, rel=1e-3)


def test_isotonic_finds_any_growing_function() -> None:
    stairs = np.select([SCORES < -2, SCORES < 3], [0.1, 0.3], 0.8)
    found = fit(SCORES, (np.random.default_rng(1).random(len(SCORES)) < stairs).astype(float), "isotonic")
    assert calibrated([-6, 0.5, 6], found) == pytest.approx([0.1, 0.3, 0.8], abs=0.05)
    assert len(found.scores) <= 200


@pytest.mark.parametrize("method", FITS)
def test_probabilities_grow_with_scores_and_stay_between_0_and_1(method: str) -> None:
    found = fit(SCORES, JUDGED, method)
    shown = calibrated(np.sort(np.concatenate([SCORES, [-1e30, -1e3, 1e3, 1e30]])), found)
    assert (np.diff(shown) >= 0).all() and shown[0] >= 0 and shown[-1] <= 1


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_held_out_quality_gets_better(method: str) -> None:
    measured = held_out(SCORES, JUDGED, QUERY_IDS, method)
    best = quality(SCORES, JUDGED, Calibration("platt", temperature=2.5, offset=-1.5))
    assert measured["after"]["log_loss"] < 0.7 * measured["before"]["log_loss"]
    assert measured["after"]["log_loss"] == pytest.approx(best["log_loss"], rel=0.02)
    assert measured["after"]["ece"] < 0.02 < 0.1 < measured["before"]["ece"]


@pytest.mark.parametrize(
    ("scores", "targets", "method", "sentence"),
    [
        ([1, 2], [0, 1], "beta", "method 'beta' is not one of"),
        ([1, 1], [0, 1], "platt", "equal scores or equal relevance"),
        ([1, 2], [0, 0], "platt", "equal scores or equal relevance"),
        ([1, float("nan")], [0, 1], "platt", "not a finite number"),
        ([1, 2, 3, 4], [1, 1, 0, 0], "temperature", "do not grow with relevance"),
        ([1, 2, 3, 4], [1, 1, 0, 0], "isotonic", "do not grow with relevance"),
    ],
)
def test_what_calibrates_nothing_is_a_sentence(scores: list, targets: list, method: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        fit(scores, targets, method)


def linked(teacher: Path, folder: Path) -> Path:
    folder.mkdir()
    for file in teacher.iterdir():
        if file.name != "reranker.json":
            (folder / file.name).symlink_to(file)
    return folder


@pytest.mark.parametrize("method", FITS)
def test_a_calibration_travels_in_reranker_json_and_ranks_nothing(teacher: Path, tmp_path: Path, method: str) -> None:
    folder = linked(teacher, tmp_path / "model")
    found = fit(SCORES, JUDGED, method, "a test")
    save_contract(folder, replace(load_contract(teacher), calibration=found))
    assert load_contract(folder).calibration == found
    assert scorer_identity(folder) == scorer_identity(teacher)
    plain, shown = (Ranker(path, precision="float32", threads=1) for path in (teacher, folder))
    texts = [str(row["passage"]) for row in pair_rows(8)]
    before, after = (ranker.rank("open file", texts) for ranker in (plain, shown))
    assert [(hit.index, hit.score) for hit in before] == [(hit.index, hit.score) for hit in after]
    assert [hit.probability for hit in after] == calibrated([hit.score for hit in after], found).tolist()
    assert [hit.probability for hit in after] != [hit.probability for hit in before]


@pytest.mark.parametrize(
    ("stored", "sentence"),
    [
        ({"method": "beta"}, "method 'beta'"),
        ({"method": "platt", "temperature": 0}, "temperature 0 must be above 0"),
        ({"method": "isotonic", "scores": [1, 0], "probabilities": [0, 1]}, "increasing scores"),
        ({"method": "isotonic", "scores": [0, 1], "probabilities": [0, 2]}, "increasing scores"),
        ({"method": "platt", "unknown": 1}, "not a reranker contract"),
        ([1], "not a reranker contract"),
    ],
)
def test_a_damaged_calibration_is_a_sentence(teacher: Path, tmp_path: Path, stored: object, sentence: str) -> None:
    contract = json.loads((teacher / "reranker.json").read_text())
    (tmp_path / "reranker.json").write_text(json.dumps({**contract, "calibration": stored}))
    with pytest.raises(UserError, match=sentence):
        load_contract(tmp_path)


@pytest.fixture(scope="module")
def judged(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection whose judgments agree with the model that is calibrated."""
    rows = pair_rows(120)
    ranker = Ranker(teacher, precision="float32", threads=1)
    texts = [str(row["passage"]) for row in rows]
    queries = {str(row["query_id"]): str(row["query"]) for row in rows}
    best = {name: ranker.rank(query, texts, top_k=12) for name, query in queries.items()}
    return write_beir(
        tmp_path_factory.mktemp("judged") / "beir",
        [{"_id": f"p{place}", "text": text} for place, text in enumerate(texts)],
        [{"_id": name, "text": query} for name, query in queries.items()],
        dev=[(name, f"p{hit.index}", 1) for name, hits in best.items() for hit in hits],
    )


def test_the_stage_writes_a_calibrated_copy(teacher: Path, judged: Path, tmp_path: Path) -> None:
    config = CalibrateConfig(
        CalibrateIdentity(str(teacher), collection=f"beir:{judged}"), str(tmp_path / "out"),
        CalibrateExecution(threads=1),
    )  # fmt: skip
    summary = calibrate(config)
    assert summary["after"]["log_loss"] < summary["before"]["log_loss"]
    assert summary["pairs"] > 100 and 0 < summary["positives"] < summary["pairs"]
    kept = load_contract(tmp_path / "out" / "model").calibration
    assert kept is not None and kept.method == "platt" and "qrels of" in kept.fitted_on
    assert load_contract(teacher).calibration is None
    assert calibrate(config)["skipped"] is True
    with pytest.raises(UserError, match="another identity"):
        calibrate(replace(config, identity=replace(config.identity, method="temperature")))


@pytest.mark.parametrize("named", [{}, {"collection": "beir:x", "labels": "y"}])
def test_pairs_come_from_one_place(teacher: Path, tmp_path: Path, named: dict) -> None:
    with pytest.raises(UserError, match="one of the two"):
        calibrate(CalibrateConfig(CalibrateIdentity(str(teacher), **named), str(tmp_path / "out")))


def test_a_teachers_labels_calibrate_too(teacher: Path, tmp_path: Path) -> None:
    """The targets are the teacher's P(true) of a sample of queries, whole."""
    rows = pair_rows(200)
    labels = make_labels(tmp_path / "labels", make_pairs(tmp_path / "pairs", rows))
    identity = CalibrateIdentity(str(teacher), "temperature", labels=str(labels), max_queries=15)
    judged = _from_labels(identity)
    rows_of = read_labelled_pairs(str(labels)).to_pylist()
    margins = {row["passage"]: row["true_logit"] - row["false_logit"] for row in rows_of}
    assert len(set(judged.query_ids)) == 15 and len(judged.pairs) == 150
    expected = sigmoid(np.array([margins[passage] for _, passage in judged.pairs], np.float64))
    assert judged.targets.tolist() == pytest.approx(expected.tolist(), abs=1e-6)
