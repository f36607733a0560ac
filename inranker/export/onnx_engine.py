"""Rerankers run by ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..rerankers.batching import padded
from ..rerankers.encode import EncodedPairs, PairEncoder
from .engine import EngineReranker
from .record import FOLDERS, MODEL, ExportRecord

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
TOKEN_BUDGET = {"cpu": 2048, "cuda": 32768}


def open_onnx(path: Path, record: ExportRecord, encoder: PairEncoder, device: str, threads: int) -> EngineReranker:
    """The export at `path` in a session of ONNX Runtime.

    On a CPU one session serves one single-threaded run on each core: nothing waits at the end of each operator.

    Raises:
        UserError: the runtime is not installed, lacks the device, or cannot read the model.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError("backend onnx needs onnxruntime; pip install 'inranker[export]'") from error
    kind, _, number = device.partition(":")
    if PROVIDERS.get(kind) not in onnxruntime.get_available_providers():
        raise UserError(f"this onnxruntime has no {kind}; use device cpu, or install one that has (onnxruntime-gpu)")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Batches have many shapes, so plans of memory made for one of them only pile up.
    options.enable_mem_pattern = False
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    provider: Any = (PROVIDERS[kind], {"device_id": int(number)}) if number else PROVIDERS[kind]
    file = path / FOLDERS["onnx"] / MODEL
    try:
        session = onnxruntime.InferenceSession(file, options, providers=[provider])
    except Exception as error:
        # The runtime's exceptions have no common base; all of them mean that the file is no use here.
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{file}: ONNX Runtime cannot load it ({reason}); export the model again") from error

    def batch(encoded: EncodedPairs) -> np.ndarray:
        input_ids_BL, mask_BL = padded(encoded, encoder.pad_id)
        return session.run(None, {"input_ids": input_ids_BL, "attention_mask": mask_BL.astype(np.int64)})[0]

    workers = threads if kind == "cpu" else 1
    return EngineReranker(encoder, batch, workers, TOKEN_BUDGET[kind], device, record.precision)
