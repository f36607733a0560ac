"""Systems that were trained on queries which are evaluated on: their figures are an upper bound, and tables say so.

A training job refuses pairs of a test split unless it is told `trains_on_test: true`, which its manifest then says. It
is looked for behind a system's start and its teachers too.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from inranker.corpora.beir16 import is_test_split
from inranker.evaluation.systems import System
from inranker.manifest import MANIFEST, Manifest, links, read_manifest


def trained_on_test(systems: Sequence[System]) -> dict[str, list[str]]:
    """System -> names of the collections on whose test queries it was trained; of those systems alone that were."""
    found = {system.name: sorted(set(_tested(system.path, set()))) for system in systems if system.path}
    return {name: collections for name, collections in found.items() if collections}


def upper_bound_note(found: dict[str, list[str]], collection: str) -> str:
    """What a table says under its rows; nothing where there is nothing to say.

    Args:
        found: as `trained_on_test` gives it.
        collection: what is evaluated on.
    """
    here = {name: any(_same(known, collection) for known in known_of) for name, known_of in found.items()}
    lines = [
        f"upper bound: {name} was trained on these queries"
        if here[name]
        else f"{name} was trained on test queries of {', '.join(collections)}, though not of this collection"
        for name, collections in found.items()
    ]
    return "\n".join(lines)


def _same(known: str, collection: str) -> bool:
    return known.rsplit("/", 1)[-1] == collection.rsplit("/", 1)[-1]


def _tested(path: str, seen: set[str]) -> Iterator[str]:
    manifest = _manifest(path)
    if manifest is None or (place := str(Path(path).expanduser().resolve())) in seen:
        return
    seen.add(place)
    inputs = manifest.inputs
    if manifest.identity.get("trains_on_test"):
        for link in links(inputs, "pairs"):
            collection = (link.get("inputs") or {}).get("collection") or {}
            if is_test_split(str(collection.get("name", "")), str(collection.get("split", ""))):
                yield str(collection["name"])
    teachers: list[dict[str, Any]] = [link.get("teacher") or {} for link in links(inputs, "labels")]
    for link in (inputs.get("start") or {}, *teachers):
        if link.get("path"):
            yield from _tested(str(link["path"]), seen)


def _manifest(path: str) -> Manifest | None:
    """The manifest of the job that made a checkpoint; None where it is not at hand."""
    folder = Path(path).expanduser()
    for place in (folder, folder.parent) if path and folder.is_dir() else ():
        if (place / MANIFEST).is_file():
            return read_manifest(str(place))
    return None
