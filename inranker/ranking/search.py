"""The passages of some files, best first, for a person to read."""

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from inranker.corpora.windows import ENDINGS, OVERLAP, WORDS, sections, windows
from inranker.errors import UserError
from inranker.types import Passage

from .ranker import RankedPassage

LINES_SHOWN = 3


def passages_of(names: Sequence[str]) -> list[Passage]:
    """The passages of text and Markdown files (of directories: all below them), or of standard input without any.

    A passage is whole sentences of at most 120 words, of which 30 come again in the next; its id is the file's name
    and the passage's number in it.

    Raises:
        UserError: no such file, one that is not UTF-8, or no text in any of them.
    """
    if not names:
        found = [Passage(f"stdin#{n}", text) for n, text in enumerate(windows(_standard_input(), WORDS, OVERLAP), 1)]
    else:
        found = [passage for name in names for file in _files(Path(name)) for passage in _passages(file)]
    if not found:
        raise UserError(f"no text in {', '.join(names) or 'standard input'}; name files that hold some")
    return found


def show(hits: Sequence[RankedPassage], out: IO[str]) -> None:
    """Rank, probability, place and the first lines of each passage."""
    width = max(40, min(shutil.get_terminal_size((100, 24)).columns, 120))
    for rank, hit in enumerate(hits, start=1):
        passage: Passage = hit.passage
        title = f"  {passage.title}" if passage.title else ""
        head = f"{rank:>3}  {hit.probability:.3f}  {hit.score:+.2f}  {passage.passage_id}{title}"
        text = textwrap.wrap(passage.text, width - 5, max_lines=LINES_SHOWN, placeholder=" …")
        out.write("\n".join([head, *(f"     {line}" for line in text)]) + "\n")


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in ENDINGS and file.is_file())
    if not files:
        raise UserError(f"{path}: there is no file in it that ends in {', '.join(ENDINGS)}; name a file")
    return files


def _passages(file: Path) -> Iterator[Passage]:
    number = 0
    for title, text in sections(file):
        for window in windows(text, WORDS, OVERLAP):
            number += 1
            yield Passage(f"{file}#{number}", window, title)


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"standard input: not valid UTF-8 (byte {error.start}); convert it to UTF-8") from error
