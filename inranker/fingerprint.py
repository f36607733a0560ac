"""Identity fields -> canonical JSON -> sha256: what two results must share to be interchangeable."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 20


def plain(value: Any) -> Any:
    """Dataclasses, tuples and paths as the plain JSON values they stand for."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


def canonical_json(value: Any) -> str:
    """The one JSON spelling of a value: sorted keys, no spaces, no NaN.

    Raises:
        ValueError: the value holds NaN or an infinity.
        TypeError: the value holds something JSON has no word for.
    """
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint(value: Any) -> str:
    """sha256 (hex) of the canonical JSON of a value."""
    return sha256_bytes(canonical_json(value).encode())


def sha256_bytes(data: bytes) -> str:
    """sha256 (hex) of bytes."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | Path) -> str:
    """sha256 (hex) of a local file, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def difference(mine: Any, theirs: Any, prefix: str = "") -> list[str]:
    """Field-by-field difference of two identities, one line a field: `field: theirs -> mine`."""
    mine, theirs = plain(mine), plain(theirs)
    if isinstance(mine, dict) and isinstance(theirs, dict):
        lines = []
        for key in sorted(mine.keys() | theirs.keys()):
            name = f"{prefix}.{key}" if prefix else key
            lines += difference(mine.get(key), theirs.get(key), name)
        return lines
    return [] if mine == theirs else [f"{prefix}: {theirs!r} -> {mine!r}"]
