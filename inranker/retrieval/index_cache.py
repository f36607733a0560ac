"""Directories of indexes that are whole or absent, whoever builds them and whoever is killed while doing so."""

import fcntl
import json
import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inranker.errors import UserError

DESCRIPTION = "index.json"  # the last file of an index: what it was made from and how long the others are
BUILDING = ".building-"
ADVICE = "delete that directory to have it built anew"


def kept(cache: str | Path, name: str, build: Callable[[Path], None]) -> Path:
    """The directory of that name in the cache, built there first where it is not.

    A build goes into a directory of its own that takes its final name in one step when it is complete: one that was
    killed is never looked at, and of two builders the first to finish wins.

    Args:
        cache: a local directory.
        name: says everything that the index depends on.
        build: fills an empty directory; called only when there is no index yet.
    """
    place = Path(cache).expanduser() / name
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    _clear_abandoned_builds(place.parent)
    with _one_builder(place.parent):
        if not place.is_dir():
            _build(place, build)
    return place


def _build(place: Path, build: Callable[[Path], None]) -> None:
    unfinished = place.parent / f"{BUILDING}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    unfinished.mkdir(parents=True)
    try:
        build(unfinished)
        _flush(unfinished)
        if not place.is_dir():
            _take_name(unfinished, place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def _one_builder(cache: Path) -> Iterator[None]:
    """Of the processes of one machine one builds at a time; the lock goes with its process."""
    held = os.open(cache, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def describe(directory: Path, **facts: Any) -> None:
    """Write the description of a directory's files; it comes last, so that an index cut short is not taken for one."""
    sizes = {str(file.relative_to(directory)): file.stat().st_size for file in _files(directory)}
    (directory / DESCRIPTION).write_text(json.dumps({**facts, "files": sizes}, indent=1))


def described(directory: Path, analyser: str) -> dict[str, Any]:
    """The description of an index, checked against its files.

    Raises:
        UserError: a file is missing or has another length, or the index was made with another analyser.
    """
    try:
        description: dict[str, Any] = json.loads((directory / DESCRIPTION).read_text())
        sizes = {name: (directory / name).stat().st_size for name in description["files"]}
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"index {directory} is damaged ({error}); {ADVICE}") from error
    for name, size in description["files"].items():
        if sizes[name] != size:
            raise UserError(f"index {directory} is damaged ({name} has {sizes[name]} bytes, not {size}); {ADVICE}")
    if description["analyser"] != analyser:
        raise UserError(f"index {directory} was made with analyser {description['analyser']}, not {analyser}; {ADVICE}")
    return description


def _files(directory: Path) -> list[Path]:
    return [file for file in sorted(directory.rglob("*")) if file.is_file()]


def _take_name(unfinished: Path, place: Path) -> None:
    try:
        unfinished.rename(place)
    except OSError:
        if not place.is_dir():  # anything but another builder that finished meanwhile
            raise


def _flush(directory: Path) -> None:
    """Bring the files to disk before their name says they are complete."""
    for file in _files(directory):
        with open(file, "rb") as opened:
            os.fsync(opened.fileno())


def _clear_abandoned_builds(cache: Path) -> None:
    """Remove what killed builders of this machine left; a live one's directory is known by its process."""
    prefix = f"{BUILDING}{socket.gethostname()}-"
    for directory in cache.glob(f"{prefix}*-*"):
        process = directory.name.removeprefix(prefix).split("-")[0]
        if process.isdigit() and not _alive(int(process)):
            shutil.rmtree(directory, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
