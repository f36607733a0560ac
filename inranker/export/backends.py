"""One way to load a reranker, whatever runs it: torch, ONNX Runtime, CTranslate2."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import UserError
from ..rerankers import load_encoder, load_reranker, token_ids
from ..rerankers.checkpoint import local_path
from ..rerankers.contract import Contract
from ..rerankers.encode import EncodedPairs, PairEncoder
from .ct2_engine import open_ct2
from .engine import EngineReranker
from .onnx_engine import open_onnx
from .record import ExportRecord, is_export, read_record


class Backend(Protocol):
    """What every backend gives."""

    encoder: PairEncoder

    @property
    def contract(self) -> Contract:
        """Template, tokens and score convention."""
        ...

    def logits(self, encoded: EncodedPairs, token_budget: int | None = None) -> np.ndarray:
        """Raw logits [n, 2] float32, order (false, true), in input order."""
        ...


ENGINES: dict[str, Callable[[Path, ExportRecord, PairEncoder, str, int], EngineReranker]] = {
    "onnx": open_onnx,
    "ct2": open_ct2,
}
BACKENDS = ("torch", *ENGINES)


def load_backend(
    path: str | Path,
    backend: str = "torch",
    device: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    **overrides: Any,
) -> Backend:
    """A reranker on one of the backends.

    Args:
        path: a checkpoint for `torch`, what `pipelines/export.py` wrote for the others; a directory or a hub id.
        backend: `torch`, `onnx` or `ct2`.
        device: `cpu` (the default) or `cuda`, perhaps with a number.
        precision: of `torch` the dtype (default float32); an export has its own, and another one is refused.
        threads: cores to use; all when None.
        overrides: fields of the contract (max_length, truncation, template, false_token, true_token).

    Raises:
        UserError: an unknown backend, a path that is no export of that backend, another precision than the export's,
            answers that its graph does not hold, or an engine that is not installed.
    """
    device = device or "cpu"
    if backend not in BACKENDS:
        raise UserError(f"backend {backend!r} is not one of {', '.join(BACKENDS)}")
    if threads is not None and threads < 1:
        raise UserError(f"threads {threads} must be 1 or more")
    folder = local_path(path)
    if backend == "torch":
        return _load_torch(folder, device, precision or "float32", threads, overrides)
    record = read_record(folder)
    if record.format != backend:
        raise UserError(f"{path} is an export for {record.format}; use backend {record.format!r}")
    if precision not in (None, record.precision):
        raise UserError(f"{path} was exported in {record.precision}; leave precision out, or export in {precision}")
    encoder = load_encoder(folder, **overrides)
    _require_answers(record, encoder, path)
    return ENGINES[backend](folder, record, encoder, device, threads or _cores())


def _load_torch(folder: Path, device: str, precision: str, threads: int | None, overrides: dict[str, Any]) -> Backend:
    import torch

    if is_export(folder):
        raise UserError(f"{folder} is an export for {read_record(folder).format}; use that backend")
    if threads:
        torch.set_num_threads(threads)
    return load_reranker(folder, device, precision, **overrides)


def _require_answers(record: ExportRecord, encoder: PairEncoder, path: str | Path) -> None:
    if record.answers is None or record.format != "onnx":
        return
    answers = list(token_ids(encoder.contract, encoder.tokenizer))
    if answers != record.answers:
        raise UserError(
            f"{path}: its graph holds the logits of tokens {record.answers}, not of {answers}; "
            "export the model with those answers in its reranker.json"
        )


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
