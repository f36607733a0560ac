"""Queries that must not be evaluated on: a generator saw them as examples, so a student may have been trained on them.

A student's manifest leads to its labels, pairs and the checkpoint that it started from; pairs that were mined for
generated queries name, in their manifest, the queries that the generator was shown.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inranker.corpora.base import Collection
from inranker.errors import UserError
from inranker.evaluation.systems import System
from inranker.manifest import MANIFEST, links, read_manifest
from inranker.types import Query

SHOWN = "shown_queries"
LISTED = 5  # ids named in a message


class Shown(NamedTuple):
    """Queries that a generator saw on the way to a student: ids of a collection, and texts."""

    system: str
    collection: str
    query_ids: frozenset[str]
    texts: frozenset[str]


def shown_to_generators(systems: Sequence[System]) -> list[Shown]:
    """What generators were shown on the way to each system; nothing for those whose manifests are not at hand."""
    found = []
    for system in systems:
        for link in _synthesis_links(system.path, set()) if system.path else ():
            shown = link.get(SHOWN)
            if shown:
                ids, texts = frozenset(shown["query_ids"]), frozenset(map(_plain, shown.get("texts", [])))
                found.append(Shown(system.name, shown["name"], ids, texts))
    return found


def shown_among(queries: Sequence[Query], collection: Collection, shown: Sequence[Shown]) -> dict[str, list[str]]:
    """Queries of an evaluation that were shown: query_id -> names of the systems.

    A query is known by its id where the examples were of the same collection, and by its text anywhere: the same
    collection may be read from another place under another name.
    """
    among: dict[str, list[str]] = {}
    for each in shown:
        for query in queries:
            by_id = each.collection == collection.name and query.query_id in each.query_ids
            if (by_id or _plain(query.text) in each.texts) and each.system not in among.get(query.query_id, []):
                among.setdefault(query.query_id, []).append(each.system)
    return among


def queries_to_measure(
    queries: list[Query], collection: Collection, systems: Sequence[System], rule: str
) -> tuple[list[Query], dict[str, list[str]]]:
    """The queries to evaluate on, and those that a generator was shown, by query id with the systems concerned.

    Args:
        queries: those asked for.
        collection: their collection.
        systems: what is evaluated.
        rule: refuse, leave_out or accept.

    Raises:
        UserError: some were shown, and the rule is to refuse; or none is left.
    """
    among = shown_among(queries, collection, shown_to_generators(systems))
    if among and rule == "refuse":
        some = ", ".join(list(among)[:LISTED])
        names = ", ".join(sorted({name for systems in among.values() for name in systems}))
        raise UserError(
            f"{len(among)} of the {len(queries)} queries were shown as examples to the generator whose queries {names} "
            f"was trained on (such as {some}), so figures on them say nothing about unseen queries; set shown_queries "
            "to leave_out, or to accept to keep them and have the summary say so"
        )
    if rule == "leave_out":
        queries = [query for query in queries if query.query_id not in among]
        if not queries:
            raise UserError("every query was shown to the generator as an example; name another split")
    return queries, among


def _synthesis_links(path: str, seen: set[str]) -> Iterator[dict[str, Any]]:
    """The links to query sets that lie behind a checkpoint, its start, its teacher and its pairs included."""
    inputs = inputs_of(path)
    if inputs is None or (place := str(Path(path).expanduser().resolve())) in seen:
        return
    seen.add(place)
    for link in (*links(inputs, "pairs"), *links(inputs, "text_from")):
        collection = (link.get("inputs") or inputs_of(link.get("path", "")) or {}).get("collection") or {}
        if "synthesis" in collection:
            yield collection["synthesis"]
    teachers = [link.get("teacher") or {} for link in links(inputs, "labels")]
    for link in (inputs.get("start") or {}, *teachers):
        if link.get("path"):
            yield from _synthesis_links(link["path"], seen)


def inputs_of(path: str) -> dict[str, Any] | None:
    """The inputs in the manifest of a directory, or of the job's output that it lies in; None where there is none."""
    folder = Path(path).expanduser()
    for place in (folder, folder.parent) if path and folder.is_dir() else ():
        if (place / MANIFEST).is_file():
            return read_manifest(str(place)).inputs
    return None


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
