"""Every row of every table of the paper has a recipe that plans, or a reason why it has none."""

import csv
import re
import shlex
from collections import defaultdict
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from inranker.config import make_parser, parse_config
from inranker.distill import DistillConfig, chosen_calls, plan

RECIPES = Path(__file__).resolve().parents[2] / "pipelines" / "recipes"
PUBLISHED = sorted([*RECIPES.glob("paper/*.yaml"), *RECIPES.glob("modern/*.yaml")])
ROW = re.compile(r"\| ([1-7C]\.[0-9.v]+) \| (.+?) \| (.+?) \| ([0-9. ]+) \|")


def parse(*words: str) -> DistillConfig:
    return parse_config(DistillConfig, list(words), make_parser(DistillConfig, "distill", ""))[0]


@cache
def planned(path: Path) -> dict[str, Any]:
    return plan(parse(str(path)))


def mapped() -> dict[str, tuple[str, str]]:
    """Row -> (command or reason, expected figures), as the recipes' README has them."""
    found = ROW.findall((RECIPES / "README.md").read_text())
    return {row: (how, expected) for row, _, how, expected in found}


def table(name: str) -> list[dict[str, str]]:
    return list(
        csv.DictReader((files("inranker.evaluation") / "paper_tables" / f"{name}.csv").read_text().splitlines())
    )


def rows_of_the_paper() -> dict[str, str]:
    """Row -> the paper's figures, from the package's tables."""
    figures = defaultdict(list)
    for row in table("averages"):
        figures[f"{row['table']}.{row['row']}"].append(row["value"])
    figures["5.1"], figures["5.3"] = figures["4.3"], figures["4.7"]  # printed there again
    *_, average = table("other_systems")
    for number, value in enumerate(list(average.values())[1:], start=1):
        figures[f"2.{number}"].append(value)
    sets = table("beir")
    for number, system in enumerate([name for name in sets[0] if name != "set"], start=1):
        figures[f"6.{number}"].append(f"{sum(float(row[system]) for row in sets) / len(sets):.4f}")
    for number, row in enumerate(table("quati"), start=1):
        for version in ("v1", "v2"):
            if row[f"ptt5_{version}"]:
                figures[f"7.{number}.{version}"].append(row[f"ptt5_{version}"])
    return {name: " ".join(values) for name, values in figures.items()}


def test_every_row_is_mapped_with_the_papers_figures():
    assert {row: expected for row, (_, expected) in mapped().items()} == rows_of_the_paper()


@pytest.mark.parametrize(("row", "how"), [(row, how) for row, (how, _) in mapped().items()])
def test_a_row_has_a_command_that_selects_stages_or_a_reason(row: str, how: str) -> None:
    if not how.startswith("`python"):
        assert how.startswith("reference only: ") and row in ("2.3", "2.4")
        return
    python, script, recipe, *words = shlex.split(how.strip("`"))
    assert (python, script) == ("python", "pipelines/distill.py")
    calls = chosen_calls(parse(str(RECIPES.parents[1] / recipe), *words))
    assert calls[-1].stage in ("evaluate", "average")


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_a_published_recipe_plans_to_its_headers_hours(path: Path) -> None:
    found = planned(path)
    assert found["whole"] and found["gpu_hours"] > 0
    assert not [each["note"] for each in found["stages"].values() if "fit" in each["note"] or "known" in each["note"]]
    said = re.search(r"GPU-hours: ([0-9.,]+), reckoned by --plan", path.read_text())
    assert said and float(said[1].replace(",", "")) == pytest.approx(found["gpu_hours"], rel=0.03, abs=0.06)


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_a_published_recipe_says_its_warm_up_and_depth(path: Path) -> None:
    assert "arm-up" in path.read_text() or "warm-up" in path.read_text()
    for call in chosen_calls(parse(str(path))):
        if call.stage == "evaluate":
            assert call.config["identity"]["depth"] == 1000
        if call.stage == "train":
            assert call.config["identity"]["warmup_steps"] > 0 and call.config["identity"]["steps"] > 0


def test_upper_bounds_alone_train_on_test_queries():
    for path in PUBLISHED:
        for call in chosen_calls(parse(str(path))):
            tested = call.config.get("identity", {}).get("trains_on_test", False)
            assert tested == (path.stem.startswith("real-queries") and call.name in ("real_1", "real_2"))


def test_shapes_are_those_the_paper_names():
    stages = planned(RECIPES / "paper" / "inranker-3b.yaml")["stages"]
    assert stages["synthetic_soft"]["memory_gb"] < 80
    assert stages["synthetic_soft"]["steps"] == 328_000
    small = planned(RECIPES / "paper" / "inranker-60m.yaml")["stages"]
    assert small["evaluation/nfcorpus"]["pairs"] == 3 * 323 * 1000
