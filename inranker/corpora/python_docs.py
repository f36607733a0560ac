"""`python-docs`: a known-item collection made on the spot from the standard library of the running Python.

A query is the summary of a docstring, its only relevant passage the rest of it. The corpus is every docstring with
enough text after its summary, also those whose summary is no query. Nothing is downloaded or imported, and one version
of Python always gives the same collection.
"""

import hashlib
import re
import sysconfig
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from inranker.corpora.checked import CheckedCollection, Numbered
from inranker.corpora.docstrings import Docstring, docstrings
from inranker.corpora.near_duplicates import near_duplicate_groups
from inranker.errors import UserError
from inranker.types import Passage, Qrel, Query

MIN_PASSAGE_WORDS = 8
QUERY_WORDS = range(3, 41)
SPLIT_ENDS = {"train": 65, "dev": 77, "test": 100}  # percentiles of the hash of a top-level module


@dataclass(frozen=True)
class KnownItem:
    """A summary whose docstring's rest is the answer."""

    query: str
    passage_id: str
    split: str


class PythonDocsCollection(CheckedCollection):
    """Docstrings of the standard library.

    Args:
        argument: nothing comes after `python-docs`.
        language: only English is spoken here.
        root: directory of the sources, that of the running Python unless told.

    Raises:
        UserError: something was written after `python-docs`, or there are no sources.
    """

    def __init__(self, argument: str = "", language: str | None = None, root: str | None = None) -> None:
        if argument:
            raise UserError(f"collection 'python-docs:{argument}': python-docs takes no argument; drop {argument!r}")
        if language not in (None, "en"):
            raise UserError(f"language {language!r}: python-docs is in English; drop the field or say en")
        super().__init__("python-docs", "en", "Python Software Foundation License 2.0")
        self.root = Path(root or sysconfig.get_path("stdlib"))
        found = list(docstrings(self.root))
        if not found:
            raise UserError(f"{self.root}: no docstrings there; install the sources of Python's standard library")
        self.sources, self.left_out = _distinct_passages(found)
        self.known_items = _known_items(found, self.sources, self.left_out)

    def splits(self) -> list[str]:
        """train, dev and test, where modules were found for them."""
        present = {item.split for item in self.known_items}
        return [split for split in SPLIT_ENDS if split in present]

    def read_passages(self) -> Numbered[Passage]:
        """The rest of each docstring, under its qualified name."""
        return ((number, Passage(name, source.rest)) for number, (name, source) in enumerate(self.sources.items()))

    def read_queries(self, split: str) -> Numbered[Query]:
        """Summaries, called `q:NAME`."""
        items = (item for item in self.known_items if item.split == split)
        return ((number, Query(f"q:{item.passage_id}", item.query)) for number, item in enumerate(items))

    def read_qrels(self, split: str) -> Numbered[Qrel]:
        """One relevant passage a query."""
        items = (item for item in self.known_items if item.split == split)
        return ((number, Qrel(f"q:{item.passage_id}", item.passage_id, 1)) for number, item in enumerate(items))

    def place(self, kind: str, number: int, split: str = "") -> str:
        """The sources and the number of the docstring."""
        return f"docstrings of {self.root}, {kind} {number}"

    def counts(self, split: str | None = None) -> dict[str, int]:
        """Also what became of the docstrings that are no passage or no query."""
        return super().counts(split) | self.left_out | {"queries_of_all_splits": len(self.known_items)}


def words(text: str) -> list[str]:
    """Lower-cased words, to count and compare."""
    return re.findall(r"\w+", text.lower())


def split_of_module(module: str) -> str:
    """The split of a top-level module: its own hash decides, so other modules coming or going move nothing."""
    percentile = int.from_bytes(hashlib.sha256(f"split:{module}".encode()).digest()[:8], "big") % 100
    return next(split for split, end in SPLIT_ENDS.items() if percentile < end)


def _distinct_passages(found: list[Docstring]) -> tuple[dict[str, Docstring], dict[str, int]]:
    """Docstrings with enough text, by name and in the order of names; of equal texts the smallest name stays."""
    long_enough = sorted((doc for doc in found if len(words(doc.rest)) >= MIN_PASSAGE_WORDS), key=lambda doc: doc.name)
    distinct: dict[str, Docstring] = {}
    for doc in long_enough:
        distinct.setdefault(doc.rest, doc)
    left_out = {
        "docstrings": len(found),
        "docstrings_too_short": len(found) - len(long_enough),
        "docstrings_repeated": len(long_enough) - len(distinct),
    }
    return {doc.name: doc for doc in distinct.values()}, left_out


def _known_items(found: list[Docstring], passages: dict[str, Docstring], left_out: dict[str, int]) -> list[KnownItem]:
    """A query for each passage whose summary is long enough and is nobody else's, near duplicates in one split."""
    times = Counter(tuple(words(doc.summary)) for doc in found)
    groups = near_duplicate_groups({name: doc.rest for name, doc in passages.items()})
    items, repeated, unusable = [], 0, 0
    for name, doc in passages.items():
        summary = tuple(words(doc.summary))
        if len(summary) not in QUERY_WORDS:
            unusable += 1
        elif times[summary] > 1:
            repeated += 1
        else:
            items.append(KnownItem(doc.summary, name, split_of_module(passages[groups[name]].module)))
    left_out |= {
        "summaries_repeated": repeated,
        "summaries_unusable": unusable,
        "near_duplicate_passages": sum(group != name for name, group in groups.items()),
    }
    return items
