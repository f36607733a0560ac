"""`label.py --plan` against counts made by hand; it starts no Ray."""

import json
import math
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from inranker.errors import UserError
from inranker.fingerprint import fingerprint
from inranker.labeling.config import LabelConfig, LabelExecution, LabelIdentity
from inranker.labeling.job import job_identity, read_pairs
from inranker.labeling.plan import plan
from inranker.manifest import Shard, claim_output
from inranker.rerankers import load_encoder
from inranker.rerankers.flops import teacher_flops
from inranker.storage import Store
from inranker.units import Receipt, commit, plan_units
from tests.builders import make_pairs, pair_rows


@pytest.fixture(scope="module")
def rows() -> list[dict[str, object]]:
    rows = pair_rows(200)
    for copy in (11, 12, 13):
        rows[copy] |= {"query": rows[10]["query"], "passage": rows[10]["passage"]}
    rows[77]["passage"] = " "
    return rows


@pytest.fixture(scope="module")
def config(rows: list[dict[str, object]], teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> LabelConfig:
    folder = tmp_path_factory.mktemp("plan")
    pairs = make_pairs(folder / "pairs", rows, shard_rows=100)
    return LabelConfig(LabelIdentity(str(pairs), str(teacher)), str(folder / "out"), LabelExecution(unit_rows=50))


def finish_first_unit(config: LabelConfig, **figures: float) -> None:
    """As if one unit of the job had been scored."""
    manifest, store = read_pairs(config), Store(config.output)
    identity = job_identity(config, manifest)
    claim_output(store, "label", identity, unit_rows=50)
    unit = plan_units(manifest.shards, 50)[0]
    commit(store, unit, Receipt(unit.name, fingerprint(identity), 50, Shard("data/x.parquet", 50, ""), None, figures))


def test_everything_is_counted(config: LabelConfig, rows: list[dict[str, object]], teacher: Path) -> None:
    found = plan(config)
    distinct = {(row["query"], row["passage"]): None for row in rows if str(row["passage"]).strip()}
    lengths = load_encoder(teacher).encode(*zip(*distinct, strict=True)).lengths
    assert (found["units"], found["shards"], found["pairs"], found["pairs_left"]) == (4, 2, 200, 200)
    assert (found["duplicates"], found["unusable"], found["pairs_to_score"]) == (3, 1, 196) == (3, 1, len(lengths))
    assert found["tokens"] == lengths.sum() and found["sample"] == {"pairs": 200, "tokenised": 196, "whole": True}
    assert found["flops"] == pytest.approx(teacher_flops(teacher)(196, lengths.sum(), (lengths**2).sum()))
    assert (found["hours"], found["cost"], found["rate_from"]) == (None, None, None)
    assert "--pairs_per_second" in found["table"]


def test_hours_and_cost_follow_the_rate_and_the_price(config: LabelConfig) -> None:
    given = replace(config.execution, actors=2, pairs_per_second=0.01, price_per_hour=3.0, peak_tflops=100.0)
    found = plan(replace(config, execution=given))
    assert found["actor_hours"] == pytest.approx(196 / 0.01 / 3600, abs=0.001)
    assert found["hours"] == pytest.approx(found["actor_hours"] / 2, abs=0.001)
    assert found["cost"] == pytest.approx(196 / 0.01 / 3600 * 3, abs=0.01)
    assert f"cost: {found['cost']:,.2f}" in found["table"]
    peak = plan(replace(config, execution=replace(given, pairs_per_second=None, peak_tflops=1e-6)))
    seconds = peak["flops"] / (1e-6 * 1e12 * 0.5)
    assert peak["actor_hours"] == pytest.approx(seconds / 3600, rel=0.01)
    assert peak["rate_from"] == "50% of peak_tflops"


def test_tokens_are_those_after_truncation(config: LabelConfig) -> None:
    short = plan(replace(config, identity=replace(config.identity, max_length=16)))
    assert short["tokens_per_pair"] <= 16 < plan(config)["tokens_per_pair"]
    assert short["truncated"] > 0.5


def test_finished_units_are_left_out_and_give_the_rate(config: LabelConfig, tmp_path: Path) -> None:
    config = replace(config, output=str(tmp_path / "out"))
    finish_first_unit(config, tokens=1000, seconds=2.0)
    found = plan(replace(config, execution=LabelExecution(unit_rows=7)))  # the first start fixed 50
    assert (found["units"], found["units_left"], found["pairs_left"], found["duplicates"]) == (4, 3, 150, 0)
    assert found["pairs_per_second"] == pytest.approx(500 / found["tokens_per_pair"], rel=0.01)
    assert found["rate_from"] == "1 finished units"


def test_an_output_of_another_job_is_refused(config: LabelConfig, tmp_path: Path) -> None:
    config = replace(config, output=str(tmp_path / "out"))
    finish_first_unit(config, tokens=1000, seconds=2.0)
    with pytest.raises(UserError, match=r"scorer\.dtype"):
        plan(replace(config, identity=replace(config.identity, precision="bfloat16")))


def test_labels_to_reuse_are_checked(config: LabelConfig, tmp_path: Path) -> None:
    execution = replace(config.execution, reuse=[str(tmp_path / "none")])
    with pytest.raises(UserError, match="none"):
        plan(replace(config, execution=execution))


def test_a_sample_stands_for_many_units(teacher: Path, tmp_path: Path) -> None:
    rows = pair_rows(1000)
    pairs = make_pairs(tmp_path / "pairs", rows, shard_rows=500)
    config = LabelConfig(LabelIdentity(str(pairs), str(teacher)), str(tmp_path / "out"), LabelExecution(unit_rows=10))
    found = plan(config)
    lengths = load_encoder(teacher).encode(*zip(*((row["query"], row["passage"]) for row in rows), strict=True)).lengths
    assert not found["sample"]["whole"] and found["sample"]["pairs"] == 120
    error = 4 * lengths.std() / math.sqrt(120)
    assert found["tokens_per_pair"] == pytest.approx(lengths.mean(), abs=error)
    assert found["pairs_to_score"] == 1000


def test_the_script_starts_no_ray(
    config: LabelConfig,
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(**options: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(ray, "init", refuse)
    words = ["--pairs", config.identity.pairs, "--teacher", config.identity.teacher, "--output", config.output]
    words += ["--plan", "--price_per_hour", "2", "--pairs_per_second", "1", "--json", str(tmp_path / "plan.json")]
    monkeypatch.setattr(sys, "argv", ["label.py", *words])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(repository / "pipelines" / "label.py"), run_name="__main__")
    assert ended.value.code == 0
    assert json.loads((tmp_path / "plan.json").read_text())["cost"] == pytest.approx(2 * 196 / 3600, abs=0.005)
    assert "actor-hours" in capsys.readouterr().out
    assert Store(config.output).list("") == []
