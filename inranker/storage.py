"""Object storage behind one small interface: a directory, an S3 prefix or memory, through fsspec.

Two rules make commits safe on all of them. Data goes under names nobody else uses, so a half-written object is
never looked at; and what makes data count (receipt, manifest, identity) is created with put-if-absent, so that
exactly one creator wins.
"""

import contextlib
import errno
import os
import threading
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar

import fsspec
from fsspec.core import url_to_fs

from inranker.errors import UserError
from inranker.patience import patiently

Result = TypeVar("Result")

REQUESTS_AT_A_TIME = 500
_MEMORY_LOCK = threading.Lock()  # fsspec's memory filesystem is one per process, and so is its lock


class Store:
    """A place for named objects.

    Args:
        url: a local path, `file://`, `memory://` or `s3://bucket/prefix`. Credentials, region and endpoint of S3
            come from the environment (AWS_*) or `~/.aws`.

    Raises:
        UserError: the URL names a protocol that is not installed, or the place is a file.
    """

    def __init__(self, url: str) -> None:
        self.url = str(url)
        if "@" in self.url.partition("://")[2].partition("/")[0]:
            raise UserError("a storage URL must not hold credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        # A cached listing would hide the receipts that other workers have written meanwhile.
        options = {"use_listings_cache": False} if self.url.startswith("s3://") else {}
        try:
            self.fs, self.root = url_to_fs(self.url, **options)
        except (ImportError, ValueError) as error:
            raise UserError(f"cannot open {self.url}: {error}") from error
        self.is_local = isinstance(self.fs, fsspec.implementations.local.LocalFileSystem)
        if self.is_local and Path(self.root).is_file():
            raise UserError(f"{self.url} is a file; name a directory")

    def __reduce__(self) -> tuple[type["Store"], tuple[str]]:
        return (Store, (self.url,))

    def key(self, name: str) -> str:
        """The full key of an object, as fsspec takes it."""
        return f"{self.root.rstrip('/')}/{name}"

    def local_path(self, name: str = "") -> Path | None:
        """Where an object lies on this machine's disk; None on other stores."""
        return Path(self.root, name) if self.is_local else None

    def exists(self, name: str) -> bool:
        """Whether there is an object of that name."""
        return bool(self._patiently(lambda: self.fs.exists(self.key(name)), name))

    def read(self, name: str) -> bytes:
        """A whole object.

        Raises:
            FileNotFoundError: there is none.
        """
        data: bytes = self._patiently(lambda: self.fs.cat_file(self.key(name)), name)
        return data

    def read_many(self, names: Sequence[str]) -> list[bytes]:
        """Whole objects, in the order of their names; on object storage many requests are under way at a time.

        Raises:
            FileNotFoundError: one is missing.
        """
        if not self.url.startswith("s3://"):
            return [self.read(name) for name in names]
        found: list[bytes] = []
        for start in range(0, len(names), REQUESTS_AT_A_TIME):
            keys = [self.key(name) for name in names[start : start + REQUESTS_AT_A_TIME]]
            contents = self._patiently(partial(self._cat, keys), names[start])
            found += [contents[key] for key in keys]
        return found

    def _cat(self, keys: Sequence[str]) -> dict[str, bytes]:
        # Of one name, `cat` gives the bytes and no dictionary.
        return dict(self.fs.cat(keys)) if len(keys) > 1 else {key: self.fs.cat_file(key) for key in keys}

    def open(self, name: str) -> IO[Any]:
        """An object as a seekable file, for readers that want only parts of it (Parquet)."""
        return self.fs.open(self.key(name), "rb")

    def write(self, name: str, data: bytes) -> None:
        """Write an object under a name that nobody else writes; on disk it is durable on return.

        Raises:
            UserError: the disk is full.
        """
        if not self.is_local:
            self._patiently(lambda: self.fs.pipe_file(self.key(name), data), name)
            return
        path = Path(self.key(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_durably(path, data)

    def replace(self, name: str, data: bytes) -> None:
        """Write an object over an earlier one, tried once; for what is looked at and never relied on."""
        if not self.is_local:
            self.fs.pipe_file(self.key(name), data)
            return
        path = Path(self.key(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}"
        try:
            temporary.write_bytes(data)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        """Remove an object; one that is gone already is no error."""
        with contextlib.suppress(FileNotFoundError):
            self._patiently(lambda: self.fs.rm_file(self.key(name)), name)

    def list(self, prefix: str) -> list[str]:
        """Names of the objects under a prefix (a directory), sorted; empty when there is none."""
        try:
            found = self._patiently(lambda: self.fs.find(self.key(prefix)), prefix)
        except FileNotFoundError:
            return []
        start = len(self.root.rstrip("/")) + 1
        return sorted(name[start:] for name in found if self._is_object(name[start:]))

    def _is_object(self, name: str) -> bool:
        """Whether what was listed is an object: no folder that a server keeps after its last one (""), and no
        temporary file of a creator that was killed on disk."""
        last = name.rpartition("/")[2]
        return bool(last) and not (self.is_local and last.startswith("."))

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Create an object unless there is one; True when the object there is ours.

        A refusal is read back before it counts: a client that retries a dropped connection is refused by the object
        that its own first try stored. `data` must therefore be unlike anybody else's (carry a unique key) where
        losing matters.
        """
        if self.is_local:
            return _link_if_absent(Path(self.key(name)), data)
        if self.url.startswith("memory://"):
            with _MEMORY_LOCK:
                if self.fs.exists(self.key(name)):
                    return self.read(name) == data
                self.fs.pipe_file(self.key(name), data)
                return True
        return bool(self._patiently(lambda: self._create(name, data), name))

    def _create(self, name: str, data: bytes) -> bool:
        try:
            self.fs.pipe_file(self.key(name), data, mode="create")
        except OSError as error:
            # "There already" is FileExistsError or EINVAL, by server, and a dropped connection may come after the
            # server stored the object: what is stored tells more than the code.
            try:
                stored = self.fs.cat_file(self.key(name))
            except FileNotFoundError:
                raise error from None
            return bool(stored == data)
        return True

    def _patiently(self, operation: Callable[[], Result], name: str) -> Result:
        """Local disks and memory do not come back by waiting."""
        if self.is_local or self.url.startswith("memory://"):
            return operation()
        return patiently(operation, f"{self.url}/{name}")


def _write_durably(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        UserError: the disk or the user's share of it is full.
    """
    try:
        with open(path, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"no space left at {path.parent}; free some and start again: what is finished is kept"
            ) from error
        raise


def _link_if_absent(path: Path, data: bytes) -> bool:
    """link(2) is atomic and refuses an existing name, and the linked file is whole; open(…, 'x') is only the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    try:
        _write_durably(temporary, data)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return path.read_bytes() == data
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return True
