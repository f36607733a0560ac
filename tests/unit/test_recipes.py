"""Every recipe that is shipped parses, and says in its header how it is run and what to expect."""

import json
from pathlib import Path

import pytest

from inranker.config import build_config, make_parser, parse_config, read_recipe
from inranker.distill import STAGES, DistillConfig, prepare
from inranker.evaluation.config import EvaluateConfig

RECIPES = Path(__file__).resolve().parents[2] / "pipelines" / "recipes"
FILES = sorted(RECIPES.rglob("*.yaml"))
FIGURES = sorted((RECIPES.parents[1] / "notebooks" / "figures").glob("*.json"))


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


@pytest.mark.parametrize("path", FIGURES, ids=lambda path: path.name)
def test_a_header_states_the_figures_that_are_kept(path: Path) -> None:
    figures = json.loads(path.read_text())
    recipe = RECIPES.parents[1] / next(word for word in figures["command"].split() if word.endswith(".yaml"))
    header = " ".join(line.lstrip("# ") for line in recipe.read_text().splitlines() if line.startswith("#"))
    averages, primary = figures["averages"], figures["primary"]
    primary_first = sorted(averages, key=lambda group: group != primary["group"])
    for system in averages[primary["group"]]:
        assert f"{system} {' and '.join(f'{averages[group][system]:.3f}' for group in primary_first)}" in header
    stated = f"{primary['difference']:+.3f} ({primary['low']:.3f} to {primary['high']:.3f}, p {primary['p']:.3f})"
    assert f"primary difference is {stated}" in header
