"""What 25 million labels of a 3B teacher and a 3B self-distillation take on 1, 8 and 64 GPUs, reckoned.

python cluster/scale.py                 # print the tables
python cluster/scale.py --write         # and put them into cluster/README.md

Operations, units, memory and hours come from the functions behind `label.py --plan` and `train.py --plan`; what those
cannot know is in CONSTANTS, each with the benchmark that it comes from, and in ASSUMED, which nobody has measured here.
"""

import math
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from inranker.evaluation.table import render_rows
from inranker.jobs.plan import actor_rate, time_and_money
from inranker.jobs.progress import INTERVAL_SECONDS
from inranker.labeling.config import LabelExecution
from inranker.labeling.job import LABEL, default_unit_rows
from inranker.manifest import Manifest, Shard, write_manifest
from inranker.mining import MineIdentity
from inranker.rerankers.flops import scoring_flops
from inranker.storage import Store
from inranker.training.config import Hardware, TrainConfig, TrainExecution, TrainIdentity
from inranker.training.plan import plan as plan_training
from inranker.units import plan_units

README = Path(__file__).parent / "README.md"
MARKED = r"(<!-- scale -->\n```\n)(.*?)\n?(```)"
PAIRS = 25_000_000
GPUS = (1, 8, 64)
MONOT5_3B = {"d_model": 1024, "d_kv": 128, "d_ff": 16384, "num_heads": 32, "num_layers": 24}
T5_SMALL = {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_heads": 8, "num_layers": 6}
T5_BASE = {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_heads": 12, "num_layers": 12}
LOCAL_GPUS = {"A100": 312.0, "H100": 989.0}  # peak in bfloat16, from their data sheets
Student = tuple[dict[str, int], Literal[0, 1, 2, 3], Literal["none", "cpu"], int]
STUDENTS: dict[str, Student] = {
    "train 60M, one pass": (T5_SMALL, 0, "none", 32),
    "train 220M, one pass": (T5_BASE, 0, "none", 32),
    "train 3B, one pass, optimiser in the machine's memory": (MONOT5_3B, 2, "cpu", 2),
}
KEYS_OF_A_LIST = 1000  # of one ListObjectsV2 request
IN_FLIGHT = 2  # units that an actor has at a time: the one it scores, the next one on its way


@dataclass(frozen=True)
class Constant:
    """A figure that the tables rest on, and the benchmark that gave it."""

    value: float
    meaning: str
    source: str


LABELING, SCORER = "tests.benchmarks.labeling", "tests.benchmarks.scorer"
CONSTANTS = {
    "tokens_per_pair": Constant(101, "tokens of a pair of MS MARCO", SCORER),
    "tokenising_seconds": Constant(0.00025, "seconds of a core to tokenise a pair", SCORER),
    "factory_over_scorer": Constant(0.965, "rate of a whole job over that of a bare scorer", LABELING),
    "units_per_second": Constant(12.8, "units a second through the graph on two loaded cores, empty work", LABELING),
    "listing_seconds": Constant(2.33 / 10_000, "seconds to resume, for each receipt that is listed", LABELING),
    "driver_rss_gb_at_20m": Constant(0.337, "resident memory of the driver at 20 million pairs, GB", LABELING),
}
ASSUMED = {
    "peak_tflops": 989.0,  # H100 in bfloat16, dense, from its data sheet
    "label_utilisation": LabelExecution().utilisation,
    "train_utilisation": Hardware().utilisation,
    "gpu_memory_gb": 80.0,
    "spot_price": 2.00,  # dollars of a GPU for an hour, where labels are made
    "price": 3.50,  # the same on demand, where training runs
    "put_price": 0.005 / 1000,  # dollars of a PUT or LIST
    "get_price": 0.0004 / 1000,
}


def constant(name: str) -> float:
    """A constant that has been measured."""
    return CONSTANTS[name].value


def requests(units: int, shards: int, hours: float) -> dict[str, int]:
    """Requests to the object store of a label job that runs without a break and quarantines nothing.

    A unit is one PUT of its labels and one of its receipt, and its receipt is read once when the job is completed. A
    tokenising process keeps the shard that it read last, so shards are read once at best and once a unit at worst. The
    report reads labels and pairs once more.
    """
    return {
        "PUT": 2 * units + 2 + math.ceil(hours * 3600 / INTERVAL_SECONDS),  # identity, manifest; progress.json
        "GET at least": 2 * (units + shards),
        "GET at most": 3 * units + shards,
        "LIST": 2 * math.ceil(units / KEYS_OF_A_LIST),  # what is left at the start, what is done at the end
    }


def label_job(gpus: int, peak_tflops: float = ASSUMED["peak_tflops"]) -> dict[str, Any]:
    """A label job of PAIRS pairs on so many GPUs."""
    from transformers import T5Config

    tokens = constant("tokens_per_pair")
    flops = scoring_flops(T5Config(**MONOT5_3B), "t5", 1, tokens, tokens**2)
    execution = LabelExecution(
        actors=gpus,
        peak_tflops=peak_tflops * constant("factory_over_scorer"),
        utilisation=ASSUMED["label_utilisation"],
        price_per_hour=ASSUMED["spot_price"],
    )
    rate, _ = actor_rate(LABEL, None, execution, Store("memory://scale"), [], tokens, flops)
    assert rate is not None
    shard_rows, unit_rows = MineIdentity(collection="any").shard_rows, default_unit_rows(PAIRS, execution)
    shards = [Shard(f"pairs-{start}", min(shard_rows, PAIRS - start), "") for start in range(0, PAIRS, shard_rows)]
    units = len(plan_units(shards, unit_rows))
    spent = time_and_money(LABEL, execution, PAIRS, rate)
    asked = requests(units, len(shards), spent["hours"] or 0.0)
    dollars = ASSUMED["put_price"] * (asked["PUT"] + asked["LIST"]) + ASSUMED["get_price"] * asked["GET at most"]
    return {
        **spent,
        "rate": rate * gpus,
        "shards": len(shards),
        "units": units,
        "unit_seconds": unit_rows / rate,
        "units_per_second": units / ((spent["hours"] or 0.0) * 3600),
        "tokenising_cores": rate * gpus * constant("tokenising_seconds"),
        "requests": asked,
        "request_dollars": dollars,
        "resume_seconds": units * constant("listing_seconds"),
        "lost_gpu_seconds": IN_FLIGHT * gpus * unit_rows / rate,
    }


def training_job(
    gpus: int,
    zero_stage: Literal[0, 1, 2, 3] = 0,
    offload: Literal["none", "cpu"] = "none",
    shape: dict[str, int] = MONOT5_3B,
    pairs: int = PAIRS,
    peak_tflops: float = ASSUMED["peak_tflops"],
    piece: int = 2,
) -> dict[str, Any]:
    """One pass over labels, in batches of 32 (of two pairs a GPU where that is more), so many pairs at a time."""
    from transformers import T5Config

    with tempfile.TemporaryDirectory() as start:
        T5Config(**shape, decoder_start_token_id=0).save_pretrained(start)
        labels = Store(f"memory://scale-labels-{pairs}")
        tokens = {"tokens": round(pairs * constant("tokens_per_pair"))}
        shards = [Shard("all", pairs, "")]
        write_manifest(labels, Manifest("label", "", {}, shards=shards, counts={"labelled": pairs}, figures=tokens))
        batch = max(32, 2 * gpus)
        identity = TrainIdentity(
            start=start, family="monot5", labels=labels.url, epochs=1, batch_size=batch, precision="bfloat16"
        )
        execution = TrainExecution(
            workers=gpus,
            use_gpu=True,
            zero_stage=zero_stage,
            offload=offload,
            gradient_accumulation=max(1, batch // gpus // piece),
            activation_checkpointing=shape == MONOT5_3B,
            hardware=Hardware(
                gpu_memory_gb=ASSUMED["gpu_memory_gb"],
                gpu_tflops=peak_tflops,
                utilisation=ASSUMED["train_utilisation"],
                price_per_hour=ASSUMED["price"],
            ),
        )
        found = plan_training(TrainConfig(identity, "memory://scale-student", execution))
    (needed,) = [each for each in found["choices"] if (each["zero_stage"], each["offload"]) == (zero_stage, offload)]
    seconds = found["hours"] * 3600 / found["steps"]
    again = execution.checkpoint_every * seconds / 60
    return {**found, **needed, "batch": batch, "step_seconds": seconds, "lost_minutes": again}


def label_table() -> str:
    """Labelling, a column for each number of GPUs."""
    jobs = [label_job(gpus) for gpus in GPUS]
    memory = f"{constant('driver_rss_gb_at_20m') * PAIRS / 20e6:.1f} GB"
    rows = [
        ["pairs a second", *(f"{job['rate']:,.0f}" for job in jobs)],
        ["hours", *(f"{job['hours']:,.2f}" for job in jobs)],
        ["GPU-hours, dollars", *(f"{job['actor_hours']:.2f}, {job['cost']:.2f}" for job in jobs)],
        ["units = receipts listed", *(f"{job['units']:,}" for job in jobs)],
        ["seconds of a unit", *(f"{job['unit_seconds']:.1f}" for job in jobs)],
        ["units a second (measured: 12.8)", *(f"{job['units_per_second']:.2f}" for job in jobs)],
        ["cores that tokenise", *(f"{job['tokenising_cores']:.1f}" for job in jobs)],
        ["PUT", *(f"{job['requests']['PUT']:,}" for job in jobs)],
        ["GET", *(f"{job['requests']['GET at least']:,}–{job['requests']['GET at most']:,}" for job in jobs)],
        ["LIST", *(str(job["requests"]["LIST"]) for job in jobs)],
        ["requests, dollars", *(f"{job['request_dollars']:.2f}" for job in jobs)],
        ["memory of the driver", *(memory for _ in jobs)],
        ["restart: listing, seconds", *(f"{job['resume_seconds']:.1f}" for job in jobs)],
        ["restart: scored again, GPU-seconds", *(f"{job['lost_gpu_seconds']:,.0f}" for job in jobs)],
    ]
    return render_rows([f"{PAIRS / 1e6:.0f} M pairs × 3B", *(_gpus(gpus) for gpus in GPUS)], rows)


def training_table() -> str:
    """Self-distillation, a column for each number of GPUs."""
    jobs = [training_job(1, 2, "cpu"), training_job(8, 2, "none"), training_job(64, 1, "none")]
    rows = [
        ["pairs of an update", *(str(job["batch"]) for job in jobs)],
        ["updates", *(f"{job['steps']:,}" for job in jobs)],
        ["ZeRO stage, offload", *(f"{job['zero_stage']}, {job['offload']}" for job in jobs)],
        ["GB of a GPU (of 80)", *(f"{job['gb_per_gpu']:.1f}" for job in jobs)],
        ["hours", *(f"{job['hours']:,.1f}" for job in jobs)],
        ["GPU-hours, dollars", *(f"{job['gpu_hours']:,.1f}, {job['cost']:,.0f}" for job in jobs)],
        ["restart: minutes done again, at most", *(f"{job['lost_minutes']:.1f}" for job in jobs)],
    ]
    return render_rows([f"3B on {PAIRS / 1e6:.0f} M labels, one pass", *(_gpus(gpus) for gpus in GPUS)], rows)


def local_table() -> str:
    """What a single GPU does, on the million pairs of a small corpus."""
    jobs: dict[str, list[str]] = {"label 1 M pairs with the 3B": [], **{name: [] for name in STUDENTS}}
    for tflops in LOCAL_GPUS.values():
        labelled = label_job(1, tflops)
        jobs["label 1 M pairs with the 3B"].append(f"{labelled['hours'] * 1e6 / PAIRS:.2f} h")
        for name, (shape, zero_stage, offload, piece) in STUDENTS.items():
            found = training_job(1, zero_stage, offload, shape, 1_000_000, tflops, piece)
            jobs[name].append(f"{found['hours']:.2f} h, {found['gb_per_gpu']:.1f} GB")
    return render_rows(["one GPU of 80 GB", *LOCAL_GPUS], [[name, *cells] for name, cells in jobs.items()])


def constants_table() -> str:
    """What the other tables rest on."""
    rows = [[name, f"{each.value:g}", each.meaning, each.source] for name, each in CONSTANTS.items()]
    rows += [[name, f"{value:g}", "assumed", "–"] for name, value in ASSUMED.items()]
    return render_rows(["constant", "value", "meaning", "source"], rows)


def report() -> str:
    """All tables, as they stand in cluster/README.md."""
    return "\n\n".join([label_table(), training_table(), local_table(), constants_table()])


def in_readme(text: str) -> str:
    """What README.md shows now."""
    found = re.search(MARKED, text, re.DOTALL)
    assert found is not None, "cluster/README.md has lost its marker"
    return found[2]


def _gpus(count: int) -> str:
    return f"{count} GPU" + ("s" if count > 1 else "")


if __name__ == "__main__":
    tables = report()
    print(tables)
    if "--write" in sys.argv[1:]:
        text = README.read_text()
        assert in_readme(text) is not None
        README.write_text(re.sub(MARKED, lambda found: f"{found[1]}{tables}\n{found[3]}", text, flags=re.DOTALL))
