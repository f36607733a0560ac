"""Folders in object storage (a student on S3, a tokenizer) as directories of this machine, downloaded once a node."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

from inranker.errors import UserError
from inranker.fingerprint import fingerprint
from inranker.patience import patiently
from inranker.storage import Store

# What says that an object is still the one that was downloaded, by store.
VERSION_FIELDS = ("ETag", "etag", "md5Hash", "LastModified", "created", "mtime", "size")


def local_folder(name: str | Path) -> Path:
    """A folder given by path or URL as a local directory; what lies in object storage is downloaded first.

    The copy's name holds the versions of the folder's objects, so a changed folder is downloaded anew.

    Raises:
        UserError: nothing lies at the URL.
    """
    url = str(name)
    if "://" not in url:
        return Path(name)
    store = Store(url)
    if (local := store.local_path()) is not None:
        return local
    versions = _versions(store)
    if not versions:
        raise UserError(f"{url}: nothing lies there; name a folder of files")
    place = (
        folder_cache() / f"{store.root.rstrip('/').rpartition('/')[2]}-{fingerprint([url.rstrip('/'), versions])[:24]}"
    )
    if not place.exists():
        make_whole(place, lambda draft: _download(store, sorted(versions), draft))
    return place


def folder_cache() -> Path:
    """Where this machine keeps downloaded folders: per user, under the system's temporary directory."""
    return Path(tempfile.gettempdir()) / f"inranker-folders-{os.getuid()}"


def make_whole(place: Path, make: Callable[[Path], None]) -> None:
    """Make a directory that appears whole or not at all; two makers at a time do no harm.

    Args:
        place: the directory; its name must say everything its content depends on.
        make: fills the directory it is given.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    draft.mkdir()
    try:
        make(draft)
        os.rename(draft, place)
    except OSError:
        if not place.exists():  # else another maker was first, and its copy is as good
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def upload(folder: Path, store: Store, name: str) -> None:
    """Copy a local directory into a store; files appear one by one, the caller's manifest comes after them."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            target = store.key(f"{name}/{file.relative_to(folder).as_posix()}")
            store.fs.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
            store.fs.put_file(str(file), target)


def _versions(store: Store) -> dict[str, str]:
    """Name of each object -> what changes with its content."""
    try:
        found = patiently(lambda: store.fs.find(store.root, detail=True), store.url)
    except FileNotFoundError:
        return {}
    start = len(store.root.rstrip("/")) + 1
    return {
        name[start:]: " ".join(str(about[field]) for field in VERSION_FIELDS if about.get(field) is not None)
        for name, about in found.items()
        if name[start:] and about["type"] == "file"
    }


def _download(store: Store, names: list[str], folder: Path) -> None:
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        key = store.key(name)
        patiently(lambda key=key, target=target: store.fs.get_file(key, str(target)), f"{store.url}/{name}")  # type: ignore[misc]
