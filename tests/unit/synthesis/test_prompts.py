"""Prompts: files to templates, templates to text; nothing of a passage is executed."""

from pathlib import Path

import pytest

from inranker.errors import UserError
from inranker.synthesis.prompts import Book, Example, from_collection, known, read_templates, shorten

POOL = [Example(f"q{n}", f"p{n}", f"query {n}", f"text of {n}") for n in range(6)]


def book(*names: str, pool: list[Example] = POOL, shown: int = 2) -> Book:
    return Book(read_templates(names), pool, shown, passage_words=5, language="en", max_tokens=16, seed=1)


@pytest.mark.parametrize("name", known())
def test_every_prompt_shows_the_passage_and_ends_where_the_query_begins(name: str) -> None:
    made = book(name)
    prompt = made.prompt(name, "p9", "bees make\nhoney in {{ a }} hive of wax", 0)
    text = prompt.text or prompt.messages[-1]["content"]
    assert text.count("bees make honey in {{") == 1 and "hive" not in text  # five words on one line, as they are
    assert text == text.rstrip()
    assert bool(prompt.messages) == name.startswith("instruct")
    shown = 2 if from_collection(made.templates) else 0 if name == "instruct" else 3
    assert len([line for line in text.splitlines() if line.startswith(("Passage: ", "Trecho: "))]) == shown + 1
    if prompt.messages is None:
        assert text.endswith(":") and prompt.stop == ["\n"]
    assert (prompt.max_tokens, 0 <= prompt.seed < 2**31) == (16, True)


def test_a_book_travels_as_it_is() -> None:
    made = book("vanilla", "promptagator:2", "instruct")
    again = Book.from_json(made.to_json())
    assert again == made
    for name in ("vanilla", "promptagator", "instruct"):
        assert again.prompt(name, "p1", "text", 3) == made.prompt(name, "p1", "text", 3)


def test_prompts_are_mixed_by_weight_and_by_the_passage_alone() -> None:
    made = book("vanilla", "promptagator:3")
    chosen = [made.choose(f"p{number}", sample) for number in range(1000) for sample in (0, 1)]
    assert chosen.count("promptagator") / len(chosen) == pytest.approx(0.75, abs=0.03)
    assert chosen == [made.choose(f"p{number}", sample) for number in range(1000) for sample in (0, 1)]


def test_examples_are_drawn_for_each_prompt_and_never_the_passage_itself() -> None:
    made = book("promptagator")
    texts = {made.prompt("promptagator", "p3", "text", sample).text for sample in range(30)}
    assert len(texts) > 5
    assert not any("query 3" in text for text in texts)
    alone = book("promptagator", pool=POOL[:2])
    bodies = {alone.prompt("promptagator", "x", "text", sample).text for sample in range(10)}
    assert all("query 0" in text and "query 1" in text for text in bodies)


def test_a_users_template_runs_in_a_sandbox(tmp_path: Path) -> None:
    mine = tmp_path / "mine.jinja"
    mine.write_text("Text in {{ language }}: {{ passage }}\nWhat would one ask?\n")
    made = book(f"{mine}:2")
    assert made.prompt("mine", "p", "bees", 0).text == "Text in en: bees\nWhat would one ask?"
    assert made.templates[0].weight == 2 and made.templates[0].stop == ["\n"]
    mine.write_text("{{ passage.__class__.__mro__ }}")
    with pytest.raises(UserError, match="mine cannot be filled"):
        book(str(mine)).prompt("mine", "p", "bees", 0)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{{ passage", "line 1 is not Jinja"),
        ("{{ passage }} {{ query }}", "uses 'query'"),
        ("no variable", "does not show the passage"),
    ],
)
def test_a_bad_template_is_named(tmp_path: Path, content: str, sentence: str) -> None:
    mine = tmp_path / "mine.jinja"
    mine.write_text(content)
    with pytest.raises(UserError, match=sentence):
        read_templates([str(mine)])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("template: '{{ passage }}'\nstops: []", "unknown key 'stops'"),
        ("about: nothing", "either a template or messages"),
        ("messages: [{role: user}]", "needs a role and a content"),
        ("template: '{{ passage }}'\nexamples: [msmarco-9]", "no example 'msmarco-9'"),
        ("template: [", "is not YAML"),
    ],
)
def test_a_bad_prompt_file_is_named(tmp_path: Path, content: str, sentence: str) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(content)
    with pytest.raises(UserError, match=sentence):
        read_templates([str(mine)])


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["vanila"], "no prompt 'vanila'"),
        (["vanilla:0"], "no weight"),
        (["vanilla", "vanilla:2"], "twice"),
        ([], "prompts is empty"),
        (["nowhere.jinja"], "cannot be read"),
    ],
)
def test_bad_names_are_refused(names: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read_templates(names)


def test_a_long_passage_is_cut_at_words() -> None:
    assert shorten("  one\ttwo\n three four ", 3) == "one two three"
