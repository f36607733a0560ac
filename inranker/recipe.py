"""What a recipe says: stages in order, how their strings are filled in, and which of them one of them needs.

Stages know each other by `$output/NAME` alone, so what a stage needs is read off its own fields.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inranker.errors import UserError

VARIABLE = re.compile(r"\$([a-z_0-9]+)")
EACH = "each"


@dataclass(frozen=True)
class StageCall:
    """One stage of a recipe."""

    name: str
    """Name of the stage's output directory under `output`."""
    stage: str
    """Which stage: synthesize, mine, align, import, label, combine, export, train, evaluate, average, …"""
    config: dict[str, Any]
    """The stage's own recipe, without `output`; $output, $collection, $tokenizer and the recipe's own variables are
    replaced in its strings."""
    each: list[str] = field(default_factory=list)
    """Run the stage once for each of these values, into NAME/VALUE; $each stands for the value."""


def repeated(calls: Sequence[StageCall]) -> list[StageCall]:
    """The calls with every `each` written out.

    Raises:
        UserError: two stages have one name.
    """
    written: list[StageCall] = []
    for call in calls:
        if not call.each:
            written.append(call)
        for value in call.each:
            config = substitute(call.config, {EACH: value}, call.name, partial=True)
            written.append(StageCall(f"{call.name}/{value}", call.stage, config))
    names = [call.name for call in written]
    if double := {name for name in names if names.count(name) > 1}:
        raise UserError(f"stages: the name {sorted(double)[0]!r} is used twice; each needs an output of its own")
    return written


def substitute(value: Any, known: Mapping[str, str | None], name: str, partial: bool = False) -> Any:
    """A stage's fields with $NAME replaced in all strings.

    Args:
        known: variable -> what it stands for; None where the command line must say it.
        name: the stage, for messages.
        partial: leave unknown variables as they are.

    Raises:
        UserError: a variable that nobody set.
    """
    if isinstance(value, dict):
        return {key: substitute(item, known, name, partial) for key, item in value.items()}
    if isinstance(value, list):
        return [substitute(item, known, name, partial) for item in value]
    if not isinstance(value, str):
        return value

    def stands_for(found: re.Match[str]) -> str:
        variable = found[1]
        if variable not in known:
            if partial:
                return found[0]
            raise UserError(f"stages.{name} uses ${variable}; name it under `variables`, or write it out")
        replacement = known[variable]
        if replacement is None:
            raise UserError(f"stages.{name} uses ${variable}; give --{variable} DIRECTORY")
        return replacement

    return VARIABLE.sub(stands_for, value)


def needed(calls: Sequence[StageCall], only: Sequence[str]) -> list[StageCall]:
    """The stages named, and those whose outputs they read, in the recipe's order.

    Args:
        calls: the recipe's, with every `each` written out and $output still in place.
        only: names of stages; that of a repeated stage stands for all of its repetitions.

    Raises:
        UserError: there is no such stage.
    """
    wanted: set[str] = set()
    for name in only:
        found = {call.name for call in calls if call.name == name or call.name.startswith(f"{name}/")}
        if not found:
            raise UserError(f"--only {name}: no such stage; the recipe has {', '.join(base_names(calls))}")
        wanted |= found
    for call in reversed(calls):  # a stage reads outputs of earlier ones alone
        if call.name in wanted:
            texts = list(strings(call.config))
            wanted |= {other.name for other in calls if any(reads(text, other.name) for text in texts)}
    return [call for call in calls if call.name in wanted]


def reads(text: str, name: str) -> bool:
    """Whether a field names the output of a stage: `$output/NAME`, or something in it."""
    start, _, rest = text.partition(f"$output/{name}")
    return len(start) < len(text) and rest[:1] in ("", "/", ":")


def base_names(calls: Sequence[StageCall]) -> list[str]:
    """Names of the stages, those of a repeated one once."""
    return list(dict.fromkeys(call.name.split("/")[0] for call in calls))


def strings(value: Any) -> Iterator[str]:
    """All strings in a stage's fields."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)


def written_out(call: StageCall, known: Mapping[str, str | None]) -> StageCall:
    """A call with its variables replaced."""
    return dataclasses.replace(call, config=substitute(call.config, known, call.name))
