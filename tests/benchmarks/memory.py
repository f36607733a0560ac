"""What training takes of a GPU's memory, beside what `train.py --plan` says.

    python -m tests.benchmarks.memory --json memory.json                  # the paper's 3B self-distillation, one GPU
    python -m tests.benchmarks.memory --size base --json memory.json      # the same settings, a smaller student
    python -m tests.benchmarks.memory --size small --device cpu           # only whether it runs, in float32

Settings are those of the self-distillation in `pipelines/recipes/paper/inranker-3b.yaml` as shipped: batches of 32 in
pieces of 2, activations computed again, ZeRO 2 with its optimiser in the machine's memory, bfloat16. Weights are random
in the published shape; every pair fills the 512 tokens that the plan reckons with. Without a GPU it says so and gives
the plan alone. The 3B shape needs some 60 GB of the machine's memory and 12 GB of disk.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from inranker.config import build_config, read_yaml
from inranker.rerankers.shapes import planned_model
from inranker.training.config import TrainExecution, TrainIdentity
from inranker.training.custody import find_source
from inranker.training.job import Job, Place
from inranker.training.meter import LOSS
from inranker.training.plan import GB, Rows, plan_of
from inranker.training.worker import Trainer
from tests.builders import make_pairs
from tests.unit.training.labels import make_labels

from .harness import write
from .trainers import LENGTH, NoHooks, make_updates, work_alone
from .training import make_start, pair_rows

RECIPE, STAGE = Path("pipelines/recipes/paper/inranker-3b.yaml"), "synthetic_soft"
BATCH = 32
STARTS = {"small": "google-t5/t5-small", "base": "google-t5/t5-base", "3b": "google-t5/t5-3b"}
UNKNOWN: dict[str, float | None] = {"loading_gb": None, "measured_gb": None, "seconds_per_update": None}


def main() -> None:
    """Plan, train a few updates, print both figures and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", choices=sorted(STARTS), default="3b")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--updates", type=int, default=3)
    parser.add_argument("--json", help="file for the results")
    arguments = parser.parse_args()
    execution = settings()
    figures: dict[str, float | None] = {"planned_gb": planned_gb(STARTS[arguments.size], execution), **UNKNOWN}
    row: dict[str, Any] = {"size": arguments.size}
    if arguments.device == "cpu" or torch.cuda.is_available():
        on_gpu = arguments.device == "cuda"
        with tempfile.TemporaryDirectory() as folder:
            start = make_start(arguments.size, Path(folder, "start"))
            identity = prepare(Path(folder), start, arguments.updates, "bfloat16" if on_gpu else "float32")
            row |= train(
                identity, replace(execution, cache=folder), Path(folder, "out"), torch.device(arguments.device)
            )
        figures |= {name: value for name, value in row.items() if name in UNKNOWN}
    if figures["measured_gb"] is None:
        print("memory: not measured, this run had no GPU")
    else:
        figures["measured_over_planned"] = figures["measured_gb"] / figures["planned_gb"]
    write(arguments.json, figures, [row], arguments.device if torch.cuda.is_available() else "cpu")


def settings() -> TrainExecution:
    """How the recipe runs its self-distillation."""
    stage = next(stage for stage in read_yaml(RECIPE)["stages"] if stage["name"] == STAGE)
    execution: TrainExecution = build_config(TrainExecution, {**stage["config"]["execution"], "trackers": []}, STAGE)
    return execution


def planned_gb(published: str, execution: TrainExecution) -> float:
    """Gigabytes of a GPU that the plan expects of a student in a published shape."""
    identity = TrainIdentity(start=published, loss="mse", batch_size=BATCH, steps=1, precision="bfloat16")
    start = planned_model(published, family="monot5", max_length=LENGTH)
    return float(plan_of(identity, execution, start, Rows(BATCH, None, LENGTH))["gb_per_gpu"])


def prepare(folder: Path, start: Path, updates: int, precision: Literal["bfloat16", "float32"]) -> TrainIdentity:
    """A job of some updates on pairs that fill the student's input."""
    rows = [{**row, "passage": (f"{row['passage']} " * LENGTH)[: 16 * LENGTH]} for row in pair_rows(updates * BATCH)]
    pairs = make_pairs(folder / "pairs", rows)
    return TrainIdentity(
        start=str(start),
        labels=str(make_labels(folder / "labels", pairs, scale=0.003)),
        loss="mse",
        batch_size=BATCH,
        steps=updates,
        precision=precision,
    )


def train(identity: TrainIdentity, execution: TrainExecution, output: Path, device: torch.device) -> dict[str, Any]:
    """Make the job's updates in this process: losses, seconds an update, on a GPU the peak of allocated memory in GB
    before the first update and from there."""
    on_gpu = device.type == "cuda"
    work_alone(device)
    job = Job(identity, execution, find_source(identity), str(output), on_gpu, torch.get_num_threads())
    trainer = Trainer(job, Place(), NoHooks(), device)
    found: dict[str, Any] = {}
    if on_gpu:
        found["loading_gb"] = torch.cuda.max_memory_allocated() / GB
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    losses = [float(vector[LOSS]) for vector in make_updates(trainer, trainer.steps)]
    found |= {"seconds_per_update": (time.perf_counter() - started) / len(losses), "losses": losses}
    if on_gpu:
        found["measured_gb"] = torch.cuda.max_memory_allocated() / GB
    trainer.engine.destroy()
    torch.distributed.destroy_process_group()
    return found


if __name__ == "__main__":
    main()
