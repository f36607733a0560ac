"""BM25 by Lucene itself, through Anserini: the first stage that published BM25 figures were made with.

A corpus is indexed once, in a directory of the cache; an index that somebody else made is searched where it is, or
fetched by Anserini when it is the name of one of its prebuilt ones. Text becomes terms by Lucene's analyser of the
language, or by InRanker's: then passages and queries are given to Lucene as terms between spaces, and it only weighs.
Lucene keeps a passage's length in one byte, so its scores differ a little from bm25s's.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inranker.errors import UserError
from inranker.fingerprint import fingerprint, sha256_file
from inranker.retrieval.analysis import Analyser, analyser
from inranker.retrieval.index_cache import describe, described, kept
from inranker.retrieval.java import anserini, jar
from inranker.retrieval.options import Bm25Options
from inranker.retrieval.passage_ids import PassageIds, PassageIdsBuilder, load_passage_ids
from inranker.retrieval.runs import Run, read_run
from inranker.types import Passage, Query, ScoredDoc

# The languages that Anserini has an analyser for; of any other one it would split the text at spaces without a word.
LUCENE_LANGUAGES = "ar bn da de en es fa fi fr hi hu id it ja ko nl no pt ru sv te th tr zh".split()
INDEX = "lucene"
FORMAT = 1


@dataclass(frozen=True)
class Terms:
    """How text becomes terms: `own` is InRanker's analyser, or None where Lucene's of the language does it."""

    language: str
    own: Analyser | None

    @property
    def name(self) -> str:
        """Tells analysers with different results apart."""
        return f"lucene-{self.own.name}" if self.own else f"lucene-{self.language}"

    def of(self, text: str) -> str:
        """What Lucene is given for a text."""
        return " ".join(self.own.terms(text)) if self.own else " ".join(text.split())

    @property
    def flags(self) -> list[str]:
        """The same on Anserini's command line."""
        return ["-pretokenized"] if self.own else ["-language", self.language]


def terms_for(language: str, options: Bm25Options) -> Terms:
    """How text of a language becomes terms.

    Raises:
        UserError: whoever is to make the terms has no analyser of the language.
    """
    lucenes = options.analyser == "lucene" or (options.analyser == "auto" and language == "en")
    if lucenes and language not in LUCENE_LANGUAGES:
        raise UserError(
            f"Lucene has no analyser of language {language!r}; set bm25.analyser to inranker, or name one of "
            f"{', '.join(LUCENE_LANGUAGES)}"
        )
    return Terms(language, None if lucenes else analyser(language))


class LuceneIndex:
    """A Lucene index on disk, or the name of a prebuilt one.

    Args:
        location: directory or prebuilt name.
        terms: what its passages went through, and queries must.
        options: k1 and b.
        ids: passage ids by row, where the index numbers its documents; None where it holds the ids themselves.
    """

    def __init__(self, location: str, terms: Terms, options: Bm25Options, ids: PassageIds | None = None) -> None:
        self.location = location
        self.terms = terms
        self.options = options
        self.ids = ids
        self.temporary: tempfile.TemporaryDirectory[str] | None = None  # of an index that nobody keeps

    def search(self, queries: list[Query], depth: int, threads: int | None = None) -> Run:
        """The best passages of each query, best first, at most `depth`; equal scores in the order of Lucene's ids.

        One JVM searches for all of them with so many threads (by default one a core).

        Raises:
            UserError: no Java, no such index, or an index in which no query finds anything.
        """
        asked = {str(row): self.terms.of(query.text) for row, query in enumerate(queries)}
        asked = {row: text for row, text in asked.items() if text}
        found: Run = {}
        if asked and depth > 0:
            with tempfile.TemporaryDirectory(prefix="inranker-lucene-") as folder:
                topics, run = Path(folder) / "topics.tsv", Path(folder) / "run.txt"
                topics.write_text("".join(f"{row}\t{text}\n" for row, text in asked.items()), encoding="utf-8")
                self._run(topics, run, depth, threads)
                found = read_run(run) if run.stat().st_size else {}
        rankings = {query.query_id: self._named(query, found.get(str(row), [])) for row, query in enumerate(queries)}
        if self.ids is None and asked and not found:
            raise UserError(
                f"index {self.location} has no passage for any of {len(asked)} queries analysed as {self.terms.name}; "
                "it was made with another analyser or of another corpus: set bm25.analyser and language to the index's"
            )
        return rankings

    def _run(self, topics: Path, run: Path, depth: int, threads: int | None) -> None:
        fields = {
            "-index": self.location,
            "-topics": str(topics),
            "-topicReader": "TsvString",
            "-output": str(run),
            "-bm25.k1": str(self.options.k1),
            "-bm25.b": str(self.options.b),
            "-hits": str(depth),
            "-threads": str(threads or os.cpu_count() or 1),
        }
        arguments = [part for field in fields.items() for part in field]
        anserini("search.SearchCollection", ["-bm25", *arguments, *self.terms.flags], f"search {self.location}")
        if not run.is_file():
            raise UserError(f"Lucene could not search {self.location}: it is no index; name an index or a prebuilt one")

    def _named(self, query: Query, ranking: list[ScoredDoc]) -> list[ScoredDoc]:
        if self.ids is None:
            return [document._replace(query_id=query.query_id) for document in ranking]
        names = self.ids.at(np.array([int(document.passage_id) for document in ranking], dtype=np.int64))
        return [ScoredDoc(query.query_id, name, document.score) for name, document in zip(names, ranking, strict=True)]


