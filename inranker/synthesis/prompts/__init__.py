"""Prompts: files that say how a model is asked for a query, and what is drawn to fill them.

A prompt file is YAML: `about`, `stop` (strings that end the query), `examples` (names from examples.yaml, or
`collection` for judged pairs of the collection), and either `template` (text to continue) or `messages` (the chat
form). Templates are Jinja; `passage`, `examples` and `language` are what they may use. A user's own FILE.yaml is the
same, and a FILE.jinja is a template alone, which stops at a line's end. Templates run in Jinja's sandbox.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from inranker.errors import UserError
from inranker.fingerprint import canonical_json, plain
from inranker.retrieval.sampling import stable_hash
from inranker.synthesis.generators.base import Prompt

FROM_COLLECTION = "collection"
EXAMPLES_FILE = "examples.yaml"
FIELDS = ("about", "stop", "examples", "template", "messages")
VARIABLES = {"passage", "examples", "language"}
SEEDS = 2**31  # what every engine takes as a seed


@dataclass(frozen=True)
class Template:
    """A prompt before a passage is put into it.

    Attributes:
        name: what generated queries call it.
        weight: how often it is drawn, against the others of the job.
        stop: strings that end a query.
        parts: (role, Jinja source); the role of a text to continue is "".
        examples: fixed ones; None where they come from the collection.
    """

    name: str
    weight: float
    stop: list[str]
    parts: list[tuple[str, str]]
    examples: list[dict[str, str]] | None


@dataclass(frozen=True)
class Example:
    """A judged pair that prompts show."""

    query_id: str
    passage_id: str
    query: str
    passage: str


@dataclass(frozen=True)
class Book:
    """All prompts of a job, and what fills them.

    Attributes:
        templates: the prompts.
        pool: examples from the collection; every prompt that wants some draws its own from here.
        shown: examples of a prompt.
        passage_words: words of a passage that a prompt shows.
        language: of the collection.
        max_tokens: tokens of a query at most.
        seed: of the draws.
    """

    templates: list[Template]
    pool: list[Example]
    shown: int
    passage_words: int
    language: str
    max_tokens: int
    seed: int

    def choose(self, passage_id: str, sample: int) -> str:
        """Which prompt a query of a passage is asked with: drawn by weight, from the seed and the names alone."""
        at = stable_hash(self.seed, "prompt", passage_id, sample) / 2**64 * sum(each.weight for each in self.templates)
        for template in self.templates[:-1]:
            if at < template.weight:
                return template.name
            at -= template.weight
        return self.templates[-1].name

    def prompt(self, name: str, passage_id: str, passage: str, sample: int) -> Prompt:
        """The filled prompt of a name.

        Raises:
            UserError: the template fails on this passage.
        """
        template = next(each for each in self.templates if each.name == name)
        seed = stable_hash(self.seed, passage_id, name, sample) % SEEDS
        values: dict[str, Any] = {"passage": shorten(passage, self.passage_words), "language": self.language}
        values["examples"] = self._examples(template, passage_id, seed)
        texts = [(role, _fill(name, source, values)) for role, source in template.parts]
        chat = [{"role": role, "content": text} for role, text in texts] if texts[0][0] else None
        return Prompt("" if chat else texts[0][1], chat, list(template.stop), self.max_tokens, seed)

    def to_json(self) -> str:
        """For the workers, and for people who want to see what was asked."""
        return canonical_json(self)

    @staticmethod
    def from_json(text: str) -> "Book":
        """The book that `to_json` wrote."""
        raw = json.loads(text)
        templates = [
            Template(**{**each, "parts": [tuple(part) for part in each["parts"]]}) for each in raw["templates"]
        ]
        return Book(**{**raw, "templates": templates, "pool": [Example(**each) for each in raw["pool"]]})

    def _examples(self, template: Template, passage_id: str, seed: int) -> list[dict[str, str]]:
        if template.examples is not None:
            return template.examples
        # A passage that is itself an example would show the model its answer.
        pool = [example for example in self.pool if example.passage_id != passage_id]
        drawn = random.Random(f"examples {seed}").sample(pool, min(self.shown, len(pool)))
        return [
            {"query": each.query, "good": each.query, "passage": shorten(each.passage, self.passage_words)}
            for each in drawn
        ]


def read_templates(names: Sequence[str]) -> list[Template]:
    """The templates of `NAME`, `NAME:WEIGHT`, `FILE.yaml` or `FILE.jinja`.

    Raises:
        UserError: no such prompt, a bad weight, a file that cannot be read, or a template that is no Jinja.
    """
    if not names:
        raise UserError(f"field prompts is empty; name one or more of {', '.join(known())}, or a Jinja file")
    templates = [_read(*_weight(name)) for name in names]
    twice = [each.name for each in templates if sum(other.name == each.name for other in templates) > 1]
    if twice:
        raise UserError(f"field prompts names {twice[0]!r} twice; give it once, with a weight as in {twice[0]}:2")
    return templates


def known() -> list[str]:
    """Names of the prompts that come with the package."""
    names = (entry.name for entry in files(__package__).iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml") and name != EXAMPLES_FILE)


def from_collection(templates: Sequence[Template]) -> bool:
    """Whether any takes examples from the collection."""
    return any(template.examples is None for template in templates)


def shorten(text: str, words: int) -> str:
    """The first so many words of a text, on one line: a template tells its parts apart by lines."""
    return " ".join(text.split()[:words])


def _weight(text: str) -> tuple[str, float]:
    name, colon, weight = text.rpartition(":")
    if not colon:
        return text, 1.0
    try:
        value = float(weight)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UserError(f"field prompts: {weight!r} of {text!r} is no weight; give a number above 0, as in vanilla:2")
    return name, value


def _read(name: str, weight: float) -> Template:
    if name.endswith((".jinja", ".j2")):
        raw: dict[str, Any] = {"template": _text(name), "stop": ["\n"]}
    elif name.endswith((".yaml", ".yml")):
        raw = _mapping(_text(name), name)
    elif name in known():
        raw = _mapping((files(__package__) / f"{name}.yaml").read_text(encoding="utf-8"), name)
    else:
        raise UserError(f"field prompts: no prompt {name!r}; known are {', '.join(known())}, FILE.yaml and FILE.jinja")
    return _template(name, Path(name).stem if "." in name else name, weight, raw)


def _text(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"prompt file {path} cannot be read ({error}); check the path") from error


def _mapping(text: str, where: str) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"prompt {where} is not YAML ({' '.join(str(error).split())}); mend it") from error
    if not isinstance(raw, dict) or ("template" in raw) == ("messages" in raw):
        raise UserError(f"prompt {where} must have either a template or messages; add one")
    if unknown := [key for key in raw if key not in FIELDS]:
        raise UserError(f"prompt {where}: unknown key {unknown[0]!r}; a prompt has {', '.join(FIELDS)}")
    return raw


def _template(where: str, name: str, weight: float, raw: dict[str, Any]) -> Template:
    try:
        parts = [(message["role"], message["content"]) for message in raw.get("messages", [])]
    except (TypeError, KeyError) as error:
        raise UserError(f"prompt {where}: each of its messages needs a role and a content") from error
    parts = parts or [("", raw["template"])]
    used = set().union(*(_variables(where, source) for _, source in parts))
    if strangers := used - VARIABLES:
        raise UserError(f"prompt {where} uses {sorted(strangers)[0]!r}; it may use {', '.join(sorted(VARIABLES))}")
    if "passage" not in used:
        raise UserError(f"prompt {where} does not show the passage; put {{{{ passage }}}} where it belongs")
    names = raw.get("examples", FROM_COLLECTION if "examples" in used else [])
    examples = None if names == FROM_COLLECTION else [_example(where, each) for each in names]
    return Template(name, weight, [str(each) for each in raw.get("stop", [])], parts, examples)


def _example(where: str, given: Any) -> dict[str, str]:
    if isinstance(given, dict):
        return {"good": str(given.get("query", "")), **{key: str(value) for key, value in given.items()}}
    examples: dict[str, dict[str, str]] = yaml.safe_load((files(__package__) / EXAMPLES_FILE).read_text("utf-8"))
    if given not in examples:
        raise UserError(f"prompt {where}: no example {given!r}; name one of {', '.join(examples)}, or write it out")
    return examples[given]


@cache
def _environment() -> Any:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    return SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=False)


def _variables(where: str, source: Any) -> set[str]:
    from jinja2 import TemplateSyntaxError
    from jinja2.meta import find_undeclared_variables

    try:
        return set(find_undeclared_variables(_environment().parse(str(source))))
    except TemplateSyntaxError as error:
        raise UserError(f"prompt {where}, line {error.lineno} is not Jinja: {error.message}; mend it") from error


@cache
def _compiled(source: str) -> Any:
    return _environment().from_string(source)


def _fill(name: str, source: str, values: dict[str, Any]) -> str:
    from jinja2 import TemplateError

    try:
        return str(_compiled(source).render(**plain(values))).rstrip()
    except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
        raise UserError(f"prompt {name} cannot be filled ({error}); mend its template") from error
