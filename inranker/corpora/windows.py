"""A directory of plain text and Markdown files as passages: whole sentences, so many words, some of them twice.

`texts:DIR` cuts into passages of at most 120 words that overlap by 30; `texts:DIR:200:50` says otherwise. There are no
queries: make some (`synthesize`), or name this corpus in another description.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from inranker.corpora.checked import CheckedCollection, Numbered
from inranker.corpora.lines import whole_lines
from inranker.errors import UserError
from inranker.types import Passage, Qrel, Query

ENDINGS = (".txt", ".md", ".markdown", ".rst")
WORDS, OVERLAP = 120, 30
# A sentence ends at its mark, with what closes after it, before white space and something that can begin one.
SENTENCE_END = re.compile(r"(?<=[.!?…])(?:[\"'”’)\]]*)\s+(?=[\"'“‘(\[¿¡]*[A-ZÀ-ÖØ-Þ0-9Ѐ-Я])|(?<=[。！？])")
HEADING = re.compile(r"^\s{0,3}#{1,6}\s+(.*?)\s*#*\s*$")
FENCE = re.compile(r"^\s{0,3}(```|~~~)")


class TextsCollection(CheckedCollection):
    """The files of a directory and those below it, in the order of their paths.

    Raises:
        UserError: no such directory, no text in it, or sizes that make no sense.
    """

    def __init__(self, argument: str, language: str | None = None) -> None:
        folder, words, overlap = _parse(argument)
        self.directory = Path(folder).expanduser()
        self.words, self.overlap = words, overlap
        if not self.directory.is_dir():
            raise UserError(f"{folder}: there is no such directory; name one with text or Markdown files")
        self.files = sorted(file for file in self.directory.rglob("*") if file.suffix.lower() in ENDINGS)
        if not self.files:
            raise UserError(f"{folder}: there is no file that ends in {', '.join(ENDINGS)}; name another directory")
        super().__init__(f"texts/{self.directory.resolve().name}", language or "en", "the user's own")

    def splits(self) -> list[str]:
        """None: nothing is judged."""
        return []

    def read_passages(self) -> Numbered[Passage]:
        """The windows of every section of every file; the id is the file's path and the window's number in it."""
        number = 0
        for file in self.files:
            name = file.relative_to(self.directory).as_posix()
            window = 0
            for title, text in sections(file):
                for passage in windows(text, self.words, self.overlap):
                    number += 1
                    window += 1
                    yield number, Passage(_id(name, window), passage, title)

    def read_queries(self, split: str) -> Numbered[Query]:
        """None."""
        return iter(())

    def read_qrels(self, split: str) -> Numbered[Qrel]:
        """None."""
        return iter(())

    def place(self, kind: str, number: int, split: str = "") -> str:
        """Directory and number of the passage."""
        return f"{self.directory}, passage {number}" if number else str(self.directory)


def sections(path: Path) -> Iterator[tuple[str, str]]:
    """Heading and text of each part of a Markdown file; a plain one is one part without a heading. Code stays whole."""
    markdown = path.suffix.lower() in (".md", ".markdown")
    title, text, fenced = "", "", False
    for _, line in whole_lines(path):
        fenced ^= bool(FENCE.match(line))
        if markdown and not fenced and (found := HEADING.match(line)):
            yield title, text
            title, text = found[1], ""
        else:
            text += line
    yield title, text


def windows(text: str, words: int, overlap: int) -> Iterator[str]:
    """Passages of whole sentences, at most `words` words each; the last ones, up to `overlap` words, come again.

    Only a sentence that is longer than a passage is cut, between words.
    """
    current: list[list[str]] = []
    fresh = False
    for sentence in _pieces(text, words):
        if current and sum(map(len, current)) + len(sentence) > words:
            yield _joined(current)
            while current and (sum(map(len, current)) > overlap or sum(map(len, current)) + len(sentence) > words):
                current.pop(0)
            fresh = False
        current.append(sentence)
        fresh = True
    if fresh:
        yield _joined(current)


def _pieces(text: str, words: int) -> Iterator[list[str]]:
    for paragraph in re.split(r"\n\s*\n", text):
        for sentence in SENTENCE_END.split(paragraph):
            split = (sentence or "").split()
            yield from (split[start : start + words] for start in range(0, len(split), words))


def _joined(sentences: list[list[str]]) -> str:
    return " ".join(" ".join(sentence) for sentence in sentences)


def _id(name: str, window: int) -> str:
    """Path and number; a path that no run file could carry is named by its hash."""
    clean = name if len(name.split()) == 1 else f"{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return f"{clean}#{window}"


def _parse(argument: str) -> tuple[str, int, int]:
    found = re.fullmatch(r"(.*?)(?::(\d+)(?::(\d+))?)?", argument)
    assert found
    words = int(found[2]) if found[2] else WORDS
    overlap = int(found[3]) if found[3] else min(OVERLAP, words // 4)
    if words < 1 or overlap >= words:
        raise UserError(f"texts:{argument}: {words} words that overlap by {overlap}; let them overlap by fewer")
    return found[1], words, overlap