def load_or_build(
    passages: Callable[[], Iterable[Passage]],
    corpus_hash: str,
    terms: Terms,
    cache: str | Path,
    options: Bm25Options,
    threads: int | None = None,
) -> LuceneIndex:
    """The index of a corpus from the cache directory, built and kept there first where it is not.

    k1 and b are chosen at search time, so they are no part of an index.

    Raises:
        UserError: no Java, or an index in the cache that is damaged.
    """
    key = fingerprint([corpus_hash, terms.name, FORMAT, jar().name])
    place = kept(cache, f"lucene-{key[:32]}", lambda directory: _build(directory, passages(), terms, threads))
    described(place, terms.name)
    return LuceneIndex(str(place / INDEX), terms, options, load_passage_ids(place))


def existing(location: str, terms: Terms, options: Bm25Options) -> LuceneIndex:
    """An index that somebody else made: a directory, or a prebuilt name such as beir-v1.0.0-scifact.flat.

    Raises:
        UserError: a directory without a Lucene index.
    """
    directory = Path(location).expanduser()
    if directory.exists() or "/" in location:
        if not list(directory.glob("segments_*")):
            raise UserError(f"{location}: there is no Lucene index in it (no file segments_N); name its directory")
        return LuceneIndex(str(directory), terms, options)
    return LuceneIndex(location, terms, options)


def existing_identity(location: str) -> str:
    """What tells an index's content: the sha256 of its last commit, which holds random ids; a prebuilt one's name."""
    commits = sorted(Path(location).expanduser().glob("segments_*"), key=lambda file: int(file.name[9:], 36))
    return sha256_file(commits[-1]) if commits else location


def _build(directory: Path, passages: Iterable[Passage], terms: Terms, threads: int | None) -> None:
    """Documents are named by their row in the corpus, so that equal scores stay in corpus order."""
    source = directory / "passages"
    source.mkdir()
    ids = PassageIdsBuilder()
    with open(source / "passages.jsonl", "w", encoding="utf-8") as file:
        for row, passage in enumerate(passages):
            ids.append(passage.passage_id)
            contents = terms.of(passage.contents)
            file.write(json.dumps({"id": f"{row:010d}", "contents": contents}, ensure_ascii=False) + "\n")
    fields = {
        "-collection": "JsonCollection",
        "-input": str(source),
        "-index": str(directory / INDEX),
        "-generator": "DefaultLuceneDocumentGenerator",
        "-threads": str(threads or os.cpu_count() or 1),
        "-memoryBuffer": "512",  # MB; the default of 4 GB is more than a JVM gets on a machine with 16
    }
    arguments = [part for field in fields.items() for part in field]
    anserini("index.IndexCollection", [*arguments, *terms.flags, "-optimize"], "index the passages")
    shutil.rmtree(source)
    kept_ids = ids.finish()
    kept_ids.save(directory)
    describe(directory, analyser=terms.name, passages=len(kept_ids))
