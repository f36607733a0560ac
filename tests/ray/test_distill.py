"""The whole pipeline from a recipe: corpus -> mine -> label -> train -> evaluate, resumed, verified, refused."""

import json
from pathlib import Path

import pytest

from inranker.distill import distill
from inranker.errors import UserError
from inranker.manifest import read_manifest
from tests.distilling import read_recipe, recipe, write_collection

pytestmark = pytest.mark.usefixtures("ray_session")


def test_the_summary_has_every_system_fidelity_and_seconds(small_pipeline: Path) -> None:
    summary = json.loads((small_pipeline / "first.json").read_text())
    stored = json.loads((small_pipeline / "out" / "summary.json").read_text())
    for name in ("bm25", "teacher", "student_before", "student"):
        assert 0 <= stored[name]["nDCG@10"] <= 1
        assert stored[name] == summary[name]
    assert {"mse", "mse_before", "mse_constant", "kendall_tau"} <= stored["fidelity"].keys()
    assert set(stored["seconds"]) == {call["name"] for call in recipe()["stages"]}
    assert summary["skipped"] == []


def test_the_chain_of_custody_leads_from_the_student_to_the_corpus(small_pipeline: Path) -> None:
    out = small_pipeline / "out"
    manifests = {name: read_manifest(str(out / name)) for name in ("pairs", "labels", "student")}
    assert manifests["student"].inputs["labels"]["content_hash"] == manifests["labels"].content_hash
    assert manifests["labels"].inputs["pairs"]["content_hash"] == manifests["pairs"].content_hash
    assert manifests["pairs"].inputs["collection"]["content_hash"]


def test_a_second_run_skips_everything_and_keeps_the_figures(small_pipeline: Path) -> None:
    first = json.loads((small_pipeline / "first.json").read_text())
    second = distill(read_recipe(small_pipeline, recipe()))
    assert second["skipped"] == [call["name"] for call in recipe()["stages"]]
    for key in ("bm25", "teacher", "student_before", "student", "fidelity", "seconds"):
        assert second[key] == first[key]


def test_until_stops_early(tmp_path: Path) -> None:
    write_collection(tmp_path / "collection")
    summary = distill(read_recipe(tmp_path, recipe(), "--until", "pairs"))
    assert list(summary["seconds"]) == ["vocabulary", "teacher-start", "student-start", "pairs"]


def test_a_changed_shard_is_found_before_it_is_skipped(tmp_path: Path) -> None:
    write_collection(tmp_path / "collection")
    config = read_recipe(tmp_path, recipe(), "--until", "pairs")
    distill(config)
    shard = tmp_path / "out" / "pairs" / "pairs-00000.parquet"
    shard.write_bytes(shard.read_bytes() + b"\0")
    with pytest.raises(UserError, match=r"pairs-00000\.parquet differs"):
        distill(config)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda stages: stages[3].update(stage="mien"), r"stages\.pairs\.stage: unknown stage 'mien'"),
        (lambda stages: stages[3]["config"]["identity"].update(dept=3), r"stages\.pairs: unknown key identity\.dept"),
        (lambda stages: stages[4]["config"]["identity"].update(steps="six"), r"stages\.teacher: .*identity\.steps"),
        (lambda stages: stages[1].update(name="pairs"), "'pairs' is used twice"),
        (lambda stages: stages[1]["config"]["identity"].update(tokenizer="$tokenizer"), "give --tokenizer"),
    ],
)
def test_a_wrong_recipe_is_refused_before_anything_runs(tmp_path: Path, change, said: str) -> None:
    content = recipe()
    change(content["stages"])
    with pytest.raises(UserError, match=said):
        distill(read_recipe(tmp_path, content))
    assert not (tmp_path / "out").exists()
