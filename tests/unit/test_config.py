"""Recipes, dotted overrides, short spellings, and errors that say what to do."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from inranker.config import build_config, make_parser, parse_config
from inranker.errors import UserError


@dataclass(frozen=True)
class Shape:
    """A nested group."""

    layers: int = 2
    """Layers."""


@dataclass(frozen=True)
class Identity:
    """What the result depends on."""

    collection: str
    """The collection."""
    systems: list[str] = field(default_factory=lambda: ["bm25"])
    """The systems."""
    depth: int = 10
    """The depth."""
    shape: Shape = field(default_factory=Shape)
    """The shape."""


@dataclass(frozen=True)
class Execution:
    """How it is run."""

    actors: int = 1
    """The actors."""


@dataclass(frozen=True)
class Config:
    """A stage."""

    identity: Identity
    """What the result depends on."""
    output: str | None = None
    """Where."""
    execution: Execution = field(default_factory=Execution)
    """How."""


def parse(*words: str) -> Config:
    return parse_config(Config, list(words), make_parser(Config, "stage", "A stage."))[0]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text("identity:\n  collection: beir:x\n  depth: 7\n  shape: {layers: 5}\nexecution: {actors: 3}\n")
    return path


@pytest.mark.parametrize("spelling", [lambda path: [str(path)], lambda path: ["--recipe", str(path)]])
def test_recipe_by_either_spelling_and_overrides_win(recipe: Path, spelling) -> None:
    config = parse(*spelling(recipe), "--execution.actors", "2", "--identity.shape.layers", "6")
    assert config == Config(Identity("beir:x", depth=7, shape=Shape(6)), None, Execution(2))


def test_a_group_may_be_left_out() -> None:
    config = parse("--collection", "a", "--depth=3", "--shape.layers", "4", "--actors", "9", "--output", "o")
    assert config == Config(Identity("a", depth=3, shape=Shape(4)), "o", Execution(9))


@pytest.mark.parametrize(
    "words",
    [["--systems", "bm25", "x/y"], ["--systems", "bm25,x/y"], ["--systems", '["bm25", "x/y"]'], ["--systems=bm25,x/y"]],
)
def test_lists_may_be_given_as_words(words: list[str]) -> None:
    assert parse("--collection", "a", *words).identity.systems == ["bm25", "x/y"]


@pytest.mark.parametrize("words", [["--systems", "x/y"], ["--systems=x/y"], ["--identity.systems", "x/y"]])
def test_a_list_of_one_word_is_a_list(words: list[str]) -> None:
    assert parse("--collection", "a", *words).identity.systems == ["x/y"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("identity: {collection: a, dept: 3}", "dept"),
        ("identity: {collection: a, depth: many}", "identity.depth"),
        ("identity: {depth: 3}", "identity.collection"),
        ("identity: {collection: a}\nidentety: {}", "identety"),
        ("identity: {collection: a\n", "line"),
        ("- a\n- b\n", "mapping"),
    ],
)
def test_a_wrong_recipe_is_named_in_one_sentence(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        parse(str(path))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_recipe_is_named() -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml"):
        parse("nowhere.yaml")


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(UserError, match="--colection"):
        parse("--colection", "x")


def test_help_explains_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse("--help")
    shown = capsys.readouterr().out
    assert stopped.value.code == 0
    for explanation in ("The collection.", "The systems.", "The depth.", "Layers.", "The actors.", "Where."):
        assert explanation in shown


def test_building_from_a_mapping_names_the_place() -> None:
    assert build_config(Config, {"identity": {"collection": "a"}}, "stages.x").identity.collection == "a"
    with pytest.raises(UserError, match=r"stages\.x.*depth"):
        build_config(Config, {"identity": {"collection": "a", "depth": "b"}}, "stages.x")
