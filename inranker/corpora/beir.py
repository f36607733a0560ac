"""BEIR-format directories: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv, each plain or gzip-compressed.

Format: https://github.com/beir-cellar/beir/wiki/Load-your-custom-dataset
"""

from collections.abc import Iterator
from pathlib import Path

from inranker.corpora.checked import CheckedCollection, Numbered
from inranker.corpora.lines import either, lines, objects, text_field
from inranker.errors import UserError
from inranker.types import Passage, Qrel, Query

QUERIES_ARE_DOCUMENTS = ("arguana",)


class BeirCollection(CheckedCollection):
    """A BEIR-format directory.

    Args:
        path: the directory; its name becomes the collection's, `beir/NAME`.
        language: ISO 639-1 code; the format does not say, so English unless told.

    Raises:
        UserError: there is no such directory, or it lacks one of the three parts.
    """

    def __init__(self, path: str, language: str | None = None) -> None:
        self.directory = Path(path).expanduser()
        if not self.directory.is_dir():
            raise UserError(f"{path}: there is no such directory; name one with corpus.jsonl, queries.jsonl and qrels/")
        self.corpus = either(self.directory / "corpus.jsonl")
        self.queries = either(self.directory / "queries.jsonl")
        for file in (self.corpus, self.queries):
            if not file.is_file():
                raise UserError(f"{file}: there is no such file, and a BEIR-format directory needs it; add it")
        if not self.splits():
            raise UserError(f"{self.directory / 'qrels'}: there is no SPLIT.tsv in it, so nothing is judged; add one")
        name = self.directory.resolve().name
        super().__init__(f"beir/{name}", language or "en", "see the source of the collection")
        self.queries_are_documents = name in QUERIES_ARE_DOCUMENTS

    def splits(self) -> list[str]:
        """Names of the qrels files."""
        return sorted(self._qrels_files())

    def read_passages(self) -> Numbered[Passage]:
        """Rows of corpus.jsonl; `title` may be left out or null."""
        for number, row in objects(self.corpus):
            title = text_field(row, "title", self.corpus, number) if row.get("title") is not None else ""
            text = text_field(row, "text", self.corpus, number)
            yield number, Passage(text_field(row, "_id", self.corpus, number), text, title)

    def read_queries(self, split: str) -> Numbered[Query]:
        """Rows of queries.jsonl, which all splits share."""
        for number, row in objects(self.queries):
            identifier = text_field(row, "_id", self.queries, number)
            yield number, Query(identifier, text_field(row, "text", self.queries, number))

    def read_qrels(self, split: str) -> Numbered[Qrel]:
        """Rows of qrels/SPLIT.tsv: query id, passage id and integer relevance between tabs, after a header."""
        return read_qrels_tsv(self._qrels_files()[split])

    def place(self, kind: str, number: int, split: str = "") -> str:
        """File and line; line 0 is the file as a whole."""
        file = {"passages": self.corpus, "queries": self.queries}.get(kind) or self._qrels_files()[split]
        return f"{file}, line {number}" if number else str(file)

    def _qrels_files(self) -> dict[str, Path]:
        found = sorted((self.directory / "qrels").glob("*.tsv*"), reverse=True)  # the plain file wins over its .gz
        return {file.name.split(".tsv")[0]: file for file in found if file.name.endswith((".tsv", ".tsv.gz"))}


def read_qrels_tsv(path: Path) -> Iterator[tuple[int, Qrel]]:
    """Judgments with their line numbers; a header is recognised by a third column that is no number.

    Raises:
        UserError: a line that has not three columns or whose relevance is not an integer.
    """
    for number, line in lines(path):
        columns = line.split("\t")
        if len(columns) != 3:
            raise UserError(
                f"{path}, line {number}: {len(columns)} tab-separated columns; write query-id, corpus-id and score"
            )
        query_id, passage_id, relevance = columns
        try:
            yield number, Qrel(query_id, passage_id, int(relevance))
        except ValueError as error:
            if number > 1:
                raise UserError(
                    f"{path}, line {number}: score {relevance!r} is not an integer; write the relevance as one"
                ) from error
