"""The export stage: convert, compare with the original on real pairs, keep the result only if it is near enough."""

import os
import shutil
import tempfile
import time
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..fingerprint import difference, fingerprint, plain
from ..rerankers import load_contract, load_reranker, save_contract, scorer_identity
from ..rerankers.checkpoint import local_path
from ..rerankers.packed import multiplies_in_16_bits
from ..rerankers.reranker import Reranker
from .backends import load_backend
from .config import ExportConfig
from .parity import Pairs, limits_of, measure, read_pairs, require
from .record import FOLDERS, ExportRecord, damage, hashes, is_export, read_record, write_record

PACKAGES = {"onnx": ("onnx", "onnxruntime", "torch"), "ct2": ("ctranslate2", "transformers")}


def export(config: ExportConfig) -> dict[str, Any]:
    """Export a reranker.

    Returns:
        The record (see `ExportRecord`) without its hashes, `bytes` of the engine's files, `seconds`, and `skipped`,
        True when the output was there already.

    Raises:
        UserError: a model, collection or engine that is missing or unsuitable, an export beyond its limits, or an
            output that holds something else. No output has been written then.
    """
    started = time.perf_counter()
    target = _target(config)
    checkpoint = local_path(config.identity.model)
    if is_export(checkpoint):
        raise UserError(f"{checkpoint} is an export itself; name the checkpoint that it was made from")
    record = _record(config, checkpoint)
    if target.exists():
        return _summary(_same(target, record), target, started, skipped=True)
    pairs = read_pairs(config.identity.sample)
    original = load_reranker(checkpoint)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that one rename puts a whole export in its place.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        folder = Path(scratch) / "export"
        folder.mkdir()
        _write(config, checkpoint, original, folder)
        write_record(folder, record)
        record = replace(record, parity=_check(config, original, folder, pairs), files=hashes(folder))
        write_record(folder, record)
        os.replace(folder, target)
    return _summary(record, target, started, skipped=False)


def plan(config: ExportConfig) -> dict[str, Any]:
    """What `export` would do, without converting anything."""
    target = _target(config)
    checkpoint = local_path(config.identity.model)
    contract = load_contract(checkpoint)
    chosen = config.identity
    return {
        "stage": "export",
        "model": str(checkpoint),
        "architecture": contract.architecture,
        "format": chosen.format,
        "precision": chosen.precision,
        "pairs": len(read_pairs(chosen.sample).queries),
        "limits": asdict(limits_of(chosen.limits, chosen.precision)),
        "output": str(target),
        "done": is_export(target),
    }


def verify(config: ExportConfig) -> dict[str, Any]:
    """Check every file's sha256, and hold the export to its original once more, on this machine's processor.

    Raises:
        UserError: the output is no export of this model, or beyond its limits here.
    """
    target = _target(config)
    checkpoint = local_path(config.identity.model)
    record = _same(target, _record(config, checkpoint))
    found = damage(target, record)
    summary: dict[str, Any] = {"stage": "export", "output": str(target), "damage": found, "failed": bool(found)}
    if not found:
        pairs = read_pairs(config.identity.sample)
        summary["parity"] = _check(config, load_reranker(checkpoint), target, pairs)
    return summary


def _target(config: ExportConfig) -> Path:
    if "://" in config.output:
        raise UserError(f"output {config.output}: an export is written to a local directory; copy it from there")
    return Path(config.output)


def _record(config: ExportConfig, checkpoint: Path) -> ExportRecord:
    """The record of what is to be made, without parity and files."""
    chosen = config.identity
    # The model enters by its content, so it may move.
    identity = {name: value for name, value in plain(chosen).items() if name != "model"}
    source = scorer_identity(checkpoint)
    contract = load_contract(checkpoint)
    return ExportRecord(
        format=chosen.format,
        precision=chosen.precision,
        architecture=contract.architecture,
        answers=source.get("token_ids"),
        identity=identity,
        source=source,
        fingerprint=fingerprint({"identity": identity, "source": source}),
        parity={},
        files={},
        created_with={name: metadata.version(name) for name in PACKAGES[chosen.format] if _installed(name)},
    )


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _same(target: Path, record: ExportRecord) -> ExportRecord:
    """The record of what is there, if it is what is asked for."""
    if not is_export(target):
        raise UserError(f"output {target} exists and is no export; name a directory that does not exist")
    there = read_record(target)
    if there.fingerprint != record.fingerprint:
        changed = difference(
            {"identity": record.identity, "source": record.source},
            {"identity": there.identity, "source": there.source},
        )
        raise UserError(f"output {target} holds another export ({'; '.join(changed)}); name another directory")
    return there


def _write(config: ExportConfig, checkpoint: Path, original: Reranker, folder: Path) -> None:
    """Everything but the record."""
    chosen = config.identity
    engine = folder / FOLDERS[chosen.format]
    if chosen.format == "ct2":
        from .ct2_writer import write_ct2

        write_ct2(original.module, checkpoint, engine, chosen.precision)
    else:
        from .onnx_writer import write_onnx

        engine.mkdir()
        write_onnx(original.module, engine, chosen.precision, config.execution.external_data_bytes, chosen.reduce_range)
    shutil.copyfile(checkpoint / "config.json", folder / "config.json")
    original.encoder.tokenizer.save_pretrained(folder)
    save_contract(folder, original.contract)


def _check(config: ExportConfig, original: Reranker, folder: Path, pairs: Pairs) -> dict[str, Any]:
    """Parity figures of the export in `folder`; refuses it beyond its limits."""
    chosen = config.identity
    exported = load_backend(folder, chosen.format, threads=config.execution.threads)
    encoded = original.encoder.encode(pairs.queries, pairs.passages)
    found = measure(exported.logits(encoded), original.logits(encoded), pairs, original.contract)
    limits = limits_of(chosen.limits, chosen.precision)
    overflows = (chosen.format, chosen.precision, chosen.reduce_range) == ("onnx", "int8", False)
    hint = "use reduce_range true for this processor, or " if overflows and multiplies_in_16_bits() else ""
    return require(found, limits, f"{chosen.format} in {chosen.precision}", hint)


def _summary(record: ExportRecord, target: Path, started: float, skipped: bool) -> dict[str, Any]:
    values = {name: value for name, value in asdict(record).items() if name not in ("files", "identity")}
    size = sum(file.stat().st_size for file in (target / FOLDERS[record.format]).rglob("*") if file.is_file())
    return {
        "stage": "export",
        "output": str(target),
        **values,
        "bytes": size,
        "seconds": round(time.perf_counter() - started, 2),
        "skipped": skipped,
    }
