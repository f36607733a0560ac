"""Every recipe that is shipped parses, and says in its header how it is run and what to expect."""

from pathlib import Path

import pytest

from inranker.config import build_config, make_parser, parse_config, read_recipe
from inranker.distill import STAGES, DistillConfig, prepare
from inranker.evaluation.config import EvaluateConfig

RECIPES = Path(__file__).resolve().parents[2] / "pipelines" / "recipes"
FILES = sorted(RECIPES.rglob("*.yaml"))


def name_of(path: Path) -> str:
    return str(path.relative_to(RECIPES))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_recipe_parses(path: Path) -> None:
    content = read_recipe(path)
    if "stages" not in content:
        build_config(
            EvaluateConfig, {"identity": {"collection": "beir:somewhere", **content["identity"]}}, name_of(path)
        )
        return
    words = [str(path), "--tokenizer", "a/tokenizer"]
    config = parse_config(DistillConfig, words, make_parser(DistillConfig, "distill", ""))[0]
    prepared = prepare(config)
    written = [call["stage"] for call in content["stages"] for _ in call.get("each", [None])]
    assert [call.stage for call, _, _ in prepared] == written
    assert all(call.stage in STAGES for call, _, _ in prepared)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_recipe_says_how_it_is_run(path: Path) -> None:
    header = "".join(line for line in path.read_text().splitlines(keepends=True) if line.startswith("#"))
    assert f"recipes/{name_of(path)}" in header
    assert "GPU-hours" in header and "nDCG@10" in header
