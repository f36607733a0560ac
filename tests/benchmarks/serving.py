"""How long one query's hundred passages take, beside everything else a user could pick, and the server under load.

    python -m tests.benchmarks.serving --json serving.json                 # CPU, T5-small shape, about 9 minutes
    python -m tests.benchmarks.serving --threads 1 --json serving.json     # processor seconds for a shared machine
    python -m tests.benchmarks.serving --model out/student/student --json serving.json

Real passages, BM25 candidates, from texts to scores, tokenising included. Each round is one query, which every
contender answers; the fast ones get more rounds of their own. Figures are medians of the rounds' ratios. Order is
compared with that of Hugging Face's own float32 forward. Without `--model` weights are random, in the published shape
and widened until scores spread over several units: they are closer together than a trained model's, so that every loss
of order is larger than one would see.
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

from inranker.export.parity import own_ndcg_loss
from inranker.rerankers.fidelity import kendall_tau

from . import contenders, serving_contenders
from .harness import interleave, machine, speedup, write
from .pairs import candidates
from .serving_contenders import SLOW, Ask

REFERENCE = "hf sorted"
# A loss of order smaller than this is none: float32 forwards differ in the last bits.
ROUNDING = 1e-3
HTTP_QUERIES = 8


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", help="a T5 checkpoint (default: random weights of the size)")
    parser.add_argument("--size", choices=sorted(contenders.SHAPES), default="small")
    parser.add_argument("--collection", default="msmarco_dl_5k", help="folder of ../shared/collections")
    parser.add_argument("--passages", type=int, default=100, help="of a query")
    parser.add_argument("--rounds", type=int, default=3, help="queries that everyone answers")
    parser.add_argument("--fast-rounds", type=int, default=12, help="more queries that the fast ones answer")
    parser.add_argument("--threads", type=int, help="cores to use (default: all); 1 makes CPU seconds comparable")
    parser.add_argument("--http-seconds", type=float, default=60, help="load on the server; 0 leaves it out")
    parser.add_argument("--only", help="comma-separated words; contenders whose name holds one of them, and the exact")
    parser.add_argument("--json", help="file for the results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(arguments, Path(folder))


def measure(arguments: argparse.Namespace, folder: Path) -> None:
    """One run: every contender, every round, then the server."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    threads = torch.get_num_threads()
    path = Path(arguments.model or contenders.make_model(arguments.size, folder / "model", "cpu"))
    queries = candidates(arguments.rounds + arguments.fast_rounds, arguments.passages, arguments.collection)
    words = (arguments.only or "").split(",")

    def wanted(name: str) -> bool:
        return name == REFERENCE or any(word in name for word in words)

    mine, exports = serving_contenders.ours(path, folder, threads, arguments.collection, wanted)
    asks, absent = serving_contenders.peers(path, folder, threads)
    asks = {name: ask for name, ask in asks.items() if wanted(name)}
    answers: dict[str, list[np.ndarray]] = {}
    runs = {name: _rounds(ask, queries, answers.setdefault(name, [])) for name, ask in (asks | mine).items()}
    fast = {name: run for name, run in runs.items() if not name.startswith(SLOW)}
    for name, run in fast.items():
        # What compiles or lays out weights on its first call does so before the clock starts.
        print(f"warm-up {name}", file=sys.stderr, flush=True)
        run()
        answers[name].clear()
    cpu: dict[str, list[float]] = {}
    seconds = interleave(runs, arguments.rounds, cpu)
    for name, more in interleave(fast, arguments.fast_rounds, cpu).items():
        seconds[name] += more
    rows = [
        _row(name, seconds[name], cpu[name], answers, arguments.passages, "ours" if name in mine else "peer")
        for name in runs
    ]
    figures: dict[str, float | None] = _figures({row["contender"]: row for row in rows}, seconds)
    rows += [{"contender": name, "absent": reason} for name, reason in absent.items()] + exports
    encoded_lengths = _lengths(path, queries)
    rows.append({"collection": arguments.collection, "passages": arguments.passages, "weights": _weights(arguments),
                 "mean_tokens": float(encoded_lengths.mean()), "max_tokens": int(encoded_lengths.max())})  # fmt: skip
    under_load, reason = _http(path, queries, arguments)
    rows.append(reason)
    figures |= {name: under_load.get(name) for name in ("http_over_bare", "http_errors", "p95_ratio")}
    figures["machine_load"] = machine()["load_average"][0]
    write(arguments.json, figures, rows)


