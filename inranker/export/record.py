"""`export.json`: what an exported directory is, what it was made from and how true it is."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..fingerprint import sha256_file

RECORD = "export.json"
# Each format keeps the engine's files in a folder of its own: CTranslate2 too has a config.json.
FOLDERS = {"onnx": "onnx", "ct2": "ct2"}
MODEL = "model.onnx"


@dataclass(frozen=True)
class ExportRecord:
    """The contents of export.json."""

    format: str
    """`onnx` or `ct2`."""
    precision: str
    """`float32` or `int8`."""
    architecture: str
    """`t5`, `encoder` or `causal`."""
    answers: list[int] | None
    """Vocabulary ids (false, true) that the graph's two logits belong to; null where it has its own outputs."""
    identity: dict[str, Any]
    """The fields that made it."""
    source: dict[str, Any]
    """`scorer_identity` of the original, in float32."""
    fingerprint: str
    """sha256 of identity and source."""
    parity: dict[str, Any]
    """Figures of the parity check and the limits they kept."""
    files: dict[str, str]
    """sha256 of every other file of the directory, by its path in it."""
    created_with: dict[str, str]
    """Versions of the packages that decide what the files hold."""


def write_record(folder: Path, record: ExportRecord) -> None:
    """Write export.json, the last file of an export."""
    text = json.dumps(asdict(record), indent=2, ensure_ascii=False)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")


def read_record(path: str | Path) -> ExportRecord:
    """The record of an exported directory.

    Raises:
        UserError: it is no export, or its record is damaged.
    """
    file = Path(path) / RECORD
    if not file.is_file():
        raise UserError(
            f"{path}: no {RECORD} in it, so it is no export; make one with "
            f"python pipelines/export.py --model {path} --format onnx --output OUT"
        )
    try:
        return ExportRecord(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"{file}: not a record of an export ({error}); export the model again") from error


def is_export(path: str | Path) -> bool:
    """Whether the directory is an export (and no checkpoint)."""
    return (Path(path) / RECORD).is_file()


def hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file below `folder` but the record itself."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file != folder / RECORD)
    return {file.relative_to(folder).as_posix(): sha256_file(file) for file in files}


def damage(folder: Path, record: ExportRecord) -> list[str]:
    """What differs from the record, one sentence a file; a file that the record does not know does no harm."""
    found = hashes(folder)
    return [
        f"{name} is missing" if name not in found else f"{name} has another sha256"
        for name, sha256 in record.files.items()
        if found.get(name) != sha256
    ]
