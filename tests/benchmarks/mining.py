"""How fast candidates are mined, beside pyserini's single-thread search of the same passages.

    python -m tests.benchmarks.mining --json mining.json   # 200k passages, 20k queries; some minutes on two cores

The corpus is made from real sentences (tests/benchmarks/synthetic_corpus.py). Ours searches 1,000 deep, one thread a
core, and draws nine negatives a query, as `mine` does; pyserini searches 1,000 deep, a query at a time, and its hits
are read. Each has a process of its own; rounds are interleaved; pyserini answers a sample of the queries. Then ours
mines all of them. nDCG@10 is that of both on SciFact.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import ir_measures

from inranker.corpora import open_collection
from inranker.retrieval import retrieve

from .harness import write

SMALL = 50_000


class Contender:
    """A process of tests.benchmarks.mining_contenders."""

    def __init__(self, name: str, folder: str, passages: int, queries: int) -> None:
        arguments = [name, folder, str(passages), str(queries)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.mining_contenders", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.opened = self._answer()
        print(f"{name} of {passages} passages: {self.opened}", file=sys.stderr, flush=True)

    def ask(self, **command: Any) -> Any:
        """Give a command and wait for the answer."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def rate(self, first: int, count: int) -> float:
        """Queries a second over some of the queries."""
        rate = count / float(self.ask(do="search", first=first, count=count)["seconds"])
        print(f"{self.process.args[3]}: {rate:.1f} queries/s", file=sys.stderr, flush=True)  # type: ignore[index]
        return rate

    def close(self) -> float:
        """End the process; its peak resident memory in GB."""
        peak = float(self.ask(do="memory")["peak_rss_gb"])
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()
        return peak

    def _answer(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(map(str, self.process.args))} ended with {self.process.wait()}")
        return json.loads(line)


def ndcg_difference(theirs: Contender, collection: str) -> dict[str, float]:
    """nDCG@10 of both on a real collection."""
    real = open_collection(collection)
    qrels = [ir_measures.Qrel(*qrel) for qrel in real.qrels_iter("test")]
    run = retrieve(real, list(real.queries_iter("test")), 1000)
    found = theirs.ask(do="scifact", collection=collection)["run"]
    scored = {
        "ours": [ir_measures.ScoredDoc(*document) for ranking in run.values() for document in ranking],
        "pyserini": [ir_measures.ScoredDoc(query, *hit) for query, ranking in found.items() for hit in ranking],
    }
    measure = ir_measures.nDCG @ 10
    return {
        name: ir_measures.calc_aggregate([measure], qrels, documents)[measure] for name, documents in scored.items()
    }


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--passages", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--sample", type=int, default=100, help="queries a round of pyserini; ours gets ten times as many"
    )
    parser.add_argument("--json", help="file for the results")
    arguments = parser.parse_args()
    shared = Path(os.environ.get("INRANKER_SHARED", "../shared")).resolve()
    os.environ["INRANKER_SHARED"] = str(shared)
    with tempfile.TemporaryDirectory() as folder:
        measure(arguments, folder, f"beir:{shared / 'collections' / 'scifact'}")


def measure(arguments: argparse.Namespace, folder: str, real: str) -> None:
    """One run."""
    small = Contender("ours", folder, SMALL, arguments.queries)
    small.rate(0, 10 * arguments.sample)
    peaks = {SMALL: small.close()}
    mine = Contender("ours", folder, arguments.passages, arguments.queries)
    theirs = Contender("pyserini", folder, arguments.passages, arguments.queries)
    theirs.rate(0, arguments.sample)  # the JVM compiles what is hot
    rates: dict[str, list[float]] = {"ours": [], "pyserini": []}
    for number in range(arguments.rounds):
        first = number * 10 * arguments.sample
        rates["ours"].append(mine.rate(first, 10 * arguments.sample))
        rates["pyserini"].append(theirs.rate(first, arguments.sample))
    queries_per_second = mine.rate(0, arguments.queries)
    ndcg = ndcg_difference(theirs, real)
    theirs.close()
    peaks[arguments.passages] = mine.close()
    figures = {
        "over_pyserini_single_thread": statistics.median(
            a / b for a, b in zip(rates["ours"], rates["pyserini"], strict=True)
        ),
        "ndcg_difference": ndcg["ours"] - ndcg["pyserini"],
        "queries_per_second": queries_per_second,
        "peak_rss_gb": peaks[arguments.passages],
        "peak_rss_growth": peaks[arguments.passages] / peaks[SMALL],
        "passages_growth": arguments.passages / SMALL,
    }
    rows = [
        {"queries_per_second": rates},
        {"peak_rss_gb": peaks},
        {"ndcg_at_10_scifact": ndcg},
        {"index_seconds": {"ours": mine.opened["index_seconds"], "pyserini": theirs.opened["index_seconds"]}},
    ]
    write(arguments.json, figures, rows)


if __name__ == "__main__":
    main()
