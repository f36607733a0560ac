"""Labels of several teachers become one set: standardised, averaged, with every pair accounted for."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from inranker.errors import UserError
from inranker.labeling.combine import CombineConfig, CombineIdentity, Scale, combine
from inranker.labeling.read import iter_labelled_pairs, quarantine_reasons, read_labels
from inranker.labeling.verify import verify
from inranker.manifest import read_manifest
from inranker.training.config import TrainIdentity
from inranker.training.custody import find_source, iter_rows
from tests.builders import make_pairs, make_t5, pair_rows
from tests.unit.labeling.inprocess import label_here, label_job
from tests.unit.training.labels import make_labels


@pytest.fixture(scope="module")
def two_labels(tmp_path_factory: pytest.TempPathFactory, teacher: Path, tokenizer: Path) -> list[Path]:
    """Two teachers' labels of the same pairs, in units of different size; one pair is in quarantine."""
    folder = tmp_path_factory.mktemp("teachers")
    rows = pair_rows(70)
    rows[41]["passage"] = " "
    pairs = make_pairs(folder / "pairs", rows, shard_rows=30)
    other = make_t5(folder / "other", tokenizer, seed=4)
    label_here(label_job(pairs, teacher, folder / "a", unit_rows=30))
    label_here(label_job(pairs, other, folder / "b", unit_rows=7))
    return [folder / "a", folder / "b"]


def config(labels: list[Path], output: Path, **identity: object) -> CombineConfig:
    return CombineConfig(CombineIdentity([str(path) for path in labels], **identity), str(output))  # type: ignore[arg-type]


def margins(path: Path) -> np.ndarray:
    table = read_labels(str(path))
    return table["true_logit"].to_numpy().astype(np.float64) - table["false_logit"].to_numpy()


def test_margins_are_the_weighted_mean_of_standard_scores(two_labels: list[Path], tmp_path: Path) -> None:
    summary = combine(config(two_labels, tmp_path / "out", weights=[3.0, 1.0], margin_std=2.0))
    assert (summary["pairs"], summary["labelled"], summary["quarantined"]) == (70, 69, 1)
    standard = [(margins(path) - margins(path).mean()) / margins(path).std() for path in two_labels]
    expected = 2.0 * (3 * standard[0] + standard[1]) / 4
    np.testing.assert_allclose(margins(tmp_path / "out"), expected, atol=1e-5)
    table = read_labels(str(tmp_path / "out"))
    np.testing.assert_array_equal(table["true_logit"], -table["false_logit"].to_numpy())
    own = combine(config(two_labels, tmp_path / "own"))
    assert own["margin_std"] == pytest.approx(np.mean([margins(path).std() for path in two_labels]), rel=1e-6)
    assert abs(margins(tmp_path / "own").mean()) < 1e-5


def test_the_result_is_a_label_set_like_any_other(two_labels: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert combine(config(two_labels, out))["failed"]  # one of seventy is more than one in a thousand
    assert combine(config(two_labels, out))["skipped"]
    pairs = two_labels[0].parent / "pairs"
    assert verify(label_job(pairs, two_labels[0], out))["problems"] == []
    assert quarantine_reasons(str(out)) == {(1, 11): f"{two_labels[0]}: empty passage; {two_labels[1]}: empty passage"}
    source = find_source(TrainIdentity(start="", labels=str(out)))
    assert sum(table.num_rows for table in iter_rows(source)) == 69
    assert [table["passage_id"][0].as_py() for table in iter_labelled_pairs(str(out))] == ["p0", "p30", "p60"]
    inputs = read_manifest(str(out)).inputs
    hashes = [read_manifest(str(path)).content_hash for path in two_labels]
    assert [inputs[f"labels_{number}"]["content_hash"] for number in (1, 2)] == hashes
    assert inputs["pairs"]["content_hash"] == read_manifest(str(pairs)).content_hash
    with pytest.raises(UserError, match="weights"):
        combine(config(two_labels, out, weights=[1.0, 5.0]))


def test_a_pair_that_one_teacher_lacks_is_quarantined(pairs: Path, tmp_path: Path) -> None:
    whole = make_labels(tmp_path / "whole", pairs)
    part = make_labels(tmp_path / "part", pairs, quarantined=4, scale=0.5)
    summary = combine(config([part, whole], tmp_path / "out"))
    assert (summary["pairs"], summary["labelled"], summary["quarantined"]) == (300, 296, 4)
    assert quarantine_reasons(str(tmp_path / "out"))[2, 59] == f"{part}: no label"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"weights": [1.0]}, "weights: .* are not 2 positive numbers"),
        ({"weights": [1.0, -1.0]}, "weights: .* are not 2 positive numbers"),
    ],
)
def test_bad_weights_are_refused(
    two_labels: list[Path], tmp_path: Path, options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        combine(config(two_labels, tmp_path / "out", **options))


def test_what_cannot_be_combined_is_refused(two_labels: list[Path], pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name two or more"):
        combine(config(two_labels[:1], tmp_path / "out"))
    stranger = make_labels(tmp_path / "stranger", pairs)
    with pytest.raises(UserError, match="labels other pairs"):
        combine(config([two_labels[0], stranger], tmp_path / "out"))
    flat = make_labels(tmp_path / "flat", pairs, scale=0.0)
    with pytest.raises(UserError, match="the same margin to every pair"):
        combine(config([stranger, flat], tmp_path / "out"))


def test_an_interrupted_job_goes_on(two_labels: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    combine(config(two_labels, out))
    whole = read_labels(str(out))
    receipts = sorted((out / "receipts").iterdir())
    kept = receipts[0].read_bytes()
    (out / "manifest.json").unlink()
    receipts[1].unlink()
    combine(config(two_labels, out))
    assert receipts[0].read_bytes() == kept
    assert read_labels(str(out)).equals(whole)


def test_scales_of_parts_are_those_of_the_whole() -> None:
    values = np.random.default_rng(0).normal(1000.0, 0.01, 5000).astype(np.float32)
    scale = Scale()
    for part in np.array_split(values, 7):
        scale = scale.add(part)
    assert scale.mean == pytest.approx(values.astype(np.float64).mean(), rel=1e-12)
    assert scale.std == pytest.approx(values.astype(np.float64).std(), rel=1e-6)


def test_the_script(two_labels: list[Path], repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--labels", *map(str, two_labels), "--weights", "2,1", "--output", str(tmp_path / "out")]
    words += ["--max_quarantined", "0.1", "--json", str(tmp_path / "summary.json")]
    monkeypatch.setattr(sys, "argv", ["combine.py", *words])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(repository / "pipelines" / "combine.py"), run_name="__main__")
    assert stopped.value.code == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [teacher["weight"] for teacher in summary["teachers"]] == [2.0, 1.0]
