"""Rerankers run by CTranslate2: one decoding step, of which two logits are read."""

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..rerankers.contract import token_ids
from ..rerankers.encode import EncodedPairs, PairEncoder
from ..rerankers.packed import multiplies_in_16_bits
from ..rerankers.running import threads_kept
from .engine import EngineReranker
from .record import FOLDERS, ExportRecord

TOKEN_BUDGET = {"cpu": 2048, "cuda": 32768}


def open_ct2(path: Path, record: ExportRecord, encoder: PairEncoder, device: str, threads: int) -> EngineReranker:
    """The export at `path` in a translator of CTranslate2: one single-threaded one a core, its fastest setting.

    Raises:
        UserError: CTranslate2 is not installed, lacks the device, or cannot read the model.
    """
    try:
        import ctranslate2
    except ImportError as error:
        raise UserError("backend ct2 needs ctranslate2; pip install 'inranker[export]'") from error
    kind, _, number = device.partition(":")
    if kind not in TOKEN_BUDGET:
        raise UserError(f"CTranslate2 runs on cpu or cuda, not on {device!r}")
    workers = threads if kind == "cpu" else 1
    folder = path / FOLDERS["ct2"]
    # The same 8-bit weights, multiplied in float32 where products of bytes overflow.
    exact = kind == "cpu" and multiplies_in_16_bits()
    try:
        with threads_kept():
            translator = ctranslate2.Translator(
                str(folder),
                device=kind,
                device_index=int(number or 0),
                compute_type="float32" if exact else record.precision,
                inter_threads=workers,
                intra_threads=1,
            )
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{folder}: CTranslate2 cannot load it ({error}); export the model again") from error
    tokens = np.array(encoder.tokenizer.convert_ids_to_tokens(range(len(encoder.tokenizer))), dtype=object)
    answers = list(token_ids(encoder.contract, encoder.tokenizer))

    def batch(encoded: EncodedPairs) -> np.ndarray:
        results = translator.translate_batch(
            [part.tolist() for part in np.split(tokens[encoded.token_ids], encoded.offsets[1:-1])],
            max_batch_size=0,
            beam_size=1,
            max_decoding_length=1,
            min_decoding_length=1,
            max_input_length=0,
            return_logits_vocab=True,
        )
        return np.stack([_row(result.logits[0][0], kind)[answers] for result in results])

    return EngineReranker(encoder, batch, workers, TOKEN_BUDGET[kind], device, record.precision)


def _row(logits: Any, kind: str) -> np.ndarray:
    """Logits [vocabulary] float32 of the first position."""
    if kind == "cuda":
        import ctranslate2

        logits = logits.to_device(ctranslate2.Device.cpu)
    return np.asarray(logits, dtype=np.float32)
