"""Collections of the user's own: files of any kind, described in a few lines of YAML or by their names.

    name: clinic
    language: pt
    queries_are_documents: false
    passages: {path: notes.parquet, id: note_id, text: body, title: heading}
    queries: {path: questions.csv, id: question_id, text: question}
    qrels:
      train: {path: clicks.tsv, query: question_id, passage: note_id, relevance: grade}
      test: {path: judged.qrels}

Paths are relative to the description. Columns that are called id, title, text, query_id, passage_id and relevance need
not be named. Queries in a `.trec` or `.topics` file and qrels in a `.qrels` or `.txt` file are TREC's.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from inranker.corpora.checked import CheckedCollection, Numbered
from inranker.corpora.lines import either, text_field
from inranker.corpora.records import KINDS, records
from inranker.corpora.trec import read_trec_qrels, read_trec_topics
from inranker.errors import UserError
from inranker.types import Passage, Qrel, Query

TOPICS = (".trec", ".topics")
QRELS = (".qrels", ".txt")
PARTS = {
    "passages": {"id": "id", "text": "text", "title": "title"},
    "queries": {"id": "id", "text": "text"},
    "qrels": {"query": "query_id", "passage": "passage_id", "relevance": "relevance"},
}
OPTIONAL = ("title", "relevance")


@dataclass(frozen=True)
class Source:
    """A file and what its columns are called; an optional one is None where it was not named and may be missing."""

    path: Path
    columns: dict[str, str]
    named: frozenset[str]

    def is_trec(self, endings: tuple[str, ...]) -> bool:
        """Whether the file is of TREC's kind."""
        return self.path.name.removesuffix(".gz").endswith(endings)

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The file's rows."""
        optional = [key for key in OPTIONAL if key in self.columns and key not in self.named]
        wanted = tuple(column for key, column in self.columns.items() if key not in optional)
        return records(self.path, wanted, tuple(self.columns[key] for key in optional))


@dataclass(frozen=True)
class Description:
    """A collection in files."""

    name: str
    passages: Source
    queries: Source
    qrels: dict[str, Source]
    language: str = "en"
    licence: str = "the user's own"
    queries_are_documents: bool = False
    where: str = field(default="", compare=False)


class FilesCollection(CheckedCollection):
    """A collection of described files."""

    def __init__(self, description: Description, language: str | None = None) -> None:
        self.description = description
        super().__init__(
            description.name, language or description.language, description.licence, description.queries_are_documents
        )

    def splits(self) -> list[str]:
        """Names of the qrels."""
        return sorted(self.description.qrels)

    def read_passages(self) -> Numbered[Passage]:
        """Rows of the passages' file."""
        source = self.description.passages
        for number, row in source.rows():
            title = source.columns["title"]
            head = _text(source, row, "title", number) if row.get(title) is not None else ""
            yield number, Passage(_text(source, row, "id", number), _text(source, row, "text", number), head)

    def read_queries(self, split: str) -> Numbered[Query]:
        """Rows of the queries' file, which all splits share."""
        source = self.description.queries
        if source.is_trec(TOPICS):
            yield from read_trec_topics(source.path)
        else:
            for number, row in source.rows():
                yield number, Query(_text(source, row, "id", number), _text(source, row, "text", number))

    def read_qrels(self, split: str) -> Numbered[Qrel]:
        """Rows of a split's qrels; where there is no relevance, every row is a relevant passage."""
        source = self.description.qrels[split]
        if source.is_trec(QRELS):
            yield from read_trec_qrels(source.path)
        else:
            for number, row in source.rows():
                given = row.get(source.columns["relevance"], 1)
                try:
                    relevance = int(given)
                except (TypeError, ValueError) as error:
                    raise UserError(
                        f"{source.path}, line {number}: relevance {given!r} is not an integer; write it as one"
                    ) from error
                query_id, passage_id = (_text(source, row, key, number) for key in ("query", "passage"))
                yield number, Qrel(query_id, passage_id, relevance)

    def place(self, kind: str, number: int, split: str = "") -> str:
        """File and line or row; 0 is the file as a whole."""
        source = {"passages": self.description.passages, "queries": self.description.queries}.get(kind)
        path = (source or self.description.qrels[split]).path
        return f"{path}, {'row' if path.suffix == '.parquet' else 'line'} {number}" if number else str(path)


def open_files(path: str, language: str | None = None) -> FilesCollection:
    """The collection that a YAML file describes.

    Raises:
        UserError: no such description, or one that names what is not there.
    """
    return FilesCollection(read_description(Path(path).expanduser()), language)


def read_description(path: Path) -> Description:
    """A description and the files that it names, which must exist.

    Raises:
        UserError: as open_files.
    """
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "problem", None) or error
        raise UserError(f"{path}: cannot be read as a collection's description ({reason}); check the file") from error
    value = value if isinstance(value, dict) else {}
    known = ("name", "language", "licence", "queries_are_documents", *PARTS)
    for key in value:
        if key not in known:
            raise UserError(f"{path}: unknown key {key!r}; a description has {', '.join(known)}")
    for part in PARTS:
        if not isinstance(value.get(part), dict):
            raise UserError(f"{path}: {part} is missing or has no path; write {part}: {{path: …}}")
    common = {key: value[key] for key in ("language", "licence", "queries_are_documents") if key in value}
    return Description(
        name=value.get("name", path.stem),
        passages=_source(path, "passages", value["passages"]),
        queries=_source(path, "queries", value["queries"]),
        qrels={str(split): _source(path, "qrels", part) for split, part in value["qrels"].items()},
        **common,
    )


def described_folder(kind: str, folder: str) -> Description:
    """The description of a folder that holds passages.KIND, queries.KIND and qrels/SPLIT.KIND, or `collection.yaml`.

    Raises:
        UserError: one of them is missing.
    """
    directory = Path(folder).expanduser()
    if (own := directory / "collection.yaml").is_file():
        return read_description(own)
    passages, queries = (_source(own, part, f"{part}.{kind}") for part in ("passages", "queries"))
    found = sorted((directory / "qrels").glob(f"*.{kind}*"))
    qrels = {file.name.split(".")[0]: _source(own, "qrels", {"path": f"qrels/{file.name}"}) for file in found}
    if not qrels:
        raise UserError(f"{directory / 'qrels'}: there is no SPLIT.{kind} in it, so nothing is judged; add one")
    return Description(directory.resolve().name, passages, queries, qrels)


def folder_reader(kind: str) -> Any:
    """The reader of folders of one kind of file, for READERS."""
    assert kind in KINDS
    return lambda folder, language=None: FilesCollection(described_folder(kind, folder), language)


def _source(description: Path, part: str, value: Any) -> Source:
    value = {"path": value} if isinstance(value, str) else value
    if not isinstance(value, dict) or not isinstance(value.get("path"), str):
        raise UserError(f"{description}: {part} names no file; write {{path: …}}")
    names = PARTS[part]
    for key in value:
        if key not in ("path", *names):
            raise UserError(f"{description}: {part} has no column {key!r}; name {', '.join(names)}")
    path = either(description.parent / value["path"])
    if not path.is_file():
        raise UserError(f"{path}: there is no such file, and the collection needs it as its {part}; add it")
    return Source(path, {key: str(value.get(key, name)) for key, name in names.items()}, frozenset(value))


def _text(source: Source, row: dict[str, Any], key: str, number: int) -> str:
    column = source.columns[key]
    if key not in ("text", "title") and isinstance(row.get(column), int):
        return str(row[column])  # ids are often numbers
    return text_field(row, column, source.path, number)
