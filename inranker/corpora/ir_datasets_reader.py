"""Collections that the ir_datasets library knows (https://ir-datasets.com): MS MARCO, mMARCO, BEIR, TREC DL, …

The library does the downloading and parsing; `ir_datasets:beir/scifact` offers its splits `test` and `train`, and
`ir_datasets:beir/scifact/test` the one.
"""

from collections.abc import Iterator
from typing import Any

from inranker.corpora.checked import CheckedCollection, Numbered
from inranker.errors import UserError
from inranker.types import Passage, Qrel, Query

QUERIES_ARE_DOCUMENTS = ("beir/arguana",)
WHOLE = "all"  # the split of a dataset whose id has no part that could name it


class IrDatasetsCollection(CheckedCollection):
    """A dataset of ir_datasets.

    Args:
        dataset_id: its id there.
        language: ISO 639-1 code; otherwise what the dataset says of its documents, else English.

    Raises:
        UserError: the library does not know the id, or the dataset has no documents.
    """

    def __init__(self, dataset_id: str, language: str | None = None) -> None:
        import ir_datasets

        self.dataset_id = dataset_id
        try:
            self.dataset = ir_datasets.load(dataset_id)
        except KeyError as error:
            raise UserError(
                f"ir_datasets knows no dataset {dataset_id!r}; pick an id from https://ir-datasets.com"
            ) from error
        if not self.dataset.has_docs():
            raise UserError(f"dataset {dataset_id!r} of ir_datasets has no documents; name one that has")
        spoken = language or self.dataset.docs_lang() or "en"
        licence = f"see https://ir-datasets.com/{dataset_id.split('/')[0]}.html"
        super().__init__(dataset_id, spoken, licence, dataset_id in QUERIES_ARE_DOCUMENTS)
        self.datasets_of_splits = _splits(ir_datasets, dataset_id, self.dataset)

    def splits(self) -> list[str]:
        """What follows the dataset's own id in the ids of its judged subsets."""
        return sorted(self.datasets_of_splits)

    def read_passages(self) -> Numbered[Passage]:
        """Documents in the library's order; where one has a title and a text they stay apart."""
        for number, document in enumerate(self._stream(self.dataset.docs_iter), start=1):
            if hasattr(document, "title") and hasattr(document, "text"):
                yield number, Passage(document.doc_id, document.text, document.title)
            else:
                yield number, Passage(document.doc_id, document.default_text())

    def read_queries(self, split: str) -> Numbered[Query]:
        """Queries of a split's dataset."""
        records = self._stream(self.datasets_of_splits[split].queries_iter)
        return ((number, Query(row.query_id, row.default_text())) for number, row in enumerate(records, start=1))

    def read_qrels(self, split: str) -> Numbered[Qrel]:
        """Judgments of a split's dataset."""
        records = self._stream(self.datasets_of_splits[split].qrels_iter)
        return (
            (number, Qrel(row.query_id, row.doc_id, int(row.relevance))) for number, row in enumerate(records, start=1)
        )

    def place(self, kind: str, number: int, split: str = "") -> str:
        """Dataset, kind of record and its number."""
        where = f"ir_datasets:{self.dataset_id}"
        where += f"/{split}" if split not in ("", WHOLE) and not self.dataset_id.endswith(f"/{split}") else ""
        return f"{where}, {kind}" + (f", record {number}" if number else "")

    def _stream(self, iterate: Any) -> Iterator[Any]:
        try:
            yield from iterate()
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(
                f"ir_datasets could not provide {self.dataset_id}: {error}; see the dataset's page for what it needs"
            ) from error


def _splits(library: Any, dataset_id: str, dataset: Any) -> dict[str, Any]:
    judged = {}
    if dataset.has_qrels() and dataset.has_queries():
        judged[dataset_id.rpartition("/")[2] if "/" in dataset_id else WHOLE] = dataset
    prefix = f"{dataset_id}/"
    for other in library.registry:
        if other.startswith(prefix):
            subset = library.load(other)
            if subset.has_qrels() and subset.has_queries():
                judged[other.removeprefix(prefix)] = subset
    return judged
