"""Training jobs in plain processes, without Ray: for what depends on the number of workers and the ZeRO stage."""

import json
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inranker.training.config import TrainExecution, TrainIdentity

SECONDS = 240


@dataclass(frozen=True)
class Case:
    """A job to run: it stops after `stop_after` updates (0: never), starts from the checkpoint `start_from`, and
    leaves its losses in NAME.json, its state in NAME/, its weights in NAME.npz."""

    name: str
    identity: TrainIdentity
    execution: TrainExecution
    stop_after: int = 0
    start_from: str | None = None


class DirectoryHooks:
    """Checkpoints in a directory that all workers share."""

    def __init__(self, folder: Path, case: Case, rank: int) -> None:
        self.folder, self.case, self.rank = folder, case, rank

    @contextmanager
    def latest(self) -> Iterator[Path | None]:
        yield None if self.case.start_from is None else self.folder / self.case.start_from

    def keep(self, place: Path, metrics: dict[str, Any]) -> None:
        target = self.folder / self.case.name
        target.mkdir(exist_ok=True)
        for file in place.iterdir():
            (target / file.name).write_bytes(file.read_bytes())

    def tell(self, progress: dict[str, Any]) -> bool:
        # The answer holds from the next update on.
        return self.case.stop_after > 0 and progress["step"] >= self.case.stop_after - 1


def run_cases(folder: Path, world: int, cases: list[Case]) -> dict[str, dict[str, Any]]:
    """Run jobs one after the other in `world` processes.

    Returns:
        By name: `losses` of every update, `outcome`, and `weights` by name.
    """
    context = multiprocessing.get_context("spawn")
    rendezvous = folder / f"rendezvous-{world}-{cases[0].name}"
    workers = [context.Process(target=_work, args=(folder, rendezvous, rank, world, cases)) for rank in range(world)]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join(timeout=SECONDS)
            assert worker.exitcode == 0, f"a training process ended with {worker.exitcode}"
    finally:
        for worker in workers:
            worker.kill()
    results = {}
    for case in cases:
        results[case.name] = json.loads((folder / f"{case.name}.json").read_text())
        with np.load(folder / f"{case.name}.npz") as weights:
            results[case.name]["weights"] = dict(weights)
    return results


def _work(folder: Path, rendezvous: Path, rank: int, world: int, cases: list[Case]) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank), OMP_WAIT_POLICY="PASSIVE")
    import torch

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{rendezvous}", rank=rank, world_size=world)
    for case in cases:
        _run_case(folder, case, rank, world)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def _run_case(folder: Path, case: Case, rank: int, world: int) -> None:
    import torch

    from inranker.training.checkpoint import whole_weights
    from inranker.training.custody import find_source
    from inranker.training.dev import dev_identity
    from inranker.training.job import Job, Place
    from inranker.training.meter import METRICS
    from inranker.training.worker import Trainer

    output = folder / f"{case.name}-output"
    dev = dev_identity(case.identity.dev)
    job = Job(case.identity, case.execution, find_source(case.identity), str(output), False, 1, dev)
    hooks = DirectoryHooks(folder, case, rank)
    trainer = Trainer(job, Place(rank, world, rank), hooks, torch.device("cpu"))
    outcome = trainer.train()
    weights = whole_weights(trainer.engine, keep=rank == 0)
    if rank == 0:
        lines = [json.loads(line) for line in (output / METRICS).read_text().splitlines()]
        losses = {line["step"]: line["loss"] for line in lines if "loss" in line}
        (folder / f"{case.name}.json").write_text(json.dumps({"losses": list(losses.values()), "outcome": outcome}))
        np.savez(folder / f"{case.name}.npz", **{name: tensor.numpy() for name, tensor in weights.items()})
    trainer.engine.destroy()
