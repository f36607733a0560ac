"""How fast pairs are scored, beside everything else a user could pick.

    python -m tests.benchmarks.scorer --json scorer.json                      # CPU, T5-small shape, about 10 minutes
    python -m tests.benchmarks.scorer --device cuda --size 3b --json gpu.json  # one GPU

Random weights in the published shapes, real MS MARCO passages, BM25 candidates, tokenising included. Every
contender scores the same pairs in every round; figures are medians of the rounds' ratios.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inranker.rerankers import load_reranker
from inranker.rerankers.batching import padding_share, plan_batches
from inranker.rerankers.fidelity import compare
from inranker.rerankers.reranker import TOKEN_BUDGET

from . import contenders
from .harness import interleave, machine, matmul_rate, speedup, write
from .pairs import candidates

SHARD_PAIRS = 20_000
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", choices=sorted(contenders.SHAPES), default="small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pairs", type=int, default=512, help="pairs a round, 32 of a query")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fast-rounds", type=int, default=4, help="more rounds of ours and CTranslate2")
    parser.add_argument("--threads", type=int, help="cores to use (default: all); 1 makes CPU seconds comparable")
    parser.add_argument("--json", help="file for the results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(arguments, Path(folder))


def measure(arguments: argparse.Namespace, folder: Path) -> None:
    """One run: every contender, every round."""
    device = arguments.device
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    kind = device.split(":")[0]
    queries = candidates(arguments.pairs // 32, 32)
    path = contenders.make_model(arguments.size, folder / "model", device)
    ours = {
        dtype: load_reranker(path, device=device, dtype=dtype)
        for dtype in (("float32", "bfloat16", "int8") if kind == "cpu" else ("bfloat16",))
    }
    flat = [(query, passage) for query, passages in queries for passage in passages]
    texts, passages = [query for query, _ in flat], [passage for _, passage in flat]
    encoded = next(iter(ours.values())).encoder.encode(texts, passages)
    logits: dict[str, np.ndarray] = {}
    absent: dict[str, str] = {}
    runs = contenders.peers(path, folder, queries, device, logits, absent)
    for dtype, reranker in ours.items():
        runs[f"inranker {dtype}"] = _ours(reranker, texts, passages, f"inranker {dtype}", logits)

    peaks: dict[str, list[float]] = {dtype: [] for dtype in DTYPES if kind == "cpu" or dtype != "float32"}

    def peak() -> None:
        for dtype, rates in peaks.items():
            rates.append(matmul_rate(DTYPES[dtype], device))

    # What compiles or lays out weights on its first call does so before the clock starts.
    fast = {name: run for name, run in runs.items() if name.startswith(("inranker", "ctranslate2"))}
    for name, run in fast.items():
        print(f"warm-up {name}", file=sys.stderr, flush=True)
        run()
    cpu: dict[str, list[float]] = {}
    seconds = interleave({"matmul": peak, **runs}, arguments.rounds, cpu)
    # Most of a round is spent on the slow ones; the close contest gets more rounds of its own.
    for name, more in interleave({"matmul": peak, **fast}, arguments.fast_rounds, cpu).items():
        seconds[name] += more
    flop = contenders.flop_count(arguments.size, encoded.lengths)
    tokens = int(encoded.lengths.sum())
    rows = [_row(name, seconds[name], cpu[name], len(flat), tokens, flop, peaks) for name in runs]
    rows += [{"contender": name, "absent": reason} for name, reason in absent.items()]
    rows += [{"matmul": dtype, "gflop_per_s": [rate / 1e9 for rate in rates]} for dtype, rates in peaks.items()]
    rows += _fidelities(logits, texts, ours)
    rows.append(_memory(device))
    shard = _shard_lengths(next(iter(ours.values())).encoder)
    plan = plan_batches(shard, TOKEN_BUDGET[kind])
    figures = _figures(seconds, rows, logits)
    figures["padding_share"] = padding_share(shard, plan)
    figures["machine_load"] = machine(device)["load_average"][0]
    write(arguments.json, figures, [row for row in rows if row], device)


def _ours(
    reranker: Any, texts: list[str], passages: list[str], name: str, logits: dict[str, np.ndarray]
) -> Callable[[], None]:
    def run() -> None:
        logits[name] = reranker.logits(reranker.encoder.encode(texts, passages))

    return run


def _row(
    name: str,
    seconds: list[float],
    cpu: list[float],
    pairs: int,
    tokens: int,
    flop: float,
    peaks: dict[str, list[float]],
) -> dict[str, Any]:
    median = statistics.median(seconds)
    row: dict[str, Any] = {
        "contender": name,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "pairs_per_s": pairs / median,
        "pairs_per_cpu_s": pairs / statistics.median(cpu),
        "tokens_per_s": tokens / median,
        "useful_gflop_per_s": flop / median / 1e9,
    }
    dtype = name.split()[-1]
    if name.startswith("inranker") and dtype in peaks:
        # The best rate of all rounds: on a shared machine a round's own may be that of a busy moment.
        row["share_of_peak"] = flop / median / max(peaks[dtype])
    share = f"  {row['share_of_peak']:.0%} of peak" if "share_of_peak" in row else ""
    print(f"{name:28} {row['pairs_per_s']:8.1f} pairs/s {row['tokens_per_s']:10.0f} tokens/s{share}")
    return row


def _figures(
    seconds: dict[str, list[float]], rows: list[dict[str, Any]], logits: dict[str, np.ndarray]
) -> dict[str, float | None]:
    """The named figures; what this run has no contender for is None, and a row says why."""
    mine = [name for name in seconds if name.startswith("inranker")]
    best = min(mine, key=lambda name: statistics.median(seconds[name]))
    other = [name for name in seconds if name.startswith("ctranslate2")]
    rival = min(other, key=lambda name: statistics.median(seconds[name])) if other else ""

    def over(slower: str, faster: str) -> float | None:
        if not {slower, faster} <= set(seconds):
            return None
        rounds = min(len(seconds[slower]), len(seconds[faster]))
        return speedup(seconds[slower][:rounds], seconds[faster][:rounds])

    shares = {row["contender"]: row.get("share_of_peak") for row in rows if "contender" in row}
    exact, reference = logits.get("inranker float32"), logits.get("hf sorted")
    error = None if exact is None or reference is None else float(np.abs(exact - reference).max())
    return {
        "fp32_over_original": over("original", "inranker float32"),
        "fp32_over_hf_sorted": over("hf sorted", "inranker float32"),
        "best_over_original": over("original", best),
        "best_over_ctranslate2": over(rival, best),
        "bf16_share_of_peak": shares.get("inranker bfloat16"),
        "max_abs_logit_error_fp32": error,
    }


def _fidelities(logits: dict[str, np.ndarray], texts: list[str], ours: dict[str, Any]) -> list[dict[str, Any]]:
    reference = logits.get("hf sorted")
    if reference is None:
        return []
    contract = next(iter(ours.values())).contract
    spread = float(np.ptp(reference, axis=0).min())
    found = [
        {"fidelity": name, "logit_spread": spread, **compare(values, reference, texts, contract).__dict__}
        for name, values in logits.items()
        if name != "hf sorted" and values.shape == reference.shape
    ]
    for row in found:
        print(f"{row['fidelity']:28} max |Δ| {row['max_error']:.2g} of {spread:.1f}, τ {row['kendall_tau']:.4f}")
    return found


def _memory(device: str) -> dict[str, Any]:
    if not device.startswith("cuda"):
        return {"accelerator": "not measured: this run had none"}
    return {"accelerator_memory_gb": torch.cuda.max_memory_allocated() / 1e9}


def _shard_lengths(encoder: Any) -> np.ndarray:
    """Token counts of a shard of 20,000 real pairs."""
    queries = candidates(50, SHARD_PAIRS // 50)
    pairs = [(query, passage) for query, passages in queries for passage in passages]
    return encoder.encode([query for query, _ in pairs], [passage for _, passage in pairs]).lengths


if __name__ == "__main__":
    main()
