"""Bases, variables, repeated stages, and a part of a recipe."""

from pathlib import Path

import pytest
import yaml

from inranker.config import make_parser, parse_config, read_recipe
from inranker.distill import DistillConfig, chosen_calls
from inranker.errors import UserError
from inranker.recipe import StageCall, needed, repeated

CALLS = [
    StageCall("pairs", "mine", {"identity": {"collection": "beir16:$each"}}, each=["nq", "nq-2", "fiqa"]),
    StageCall("labels", "label", {"identity": {"pairs": "$output/pairs/$each"}}, each=["nq", "nq-2", "fiqa"]),
    StageCall("hard", "train", {"identity": {"pairs": "$output/pairs/nq-2"}}),
    StageCall(
        "soft", "train", {"identity": {"labels": ["$output/labels/nq", "$output/labels/fiqa"], "start": "$start"}}
    ),
    StageCall("evaluation", "evaluate", {"identity": {"systems": ["bm25", "a=$output/soft/student"]}}),
]


def parse(*words: str) -> DistillConfig:
    return parse_config(DistillConfig, list(words), make_parser(DistillConfig, "distill", ""))[0]


def write(path: Path, content: dict[str, object]) -> str:
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_a_repeated_stage_has_an_output_for_each_value():
    written = repeated(CALLS)
    assert [call.name for call in written[:4]] == ["pairs/nq", "pairs/nq-2", "pairs/fiqa", "labels/nq"]
    assert written[5].config == {"identity": {"pairs": "$output/pairs/fiqa"}}
    with pytest.raises(UserError, match="'pairs/nq' is used twice"):
        repeated([*CALLS, StageCall("pairs", "mine", {}, each=["nq"])])


def test_a_part_of_a_recipe_is_what_the_named_stages_read():
    names = [call.name for call in needed(repeated(CALLS), ["evaluation"])]
    assert names == ["pairs/nq", "pairs/fiqa", "labels/nq", "labels/fiqa", "soft", "evaluation"]
    assert [call.name for call in needed(repeated(CALLS), ["hard"])] == ["pairs/nq-2", "hard"]
    assert len(needed(repeated(CALLS), ["labels"])) == 6
    with pytest.raises(UserError, match="--only sof: no such stage; the recipe has pairs, labels, hard"):
        needed(repeated(CALLS), ["sof"])


def test_a_base_is_changed_key_by_key_and_its_lists_as_a_whole(tmp_path):
    stages = [{"name": "a", "stage": "train", "config": {"identity": {"start": "$start/$collection"}}}]
    write(tmp_path / "base.yaml", {"output": "out/base", "variables": {"start": "small", "x": "y"}, "stages": stages})
    (tmp_path / "sizes").mkdir()
    path = write(tmp_path / "sizes" / "big.yaml", {"base": "../base.yaml", "variables": {"start": "big"}})
    assert read_recipe(path)["variables"] == {"start": "big", "x": "y"}
    config = parse(path, "--output", "out/mine", "--collection", "beir:x")
    assert config.output == "out/mine"
    assert chosen_calls(config)[0].config == {"identity": {"start": "big/beir:x"}}
    more = write(tmp_path / "more.yaml", {"base": "base.yaml", "stages+": [{**stages[0], "name": "c"}]})
    assert [call.name for call in chosen_calls(parse(more))] == ["a", "c"]
    over = write(tmp_path / "over.yaml", {"base": "sizes/big.yaml", "stages": [*stages, {**stages[0], "name": "b"}]})
    assert [call.name for call in chosen_calls(parse("--recipe", over))] == ["a", "b"]


def test_what_is_wrong_with_a_base_or_a_variable_is_said(tmp_path):
    path = write(tmp_path / "own.yaml", {"base": "own.yaml"})
    with pytest.raises(UserError, match="is its own `base`"):
        parse(path)
    with pytest.raises(UserError, match=r"unknown key outputs; did you mean output\?"):
        write(tmp_path / "base.yaml", {"outputs": "x"})
        parse(write(tmp_path / "next.yaml", {"base": "base.yaml"}))
    with pytest.raises(UserError, match=r"stages.soft uses \$start; name it under `variables`"):
        chosen_calls(DistillConfig([CALLS[3]], "out"))
    with pytest.raises(UserError, match=r"uses \$tokenizer; give --tokenizer DIRECTORY"):
        chosen_calls(DistillConfig([StageCall("a", "create", {"identity": {"tokenizer": "$tokenizer"}})], "out"))


def test_until_takes_all_repetitions_and_only_takes_several_words(tmp_path):
    stages = [vars(call) for call in CALLS[:3]]
    path = write(tmp_path / "r.yaml", {"output": "out", "stages": stages})
    assert len(chosen_calls(parse(path, "--until", "labels"))) == 6
    assert [call.name for call in chosen_calls(parse(path, "--only", "hard", "labels/fiqa"))] == [
        "pairs/nq-2",
        "pairs/fiqa",
        "labels/fiqa",
        "hard",
    ]