def _rounds(ask: Ask, queries: contenders.Queries, answers: list[np.ndarray]) -> Callable[[], None]:
    """Each call answers the next query."""

    def run() -> None:
        query, passages = queries[len(answers) % len(queries)]
        answers.append(np.asarray(ask(query, passages), np.float64))

    return run


def _row(
    name: str,
    seconds: list[float],
    cpu: list[float],
    answers: dict[str, list[np.ndarray]],
    passages: int,
    side: str,
) -> dict[str, Any]:
    # Queries beyond the rounds of the exact forward have nothing to be compared with.
    both = list(zip(answers[name], answers[REFERENCE], strict=False))
    taus = [kendall_tau(own, exact) for own, exact in both]
    row = {
        "contender": name,
        "side": side,
        "queries": len(seconds),
        "p50_s": float(np.quantile(seconds, 0.5)),
        "p95_s": float(np.quantile(seconds, 0.95)),
        "passages_per_s": passages / statistics.median(seconds),
        "passages_per_cpu_s": passages / statistics.median(cpu),
        "kendall_loss": 1 - statistics.mean(taus),
        "ndcg_loss": statistics.mean(own_ndcg_loss(own, exact, ["q"] * len(own)) for own, exact in both),
        "max_margin_error": max(float(np.abs(own - exact).max()) for own, exact in both),
        "seconds": seconds,
        "cpu_seconds": cpu,
    }
    print(
        f"{name:24} p50 {row['p50_s']:7.3f} s  p95 {row['p95_s']:7.3f} s  {row['passages_per_s']:7.1f} passages/s "
        f"({row['passages_per_cpu_s']:6.1f} a CPU second)  τ lost {row['kendall_loss']:.4f}  "
        f"nDCG@10 lost {row['ndcg_loss']:.5f}"
    )
    return row


def _figures(rows: dict[str, dict[str, Any]], seconds: dict[str, list[float]]) -> dict[str, float | None]:
    """Our fastest way that orders no worse than the fastest peer, next to that peer."""

    def fastest(names: list[str]) -> str:
        return min(names, key=lambda name: rows[name]["p50_s"])

    peer = rows[fastest([name for name, row in rows.items() if row["side"] == "peer"])]
    as_true = [
        name
        for name, row in rows.items()
        if row["side"] == "ours"
        and row["kendall_loss"] <= max(peer["kendall_loss"], ROUNDING)
        and row["ndcg_loss"] <= max(peer["ndcg_loss"], ROUNDING)
    ]
    if not as_true:
        return {"best_over_best_peer": None, "kendall_loss_ours": None, "kendall_loss_peer": peer["kendall_loss"]}
    best = rows[fastest(as_true)]
    rounds = min(len(seconds[peer["contender"]]), len(seconds[best["contender"]]))
    print(f"best of ours: {best['contender']}; best peer: {peer['contender']}")
    return {
        "best_over_best_peer": speedup(seconds[peer["contender"]][:rounds], seconds[best["contender"]][:rounds]),
        "best_over_best_peer_cpu": peer["passages_per_cpu_s"]
        and best["passages_per_cpu_s"] / peer["passages_per_cpu_s"],
        "best_over_original": rows["original"]["p50_s"] / best["p50_s"] if "original" in rows else None,
        "kendall_loss_ours": best["kendall_loss"],
        "kendall_loss_peer": peer["kendall_loss"],
        "ndcg_loss_ours": best["ndcg_loss"],
        "ndcg_loss_peer": peer["ndcg_loss"],
        "p50_s": best["p50_s"],
        "p95_s": best["p95_s"],
        "passages_per_s": best["passages_per_s"],
    }


def _lengths(path: Path, queries: contenders.Queries) -> np.ndarray:
    from inranker.rerankers import load_encoder

    pairs = [(query, passage) for query, passages in queries for passage in passages]
    return load_encoder(path).encode([query for query, _ in pairs], [passage for _, passage in pairs]).lengths


def _weights(arguments: argparse.Namespace) -> str:
    return arguments.model or f"random, T5-{arguments.size} shape, widened as contenders.make_model says"


def _http(
    path: Path, queries: contenders.Queries, arguments: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures of the server, or a row that says why there are none."""
    if not arguments.http_seconds:
        return {}, {"http": None, "reason": "--http-seconds 0"}
    try:
        from .serving_http import http_figures

        pairs = [(query, passage) for query, passages in queries[:HTTP_QUERIES] for passage in passages]
        found = http_figures(str(path), pairs, seconds=arguments.http_seconds, precision="int8")
    except Exception as error:
        # A server that does not come up must not cost the figures above.
        return {}, {"http": None, "reason": f"{type(error).__name__}: {error}"}
    return found, {"http": found}


if __name__ == "__main__":
    main()
