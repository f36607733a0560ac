"""Passages as callers have them: strings, mappings, named tuples."""

from collections.abc import Mapping, Sequence
from typing import Any

from inranker.errors import UserError
from inranker.types import Passage

# Names under which a mapping may hold its text and its id, in order of preference.
TEXT_FIELDS = ("text", "contents")
ID_FIELDS = ("id", "passage_id", "_id", "docid")


def as_passages(values: Sequence[Any]) -> list[Passage]:
    """Every value as a `Passage`; one without an id gets its place as id.

    Raises:
        UserError: `values` is one string instead of a list, or one of them is no passage.
    """
    if isinstance(values, str | bytes | Mapping | Passage):
        raise UserError(f"passages must be a list of passages, not one {type(values).__name__}; put it into a list")
    return [as_passage(value, index) for index, value in enumerate(values)]


def as_passage(value: Any, index: int) -> Passage:
    """One string, mapping (`text` or `contents`, perhaps `title` and an id) or `Passage`.

    Args:
        value: the caller's object.
        index: its place in the caller's list, for the error and as an id.

    Raises:
        UserError: it is something else, or its text is missing or no string.
    """
    if isinstance(value, str):
        return Passage(str(index), value)
    if isinstance(value, Passage):
        fields: Mapping[str, Any] = value._asdict()
    elif isinstance(value, Mapping):
        fields = value
    else:
        raise UserError(
            f"passage {index} is {type(value).__name__}; give a string, a mapping with a text, or a Passage"
        )
    name = next((name for name in TEXT_FIELDS if name in fields), None)
    if name is None:
        raise UserError(f"passage {index} has no field {' or '.join(map(repr, TEXT_FIELDS))}; add its text")
    text = _string(fields[name], name, index)
    title = _string(fields.get("title") or "", "title", index)
    passage_id = next((fields[name] for name in ID_FIELDS if fields.get(name) is not None), index)
    return Passage(str(passage_id), text, title)


def _string(value: Any, name: str, index: int) -> str:
    if not isinstance(value, str):
        raise UserError(f"passage {index}: field {name!r} is {type(value).__name__}, not a string")
    return value
