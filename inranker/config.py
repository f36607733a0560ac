"""YAML recipe + dotted overrides -> frozen dataclasses; an unknown key or a wrong type is an error.

A stage's config is a frozen dataclass with three fields: `identity` (what the result depends on, fingerprinted),
`execution` (how it is run) and `output` (where). jsonargparse reads it; this module adds only the project's spelling:
a leading bare `*.yaml` stands for `--recipe`, a field of a group may be named without the group where that is
unambiguous (`--collection` for `--identity.collection`), and a list may be given as words (`--systems bm25 x`).
"""

import dataclasses
import difflib
import functools
import json
import typing
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter, set_parsing_settings

from inranker.errors import UserError

Config = TypeVar("Config")

BASE = "base"  # key of a recipe: the recipe that it changes
MORE = "+"  # ends the key of a list that is put after the base's

set_parsing_settings(docstring_parse_attribute_docstrings=True)


class Help(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Keeps the line breaks of a description, whose examples are commands."""


def make_parser(config_class: type, prog: str, description: str) -> ArgumentParser:
    """The parser of a stage: `--recipe`, then every field of the config under its dotted name."""
    parser = ArgumentParser(
        prog=prog, description=description, formatter_class=Help, exit_on_error=False, default_env=False
    )
    parser.add_argument("--recipe", action="config", help="YAML file with the fields below; later options override it")
    parser.add_class_arguments(config_class, None)
    return parser


def parse_config(
    config_class: type[Config], argv: Sequence[str], parser: ArgumentParser
) -> tuple[Config, dict[str, Any]]:
    """Command-line words as a config and the options that were added to the parser besides it.

    Raises:
        UserError: an unknown key, a value of the wrong type, a missing field, an unreadable recipe.
        SystemExit: `--help` was asked for.
    """
    words = spell_out(config_class, list(argv))
    for recipe in _recipes(words):
        mapping = read_recipe(recipe)
        _require_known_keys(config_class, mapping, f"recipe {recipe}")
        if BASE in read_yaml(recipe):  # the parser is given the whole in place of the file's name
            whole = json.dumps(mapping)
            given = {recipe: whole, f"--recipe={recipe}": f"--recipe={whole}"}
            words = [given.get(word, word) for word in words]
    try:
        values = parser.parse_args(words)
        fields = _field_names(config_class)
        built = parser.instantiate(values)
    except ArgumentError as error:
        raise UserError(_one_sentence(str(error))) from error
    config = config_class(**{name: built[name] for name in fields})
    options = {key: value for key, value in vars(built).items() if key not in fields and key != "recipe"}
    return config, options


def build_config(config_class: type[Config], mapping: dict[str, Any], where: str) -> Config:
    """A config from values already read (one stage of a pipeline's recipe).

    Raises:
        UserError: as `parse_config`, naming `where`.
    """
    _require_known_keys(config_class, mapping, where)
    parser = _parser_of(typing.cast(Any, config_class))
    try:
        built = parser.instantiate(parser.parse_object(mapping))
    except ArgumentError as error:
        raise UserError(f"{where}: {_one_sentence(str(error))}") from error
    return config_class(
        **{field.name: built[field.name] for field in dataclasses.fields(typing.cast(Any, config_class))}
    )


@functools.cache
def _parser_of(config_class: type) -> ArgumentParser:
    """Made once: a recipe may have the same stage many times, and making a parser takes longer than using it."""
    return make_parser(config_class, prog=config_class.__name__, description="")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file that holds a mapping.

    Raises:
        UserError: it is missing, not UTF-8, not YAML (with the line), or not a mapping.
    """
    try:
        value = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read recipe {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"recipe {path} is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise UserError(f"recipe {path}{line} is not YAML: {getattr(error, 'problem', error)}") from error
    if not isinstance(value, dict):
        raise UserError(f"recipe {path} must hold a mapping of fields, not {type(value).__name__}")
    return value


def read_recipe(path: str | Path) -> dict[str, Any]:
    """A recipe with its `base` under it: another recipe, named from the folder of this one, whose fields it changes.

    A mapping is changed key by key; anything else is replaced whole, but for a list under `KEY+`, which comes after the
    base's.

    Raises:
        UserError: as `read_yaml`; or a recipe is, in the end, its own base.
    """
    return _with_base(Path(path), ())


def _with_base(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in above:
        raise UserError(f"recipe {path} is its own `base`; name another")
    mapping = read_yaml(path)
    base = mapping.pop(BASE, None)
    if base is None:
        return mapping
    return _changed(_with_base(path.parent / str(base), (*above, path.resolve())), mapping)


def _changed(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        if key.endswith(MORE):
            merged[key.removesuffix(MORE)] = [*merged.get(key.removesuffix(MORE), []), *value]
            continue
        old = merged.get(key)
        merged[key] = _changed(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def spell_out(config_class: type, words: list[str]) -> list[str]:
    """The project's short spellings as the parser's long ones."""
    if words and words[0].endswith((".yaml", ".yml")) and not words[0].startswith("-"):
        words = ["--recipe", *words]
    fields = _dotted_fields(config_class)
    spelled: list[str] = []
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            spelled.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        name = _full_name(name, fields)
        if fields.get(name) and not name.endswith("+"):
            values = [value] if equals else []
            while words and not words[0].startswith("--"):
                values.append(words.pop(0))
            one = fields[name] == "or one" and len(values) == 1 and "," not in values[0]
            spelled += [f"--{name}", values[0] if one else _as_list(values)]
        else:
            spelled.append(f"--{name}{equals}{value}")
    return spelled


def _full_name(name: str, fields: dict[str, str]) -> str:
    if name in fields or any(field.startswith(f"{name}.") for field in fields):
        return name
    matches = [f"{group}.{name}" for group in ("identity", "execution") if _is_field(f"{group}.{name}", fields)]
    return matches[0] if len(matches) == 1 else name


def _is_field(name: str, fields: dict[str, str]) -> bool:
    return name in fields or any(field.startswith(f"{name}.") for field in fields)


def _as_list(values: list[str]) -> str:
    if len(values) == 1 and values[0].startswith("["):
        return values[0]
    return json.dumps([item for value in values for item in value.split(",") if item])


def _dotted_fields(config_class: type, prefix: str = "") -> dict[str, str]:
    """Every field's dotted name -> "list", "or one" (a list, or a value for itself), or nothing."""
    names: dict[str, str] = {}
    for name, hint in typing.get_type_hints(config_class).items():
        parts = (hint, *typing.get_args(hint))
        inner = next((part for part in parts if dataclasses.is_dataclass(part)), None)
        lists = [part for part in parts if typing.get_origin(part) is list]
        or_one = str in parts and hint not in lists  # the str of a list[str] is that of its items
        names[prefix + name] = "" if not lists else "or one" if or_one else "list"
        if inner is not None and typing.get_origin(hint) is not list:
            names |= _dotted_fields(typing.cast(type, inner), f"{prefix}{name}.")
    return names


def _require_known_keys(config_class: type, mapping: dict[str, Any], where: str) -> None:
    fields = _dotted_fields(config_class)
    groups = {name.rpartition(".")[0] for name in fields}
    for name in _dotted_keys(mapping, groups):
        if name not in fields:
            close = difflib.get_close_matches(name, fields, 1)
            hint = f"did you mean {close[0]}?" if close else "--help lists every field"
            raise UserError(f"{where}: unknown key {name}; {hint}")


def _dotted_keys(mapping: dict[str, Any], groups: set[str], prefix: str = "") -> Iterator[str]:
    """Dotted names of a mapping's keys, down to the level at which the config has fields."""
    for key, value in mapping.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict) and f"{prefix}{key}" in groups:
            yield from _dotted_keys(value, groups, f"{prefix}{key}.")


def _field_names(config_class: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(config_class)}


def _recipes(words: list[str]) -> list[str]:
    given = [words[i + 1] for i, word in enumerate(words[:-1]) if word == "--recipe"]
    return given + [word.partition("=")[2] for word in words if word.startswith("--recipe=")]


def _one_sentence(message: str) -> str:
    sentence = " ".join(message.split())
    return f"{sentence}; --help explains every field"
