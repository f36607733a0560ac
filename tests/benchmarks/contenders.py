"""Other ways to score the same pairs, each as its users would run it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

from inranker.rerankers.contract import FAMILIES, save_contract, token_ids
from inranker.rerankers.flops import scoring_flops

from .pairs import shared

Queries = list[tuple[str, list[str]]]
PROMPT = "Query: {} Document: {} Relevant:"
# d_model, d_ff, d_kv, heads, layers of the published T5 v1.0 checkpoints.
SHAPES = {
    "small": (512, 2048, 64, 8, 6),
    "base": (768, 3072, 64, 12, 12),
    "3b": (1024, 16384, 128, 32, 24),
}


def _config(size: str) -> T5Config:
    d_model, d_ff, d_kv, heads, layers = SHAPES[size]
    return T5Config(
        vocab_size=32128, d_model=d_model, d_ff=d_ff, d_kv=d_kv, num_heads=heads, num_layers=layers,
        decoder_start_token_id=0,
    )  # fmt: skip


def make_model(size: str, path: Path, device: str) -> Path:
    """Random weights in the shape of a published checkpoint, with T5's vocabulary, saved as a monoT5."""
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    torch.manual_seed(0)
    with torch.device(device):
        model = T5ForConditionalGeneration(_config(size)).to(dtype)
    # A fresh model hardly looks at its input: let it, so that logits spread over several units.
    with torch.no_grad():
        for block in model.decoder.block:
            block.layer[1].EncDecAttention.o.weight.mul_(8)
        model.decoder.final_layer_norm.weight.mul_(8)
    model.save_pretrained(path)
    AutoTokenizer.from_pretrained(shared() / "tokenizers" / "t5").save_pretrained(path)
    save_contract(path, FAMILIES["monot5"])
    return path


def flop_count(size: str, lengths: np.ndarray) -> float:
    """Multiplications and additions that one decoder step over these inputs needs (two for a product's term)."""
    squares = float((lengths.astype(float) ** 2).sum())
    return scoring_flops(_config(size), "t5", len(lengths), float(lengths.sum()), squares)


def peers(
    path: Path, folder: Path, queries: Queries, device: str, logits: dict[str, np.ndarray], absent: dict[str, str]
) -> dict[str, Callable[[], None]]:
    """Contenders by name; a run leaves its logits (where it has any) in `logits`, `absent` says who is missing."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    answers = list(token_ids(FAMILIES["monot5"], tokenizer))
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    model = T5ForConditionalGeneration.from_pretrained(path, dtype=dtype).to(device).eval()
    runs: dict[str, Callable[[], None]] = {
        "original": lambda: logits.update({"original": original(model, tokenizer, queries, answers)}),
        "hf sorted": lambda: logits.update({"hf sorted": hf_sorted(model, tokenizer, queries, answers)}),
    }
    if device != "cpu":
        absent.update(dict.fromkeys(("rerankers", "ctranslate2"), "measured on the CPU only"))
        return runs
    for name, make in {"rerankers": _rerankers, "ctranslate2": _ctranslate2}.items():
        try:
            runs.update(make(path, folder, tokenizer, queries))
        except Exception as error:
            # Whatever a peer cannot do on this machine is reported beside the others' figures.
            absent[name] = f"{type(error).__name__}: {error}"
    return runs


@torch.no_grad()
def original(model: Any, tokenizer: Any, queries: Queries, answers: list[int]) -> np.ndarray:
    """The first InRanker package: one query at a time, batches of 32 as they come, the whole head, a cache that
    nothing reads."""
    logits = []
    for query, passages in queries:
        for start in range(0, len(passages), 32):
            prompts = [PROMPT.format(query, passage) for passage in passages[start : start + 32]]
            batch = tokenizer(
                prompts, padding=True, truncation="longest_first", max_length=512, return_tensors="pt"
            ).to(model.device)
            states = model.get_encoder()(batch.input_ids, attention_mask=batch.attention_mask)
            first = torch.zeros((len(prompts), 1), dtype=torch.long, device=model.device)
            output = model(
                decoder_input_ids=first, encoder_outputs=states, attention_mask=batch.attention_mask, use_cache=True
            )
            logits += output.logits[:, -1, :][:, answers].tolist()
    return np.array(logits, np.float32)


@torch.no_grad()
def hf_sorted(model: Any, tokenizer: Any, queries: Queries, answers: list[int]) -> np.ndarray:
    """Hugging Face's forward, all pairs sorted by length, batches of 32."""
    prompts = [PROMPT.format(query, passage) for query, passages in queries for passage in passages]
    ids = tokenizer(prompts, truncation=True, max_length=512).input_ids
    order = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
    logits = np.empty((len(ids), 2), np.float32)
    for start in range(0, len(order), 32):
        rows = order[start : start + 32]
        batch = tokenizer.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt").to(model.device)
        first = torch.zeros((len(rows), 1), dtype=torch.long, device=model.device)
        logits[rows] = model(**batch, decoder_input_ids=first).logits[:, 0, answers].float().cpu().numpy()
    return logits


def _rerankers(path: Path, folder: Path, tokenizer: Any, queries: Queries) -> dict[str, Callable[[], None]]:
    from rerankers.models.t5ranker import T5Ranker

    ranker = T5Ranker(
        str(path), dtype="float32", device="cpu", batch_size=32, verbose=0, token_false="▁false", token_true="▁true"
    )

    def run() -> None:
        for query, passages in queries:
            ranker.rank(query, passages)

    return {"rerankers": run}


def _ctranslate2(path: Path, folder: Path, tokenizer: Any, queries: Queries) -> dict[str, Callable[[], None]]:
    """CTranslate2 with one decoding step, length-sorted batches by tokens; one thread a worker and one worker a
    core, which is its own fastest setting on a machine with several cores."""
    import ctranslate2
    from ctranslate2.converters import TransformersConverter

    runs: dict[str, Callable[[], None]] = {}
    for kind in ("float32", "int8"):
        converted = TransformersConverter(str(path)).convert(str(folder / f"ct2-{kind}"), quantization=kind)
        for workers, threads in ((torch.get_num_threads(), 1), (1, torch.get_num_threads())):
            translator = ctranslate2.Translator(
                converted, compute_type=kind, inter_threads=workers, intra_threads=threads
            )
            runs[f"ctranslate2 {kind} {workers}x{threads}"] = _translate(translator, tokenizer, queries)
    return runs


def _translate(translator: Any, tokenizer: Any, queries: Queries) -> Callable[[], None]:
    prompts = [PROMPT.format(query, passage) for query, passages in queries for passage in passages]
    vocabulary = np.array(json.loads(json.dumps(tokenizer.convert_ids_to_tokens(range(len(tokenizer))))))

    def run() -> None:
        ids = tokenizer(prompts, truncation=True, max_length=512).input_ids
        results = translator.translate_batch(
            [vocabulary[row].tolist() for row in ids],
            max_batch_size=2048, batch_type="tokens", beam_size=1, max_decoding_length=1,
            return_logits_vocab=True,
        )  # fmt: skip
        if len(results) != len(ids):
            raise RuntimeError(f"{len(results)} results for {len(ids)} pairs")

    return run
