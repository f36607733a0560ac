"""Labels made on one text, training on another with the same ids: the other text, looked up by (query_id, passage_id).

Texts wait on disk and ids are 128-bit hashes, so that MS MARCO's millions of pairs and their translations fit.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from inranker.corpora.spilled import SpilledTexts
from inranker.errors import UserError
from inranker.labeling.dedupe import KEY, text_keys

LISTED = 5  # ids named in a message; the rest are counted
KEPT = 1000  # ids kept for alignment.json

Ids = tuple[str, str]


@dataclass
class Alignment:
    """How two sets of pairs match: ids that the other text lacks, and ids that it has and nobody labelled."""

    labelled: int = 0
    other: int = 0
    missing: list[Ids] = field(default_factory=list)
    missing_count: int = 0
    extra: list[Ids] = field(default_factory=list)
    extra_count: int = 0

    def report(self) -> dict[str, Any]:
        """Counts, and the first ids of either kind."""
        return {
            "labelled": self.labelled,
            "in_text_from": self.other,
            "missing": self.missing_count,
            "missing_ids": self.missing,
            "extra": self.extra_count,
            "extra_ids": self.extra,
        }

    def require_complete(self, url: str) -> None:
        """Refuse a text that does not have all labelled pairs.

        Raises:
            UserError: it lacks some; the message names the first of them, and how many there are besides.
        """
        if not self.missing_count:
            return
        besides = f" (and has {self.extra_count} that nobody labelled, {_some(self.extra)})" if self.extra_count else ""
        raise UserError(
            f"{url} lacks {self.missing_count} of the labelled pairs, {_some(self.missing)}{besides}; `text_from` must "
            "hold the same (query_id, passage_id) as the pairs that were labelled"
        )


class OtherTexts:
    """Query and passage of every pair of `text_from`.

    Args:
        tables: pairs with columns query_id, passage_id, query and passage.
    """

    def __init__(self, tables: Iterable[pa.Table]) -> None:
        self.texts = SpilledTexts()
        self.ids: list[pa.Table] = []
        keys = [np.zeros(0, KEY)]
        for table in tables:
            keys.append(_keys(table))
            self.ids.append(table.select(["query_id", "passage_id"]))
            for query, passage in zip(table["query"].to_pylist(), table["passage"].to_pylist(), strict=True):
                self.texts.add(query)
                self.texts.add(passage)
        self.texts.seal()
        self.keys_N = np.concatenate(keys)
        self.order_N = np.lexsort((self.keys_N["low"], self.keys_N["high"]))
        self.sorted_N = self.keys_N[self.order_N]
        self.used_N = np.zeros(len(self.keys_N), dtype=bool)
        self.alignment = Alignment(other=len(self.keys_N))

    def put_into(self, table: pa.Table) -> pa.Table | None:
        """A table of labelled pairs with the other text; None where a pair has none."""
        wanted = _keys(table)
        self.alignment.labelled += len(wanted)
        place = np.searchsorted(self.sorted_N, wanted)
        found = np.zeros(len(wanted), dtype=bool)
        inside = place < len(self.sorted_N)
        found[inside] = self.sorted_N[place[inside]] == wanted[inside]
        rows = self.order_N[place[found]]
        self.used_N[rows] = True
        if not found.all():
            self._note_missing(table.filter(pa.array(~found)))
            return None
        for side, name in enumerate(("query", "passage")):
            values = pa.array([self.texts[2 * int(row) + side] for row in rows], pa.string())
            table = table.set_column(table.column_names.index(name), name, values)
        return table

    def finish(self) -> Alignment:
        """How the two sets matched, once all labelled pairs have been asked for; lets go of the texts."""
        self.texts.close()
        unused = np.flatnonzero(~self.used_N)
        self.alignment.extra_count = len(unused)
        if len(unused):
            self.alignment.extra = list(_ids(pa.concat_tables(self.ids).take(pa.array(unused[:KEPT]))))
        return self.alignment

    def _note_missing(self, table: pa.Table) -> None:
        self.alignment.missing_count += table.num_rows
        room = KEPT - len(self.alignment.missing)
        self.alignment.missing += list(_ids(table.slice(0, room)))


def _keys(table: pa.Table) -> np.ndarray:
    keys: np.ndarray = text_keys(table["query_id"].to_pylist(), table["passage_id"].to_pylist())
    return keys


def _ids(table: pa.Table) -> Iterator[Ids]:
    return zip(table["query_id"].to_pylist(), table["passage_id"].to_pylist(), strict=True)


def _some(ids: list[Ids]) -> str:
    return "such as " + ", ".join(f"({query_id}, {passage_id})" for query_id, passage_id in ids[:LISTED])
