"""Lines of text files, plain or gzip-compressed, with their numbers and with errors that name them."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inranker.errors import UserError

BYTE_ORDER_MARK = "\ufeff"


def either(path: Path) -> Path:
    """The file itself or, where only that one exists, its `.gz`."""
    compressed = path.with_name(path.name + ".gz")
    return compressed if not path.exists() and compressed.exists() else path


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that hold anything, numbered from 1; only a line feed ends one, as JSON may hold other separators.

    Raises:
        UserError: no such file, not UTF-8, or a damaged gzip file.
    """
    return ((number, line.rstrip("\r\n")) for number, line in whole_lines(path) if line.strip())


def whole_lines(path: Path) -> Iterator[tuple[int, str]]:
    """As `lines`, but all of them and with what ends them."""
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
            for number, raw in enumerate(file, start=1):
                line = raw.decode("utf-8")
                yield number, line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, line {number}: not valid UTF-8 (byte {error.start} of the line); convert the file to UTF-8"
        ) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}, after line {number}: the gzip file is damaged ({error}); fetch it again") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path of the collection") from error


def objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of a JSON-lines file, numbered by line.

    Raises:
        UserError: as `lines`, or a line that is not a JSON object.
    """
    for number, line in lines(path):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}, line {number}: not JSON ({error}); write one JSON object a line") from error
        if not isinstance(value, dict):
            raise UserError(f"{path}, line {number}: not a JSON object but {type(value).__name__}; write one a line")
        yield number, value


def text_field(value: dict[str, Any], name: str, path: Path, number: int) -> str:
    """A required string of a record.

    Raises:
        UserError: the field is missing, is not a string, or holds half of a surrogate pair, which no UTF-8 can carry.
    """
    if name not in value:
        raise UserError(f"{path}, line {number}: field {name!r} is missing; add it")
    text = value[name]
    if not isinstance(text, str):
        raise UserError(f"{path}, line {number}: field {name!r} is {type(text).__name__}, not a string; quote it")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise UserError(f"{path}, line {number}: field {name!r} holds half of a surrogate pair; repair the text")
    return text
