"""How fast a student is trained, beside the released trainer's procedure and a well-set-up `transformers.Trainer`.

    python -m tests.benchmarks.training --json training.json                     # CPU, T5-small shape
    python -m tests.benchmarks.training --precision bfloat16 --json bf16.json    # the same in bfloat16
    python -m tests.benchmarks.training --device cuda --size base --json gpu.json  # one GPU

Real MS MARCO queries and passages, random weights in the published shapes, random targets, dropout 0. All contenders
make the same updates on the same batches of 32 pairs with the same token ids, optimiser and schedule: the losses must
agree. In bfloat16 the others compute under autocast, as `TrainingArguments(bf16=True)` has it. `original` tokenises
each batch as it comes, pads to 512 and computes the whole vocabulary head, as the released trainer does; `transformers`
has token ids made before, batches of like length and padding to the longest.
"""

import argparse
import multiprocessing
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from inranker.rerankers.create import T5Shape, create_t5
from inranker.training.config import TrainIdentity
from tests.builders import make_pairs
from tests.unit.training.labels import make_labels

from . import contenders
from .harness import speedup, write
from .pairs import candidates, shared
from .trainers import BATCH, make_contender


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", choices=sorted(contenders.SHAPES), default="small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of all contenders")
    parser.add_argument("--updates", type=int, default=20, help="updates over which losses are compared")
    parser.add_argument("--timed", type=int, default=3, help="updates of a round; a third of it, padded to 512")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="file for the results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(arguments, Path(folder))


def measure(arguments: argparse.Namespace, folder: Path) -> None:
    """One run: the losses of every contender, then the rounds."""
    rows = pair_rows(max(arguments.updates, arguments.timed) * BATCH)
    start = make_start(arguments.size, folder / "model")
    pairs = make_pairs(folder / "pairs", rows)
    identity = TrainIdentity(
        start=str(start),
        labels=str(make_labels(folder / "labels", pairs, scale=0.003)),
        loss="mse_mean",
        steps=arguments.updates,
        schedule="constant",
        dropout=0.0,
        truncation="legacy-training",
        precision=arguments.precision,
    )
    few = max(1, arguments.timed // 3)
    updates = {"inranker": arguments.timed, "transformers": arguments.timed, "original": few}
    processes = {name: Process(name, identity, folder, rows, arguments.device) for name in updates}
    try:
        losses = {
            name: process.run(few if name == "original" else arguments.updates)[1]
            for name, process in processes.items()
        }
        seconds: dict[str, list[float]] = {name: [] for name in processes}
        for number in range(arguments.rounds):
            for name in list(processes) if number % 2 == 0 else list(processes)[::-1]:
                spent, _ = processes[name].run(updates[name])
                seconds[name].append(spent / updates[name])
                print(f"round {number + 1} {name}: {seconds[name][-1]:.2f} s an update", file=sys.stderr, flush=True)
    finally:
        for process in processes.values():
            process.end()
    figures = {
        "over_original_trainer": speedup(seconds["original"], seconds["inranker"]),
        "over_hf_trainer": speedup(seconds["transformers"], seconds["inranker"]),
        "max_loss_deviation": max(deviation(losses["inranker"], others) for others in losses.values()),
    }
    found: list[dict[str, Any]] = [
        {
            "contender": name,
            "seconds_per_update": seconds[name],
            "pairs_per_second": [BATCH / spent for spent in seconds[name]],
            "losses": losses[name],
        }
        for name in seconds
    ]
    for row in found:
        row["precision"] = arguments.precision
    write(arguments.json, figures, found, arguments.device)


def make_start(size: str, path: Path) -> Path:
    """Random weights in the shape of a published checkpoint, with T5's vocabulary."""
    d_model, d_ff, d_kv, heads, layers = contenders.SHAPES[size]
    shape = T5Shape(d_model, d_ff, d_kv, heads, layers, layers)
    create_t5(shape, shared() / "tokenizers" / "t5", seed=0, path=path)
    return path


def deviation(ours: list[float], theirs: list[float]) -> float:
    """Largest relative difference of losses, over the updates that both made."""
    return max(abs(mine - other) / mine for mine, other in zip(ours, theirs, strict=False))


class Process:
    """A contender in a process of its own: frameworks leave marks on a process that others would run into."""

    def __init__(
        self, name: str, identity: TrainIdentity, folder: Path, rows: list[dict[str, Any]], device: str
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        given = (other, name, identity, folder, rows, device, torch.get_num_threads())
        self.process = context.Process(target=_serve, args=given)
        self.process.start()

    def run(self, updates: int) -> tuple[float, list[float]]:
        """Seconds and losses of the first updates, from the start weights."""
        self.connection.send(updates)
        result: tuple[float, list[float]] = self.connection.recv()
        return result

    def end(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.join()


def _serve(
    connection: Any,
    name: str,
    identity: TrainIdentity,
    folder: Path,
    rows: list[dict[str, Any]],
    device_name: str,
    threads: int,
) -> None:
    torch.set_num_threads(threads)
    device = torch.device(device_name)
    run = make_contender(name, identity, folder, rows, device)
    while True:
        connection.send(run(connection.recv()))


def pair_rows(count: int) -> list[dict[str, Any]]:
    """Queries with their ten best passages by BM25, as rows of a pairs set."""
    rows = []
    for number, (query, passages) in enumerate(candidates(-(-count // 10), 10)):
        for rank, passage in enumerate(passages, start=1):
            rows.append(
                {
                    "query_id": f"q{number}",
                    "passage_id": f"q{number}-{rank}",
                    "query": query,
                    "passage": passage,
                    "kind": "positive" if rank == 1 else "negative",
                    "rank": rank,
                    "source": "msmarco",
                    "language": "en",
                }
            )
    return rows[:count]


if __name__ == "__main__":
    main()
