"""What the label factory costs beside the work itself.

    python -m tests.benchmarks.labeling --json labeling.json     # everything, two cores, about 15 minutes
    python -m tests.benchmarks.labeling --only scorer            # one figure

scorer     pairs/s of a job on S3, real pairs, T5-small shape ÷ those of one warm process that reads, tokenises and
           scores with the same threads and precision. The clock runs from the moment the model is loaded to the
           manifest; what a job does before its graph is added (by calling the finished job again).
tokenizer  pairs/s of a job whose scorer costs nothing ÷ those of the tokenizer alone, a process a core, same texts.
memory     most memory of the driver over plan, run and manifest of 20 million pairs of null data.
growth     cost of a pair between 10⁵ and 10⁶ pairs ÷ that between 10⁴ and 10⁵, null data, units of 1,000 pairs.
resume     seconds in which a finished job of 10,000 receipts on S3 returns, with its manifest and without.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray

from inranker.fingerprint import fingerprint, sha256_bytes
from inranker.labeling.config import LabelConfig, LabelExecution, LabelIdentity, Precision
from inranker.labeling.factory import Stages, label
from inranker.labeling.job import job_identity
from inranker.manifest import Manifest, Shard, claim_output, read_manifest, write_manifest
from inranker.mining import MineConfig, MineExecution, MineIdentity, mine
from inranker.raysession import cpu_environment, session_options
from inranker.storage import Store
from inranker.units import Receipt, commit
from tests.s3_server import S3Server

from . import contenders
from .harness import write
from .label_processes import WarmProcess, in_one_process, tokenizer_alone, units_of
from .label_stages import NO_SCORING, NOTHING, REAL, START_FILE, forget_start, started_at
from .pairs import shared

CORES = os.cpu_count() or 1
NULL_SHARD_ROWS = 100_000
Figures = dict[str, float | None]
Rows = list[dict[str, Any]]


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--max_length", type=int, default=128, help="tokens of a scored pair")
    parser.add_argument("--null_pairs", type=int, default=20_000_000, help="pairs of null data for `memory`")
    parser.add_argument("--receipts", type=int, default=10_000, help="receipts for `resume`")
    parser.add_argument("--json", help="file for the results")
    arguments = parser.parse_args()
    figures: Figures = {}
    rows: Rows = []
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), arguments)
        try:
            for part in arguments.only:
                print(f"{part} …", file=sys.stderr, flush=True)
                measured, more = PARTS[part](bench)
                figures |= measured
                rows += more
                write(arguments.json, figures, rows)  # what is measured is kept, whatever ends the next part
        finally:
            bench.close()


class Bench:
    """What the parts share: a folder, a teacher, an S3 server, a Ray."""

    def __init__(self, folder: Path, arguments: argparse.Namespace) -> None:
        self.folder, self.options = folder, arguments
        self.server = S3Server(folder / "s3")
        os.environ.update(self.server.environment | cpu_environment(CORES) | {START_FILE: str(folder / "start")})
        self.server.start()
        self.teacher = str(contenders.make_model("small", folder / "teacher", "cpu"))

    def close(self) -> None:
        """End what was started."""
        ray.shutdown()
        self.server.kill()

    def config(self, pairs: Path | str, output: str, unit_rows: int, max_length: int | None = None) -> LabelConfig:
        """A job of one actor that may use all cores."""
        precision: Precision = self.options.precision
        execution = LabelExecution(
            unit_rows=unit_rows, progress=False, threads=CORES, write_report=False, audit_share=0
        )
        return LabelConfig(LabelIdentity(str(pairs), self.teacher, precision, max_length), output, execution)

    def run(self, config: LabelConfig, stages: Stages) -> float:
        """Seconds of a job from the moment that its scorer is loaded."""
        ray.init(**session_options())
        forget_start()
        label(config, stages)
        return time.time() - started_at()

    def real_pairs(self, negatives: int) -> tuple[Path, int]:
        """SciFact, mined with so many negatives for each positive."""
        output = self.folder / f"scifact-{negatives}"
        identity = MineIdentity(f"beir:{shared()}/collections/scifact", split="test", negatives_per_positive=negatives)
        mine(MineConfig(identity, str(output), MineExecution(progress=False)))
        return output, sum(shard.rows for shard in read_manifest(str(output)).shards)

    def null_pairs(self, count: int) -> Path:
        """The manifest of pairs that nobody reads, as `mine` would write it."""
        output = self.folder / f"null-{count}"
        store = Store(str(output))
        identity = {"null": count}
        claim_output(store, "mine", identity)
        sizes = [min(NULL_SHARD_ROWS, count - start) for start in range(0, count, NULL_SHARD_ROWS)]
        shards = [Shard(f"pairs-{n:05d}.parquet", rows, sha256_bytes(str(n).encode())) for n, rows in enumerate(sizes)]
        write_manifest(store, Manifest("mine", fingerprint(identity), identity, shards=shards))
        return output


def scorer(bench: Bench) -> tuple[Figures, Rows]:
    """The whole job beside one warm process."""
    pairs, count = bench.real_pairs(negatives=9)
    unit_rows = -(-count // 21)

    def config() -> LabelConfig:
        return bench.config(pairs, bench.server.make_prefix(), unit_rows, bench.options.max_length)

    units = units_of(config())
    alone = WarmProcess(in_one_process, config(), units, CORES, variables=cpu_environment(CORES))
    few, some = bench.real_pairs(negatives=0)
    # Ray's tokenising processes have loaded what they need.
    bench.run(bench.config(few, bench.server.make_prefix(), -(-some // 12), max_length=16), REAL)
    factory, process = [], []

    def job() -> None:
        given = config()
        seconds = bench.run(given, REAL)
        started = time.perf_counter()
        label(given, REAL)
        factory.append(seconds + time.perf_counter() - started)

    def script() -> None:
        alone.begin()
        process.append(alone.seconds())

    alternate(job, script, bench.options.rounds)
    alone.end()
    ratio = statistics.median(b / a for a, b in zip(factory, process, strict=True))
    row = {
        "part": "scorer",
        "pairs": count,
        "units": len(units),
        "factory_seconds": factory,
        "process_seconds": process,
    }
    row |= {"precision": bench.options.precision, "max_length": bench.options.max_length}
    return {"factory_over_scorer": ratio}, [row]


def tokenizer(bench: Bench) -> tuple[Figures, Rows]:
    """The job without scoring beside the tokenizer without a job."""
    pairs, count = bench.real_pairs(negatives=100)
    unit_rows = 1024  # as many units as keep all cores busy to the end

    def config() -> LabelConfig:
        return bench.config(pairs, str(bench.folder / f"null-labels-{time.time_ns()}"), unit_rows)

    units = units_of(config())
    variables = {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}
    alone = [WarmProcess(tokenizer_alone, config(), units[core::CORES], variables=variables) for core in range(CORES)]
    bench.run(config(), NO_SCORING)
    factory, tokenizing = [], []

    def job() -> None:
        factory.append(bench.run(config(), NO_SCORING))

    def texts() -> None:
        for each in alone:
            each.begin()
        tokenizing.append(max(each.seconds() for each in alone))

    alternate(job, texts, bench.options.rounds)
    for each in alone:
        each.end()
    share = statistics.median(b / a for a, b in zip(factory, tokenizing, strict=True))
    rate = count / statistics.median(factory) / CORES
    row = {"part": "tokenizer", "pairs": count, "units": len(units)}
    row |= {"factory_seconds": factory, "tokenizer_seconds": tokenizing}
    return {"null_share_of_tokenizer": share, "null_pairs_per_second_per_core": rate}, [row]


def memory(bench: Bench) -> tuple[Figures, Rows]:
    """The driver of a big job, in a process of its own."""
    ray.shutdown()
    forget_start()
    pairs = bench.null_pairs(bench.options.null_pairs)
    words = [str(pairs), bench.teacher, str(bench.folder / "labels-of-nothing")]
    command = [sys.executable, "-m", "tests.benchmarks.label_processes", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    row = json.loads(done.stdout.splitlines()[-1])
    if row["pairs"] != bench.options.null_pairs:
        raise RuntimeError(f"{row['pairs']} pairs were labelled")
    if bench.options.null_pairs != 20_000_000:
        row["absent"] = "driver_rss_gb_at_20m is that of 20 million pairs; leave --null_pairs out"
        return {"driver_rss_gb_at_20m": None}, [{"part": "memory", **row}]
    return {"driver_rss_gb_at_20m": row["driver_rss_gb"]}, [{"part": "memory", **row}]


def growth(bench: Bench) -> tuple[Figures, Rows]:
    """Whether a pair costs more in a bigger job."""
    sizes = (10_000, 100_000, 1_000_000)
    pairs = {size: bench.null_pairs(size) for size in sizes}
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    for number in range(bench.options.rounds + 1):
        for size in sizes[:: 1 if number % 2 else -1] if number else sizes[:1]:
            output = str(bench.folder / f"growth-{number}-{size}")
            spent = bench.run(bench.config(pairs[size], output, unit_rows=1000), NOTHING)
            print(f"round {number} {size}: {spent:.2f} s", file=sys.stderr, flush=True)
            if number:  # the first has Ray's processes started
                seconds[size].append(spent)
    rounds = zip(*seconds.values(), strict=True)
    growths = [((big - middle) / 900_000) / ((middle - small) / 90_000) for small, middle, big in rounds]
    row = {"part": "growth", "seconds": seconds, "growths": growths}
    return {"cost_growth_1e4_to_1e6": statistics.median(growths)}, [row]


def resume(bench: Bench) -> tuple[Figures, Rows]:
    """A job of one receipt a pair; the receipts are written here, since only they matter."""
    count = bench.options.receipts
    config = bench.config(bench.null_pairs(count), bench.server.make_prefix(), unit_rows=1)
    store, manifest = Store(config.output), read_manifest(config.identity.pairs)
    identity = job_identity(config, manifest)
    claim_output(store, "label", identity, unit_rows=1)
    figures = {"tokens": 1, "seconds": 0.0}

    def finish(unit: Any) -> None:
        data = Shard(f"data/{unit.name}-0.parquet", 1, sha256_bytes(unit.name.encode()))
        commit(store, unit, Receipt(unit.name, fingerprint(identity), 1, data, None, figures))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(finish, units_of(config)))
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        if label(config)["labelled"] != count:
            raise RuntimeError("the job was not done")
        seconds.append(time.perf_counter() - started)
    without, with_manifest = seconds
    row = {"part": "resume", "receipts": count, "seconds": with_manifest, "seconds_without_manifest": without}
    measured = {"resume_overhead_s": with_manifest, "resume_overhead_without_manifest_s": without}
    return measured, [row]


def alternate(one: Callable[[], None], other: Callable[[], None], rounds: int) -> None:
    """Both in every round, in turn first."""
    for number in range(rounds):
        for run in (one, other) if number % 2 == 0 else (other, one):
            started = time.perf_counter()
            run()
            spent = time.perf_counter() - started
            print(f"round {number + 1} {run.__name__}: {spent:.2f} s", file=sys.stderr, flush=True)


PARTS: dict[str, Callable[[Bench], tuple[Figures, Rows]]] = {
    "scorer": scorer,
    "tokenizer": tokenizer,
    "memory": memory,
    "growth": growth,
    "resume": resume,
}

if __name__ == "__main__":
    main()
