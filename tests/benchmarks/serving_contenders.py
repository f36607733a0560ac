"""Ways to score one query's passages, from texts to scores: ours, and those of everything else a user could pick."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, T5ForConditionalGeneration

from inranker.export.backends import load_backend
from inranker.export.config import ExportConfig, ExportIdentity, Limits, Sample
from inranker.export.stage import export
from inranker.rerankers.contract import FAMILIES, token_ids
from inranker.rerankers.reranker import scores
from inranker.rerankers.running import threads_kept

from .contenders import PROMPT, hf_sorted, original
from .pairs import shared

# (query, passages) -> margins, in order.
Ask = Callable[[str, list[str]], np.ndarray]
# Measured is measured: what an export loses is in the rows, and nothing is refused for it.
ANY = Limits(max_logit_error=1e9, min_kendall_tau=-1.0, max_ndcg_loss=1.0)
# What we offer: (backend, precision).
OURS = (("torch", "float32"), ("torch", "bfloat16"), ("torch", "int8"), ("onnx", "float32"), ("onnx", "int8"),
        ("ct2", "int8"))  # fmt: skip
SLOW = ("original", "rerankers", "hf sorted", "torch float32", "onnx float32", "ctranslate2 float32")


def ours(
    path: Path, folder: Path, threads: int, collection: str, wanted: Callable[[str], bool]
) -> tuple[dict[str, Ask], list[dict[str, Any]]]:
    """Our backends by name, and a row for each export with what its parity check found."""
    asks, rows = {}, []
    sample = Sample(collection=f"beir:{shared() / 'collections' / collection}", queries=2, depth=20)
    for backend, precision in (kind for kind in OURS if wanted(" ".join(kind))):
        source = path
        if backend != "torch":
            source = folder / f"{backend}-{precision}"
            identity = ExportIdentity(str(path), backend, precision, sample=sample, limits=ANY)  # type: ignore[arg-type]
            made = export(ExportConfig(identity, str(source)))
            rows.append({"export": f"{backend} {precision}", "bytes": made["bytes"], "parity": made["parity"]})
        asks[f"{backend} {precision}"] = _ours(load_backend(source, backend, "cpu", precision, threads))
    return asks, rows


def _ours(backend: Any) -> Ask:
    def ask(query: str, passages: list[str]) -> np.ndarray:
        logits = backend.logits(backend.encoder.encode([query] * len(passages), passages))
        return scores(logits, backend.contract)

    return ask


def peers(path: Path, folder: Path, threads: int) -> tuple[dict[str, Ask], dict[str, str]]:
    """Peers by name, and why those that are missing are."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    answers = list(token_ids(FAMILIES["monot5"], tokenizer))
    model = T5ForConditionalGeneration.from_pretrained(path, dtype=torch.float32).eval()
    asks: dict[str, Ask] = {
        "original": lambda query, passages: _margin(original(model, tokenizer, [(query, passages)], answers)),
        "hf sorted": lambda query, passages: _margin(hf_sorted(model, tokenizer, [(query, passages)], answers)),
    }
    absent: dict[str, str] = {}
    for name, make in {"rerankers": _rerankers, "ctranslate2": _ctranslate2}.items():
        try:
            asks.update(make(path, folder, tokenizer, answers, threads))
        except Exception as error:
            # Whatever a peer cannot do on this machine is reported beside the others' figures.
            absent[name] = f"{type(error).__name__}: {error}"
    return asks, absent


def _margin(logits: np.ndarray) -> np.ndarray:
    return logits[:, 1] - logits[:, 0]


def _rerankers(path: Path, folder: Path, tokenizer: Any, answers: list[int], threads: int) -> dict[str, Ask]:
    from rerankers.models.t5ranker import T5Ranker

    ranker = T5Ranker(
        str(path), dtype="float32", device="cpu", batch_size=32, verbose=0, token_false="▁false", token_true="▁true"
    )

    def ask(query: str, passages: list[str]) -> np.ndarray:
        ranked = ranker.rank(query, passages)
        # It answers with P(true), best first; its logit is the margin.
        probability = np.empty(len(passages))
        for result in ranked.results:
            probability[result.document.doc_id] = result.score
        with np.errstate(divide="ignore"):
            return np.log(probability) - np.log1p(-probability)

    return {"rerankers": ask}


def _ctranslate2(path: Path, folder: Path, tokenizer: Any, answers: list[int], threads: int) -> dict[str, Ask]:
    """One decoding step, length-sorted batches by tokens, in each way to use the cores."""
    import ctranslate2
    from ctranslate2.converters import TransformersConverter

    asks: dict[str, Ask] = {}
    for kind in ("float32", "int8"):
        converted = TransformersConverter(str(path)).convert(str(folder / f"peer-ct2-{kind}"), quantization=kind)
        for workers, each in {(threads, 1), (1, threads)}:
            if kind == "float32" and workers == 1 < threads:
                continue  # the slower one of the slow ones
            with threads_kept():
                translator = ctranslate2.Translator(
                    converted, compute_type=kind, inter_threads=workers, intra_threads=each
                )
            asks[f"ctranslate2 {kind} {workers}x{each}"] = _translate(translator, tokenizer, answers)
    return asks


def _translate(translator: Any, tokenizer: Any, answers: list[int]) -> Ask:
    vocabulary = np.array(tokenizer.convert_ids_to_tokens(range(len(tokenizer))))

    def ask(query: str, passages: list[str]) -> np.ndarray:
        prompts = [PROMPT.format(query, passage) for passage in passages]
        ids = tokenizer(prompts, truncation=True, max_length=512).input_ids
        results = translator.translate_batch(
            [vocabulary[row].tolist() for row in ids],
            max_batch_size=2048, batch_type="tokens", beam_size=1, max_decoding_length=1,
            return_logits_vocab=True,
        )  # fmt: skip
        return _margin(np.stack([np.asarray(result.logits[0][0])[answers] for result in results]))

    return ask
