"""Lines in and out, one at a time: files or standard input, a file that appears whole or standard output."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from inranker.corpora.lines import BYTE_ORDER_MARK, lines
from inranker.errors import UserError

STANDARD = "-"


def place(name: str) -> str:
    """How errors name an input."""
    return "standard input" if name == STANDARD else name


def numbered_lines(name: str) -> Iterator[tuple[int, str]]:
    """The lines that hold anything of a file (plain or gzip-compressed) or of standard input, numbered from 1.

    Raises:
        UserError: no such file, or a line that is not UTF-8.
    """
    return _standard_lines() if name == STANDARD else lines(Path(name))


def _standard_lines() -> Iterator[tuple[int, str]]:
    for number, raw in enumerate(sys.stdin.buffer, start=1):
        try:
            line = raw.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise UserError(
                f"standard input, line {number}: not valid UTF-8 (byte {error.start} of the line); convert it to UTF-8"
            ) from error
        if line.strip():
            yield number, line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line


@contextmanager
def writing(name: str) -> Iterator[IO[str]]:
    """A text file that appears under its name when the block ends well, or standard output.

    Raises:
        UserError: the file cannot be written.
    """
    if name == STANDARD:
        yield sys.stdout
        sys.stdout.flush()
        return
    path = Path(name)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            yield file
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"output {name}: cannot be written ({error.strerror})") from error
    finally:
        temporary.unlink(missing_ok=True)
