"""The stage: a training job on Ray Train. Placement, restarts and durable checkpoints are Ray's; the rest is ours.

A job is the loop of `worker.py` in as many processes as are asked for. An interrupted job goes on when the same command
is given again: Ray finds the last checkpoint under OUTPUT/checkpoints, and the order of the batches is a function of
the step.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.fs
import ray
import ray.train
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from inranker.errors import UserError
from inranker.fingerprint import fingerprint, plain, sha256_bytes
from inranker.jobs.stopping import STOPPED_BY_SIGNAL
from inranker.manifest import Manifest, Shard, claim_output, read_manifest, write_manifest
from inranker.raysession import beside_driver, cpu_environment, marked_nodes, session_options
from inranker.report.card import write_card
from inranker.report.job import report_or_warn, warned
from inranker.report.train import report
from inranker.storage import Store
from inranker.training.agreement import correlation, hardly_learnt, read_agreement
from inranker.training.board import Board, Watcher
from inranker.training.check import check, require_gradient
from inranker.training.config import TrainConfig, TrainExecution, TrainIdentity
from inranker.training.custody import Source, find_source
from inranker.training.dev import DEV_SCORE, dev_identity
from inranker.training.gauges import TrainGauges
from inranker.training.job import Job, Place
from inranker.training.student import STUDENT, start_identity
from inranker.training.worker import run

CHECKPOINTS = "checkpoints"
GROUP_TIMEOUT_SECONDS = 2 * 3600  # workers wait for the one that tokenises
TELL_SECONDS = 0.25
# Figures of a job that its manifest keeps.
KEPT = (
    "steps",
    "loss",
    "pairs",
    "pairs_per_second",
    "seconds",
    "total_seconds",
    "parameters",
    "dev",
    "saved_step",
    "correlation",
)


def train(config: TrainConfig) -> dict[str, Any]:
    """Train a student; a job that was interrupted goes on from its last checkpoint.

    Returns:
        The summary: the student's path, updates, loss and speed of the last window, parameters.

    Raises:
        UserError: the config, the data or the student cannot be used, the output belongs to another job, or training
            collapsed.
        SystemExit: SIGTERM came; the job has saved its state and the same command goes on.
        RuntimeError: workers died more often than `max_failures` allows.
    """
    check(config)
    source = find_source(config.identity)
    identity = job_identity(config.identity, source)
    require_gradient(config.identity, identity["start"])
    store = Store(config.output)
    if claim_output(store, "train", identity):
        return summarize(config, read_manifest(store), skipped=True)
    start_ray()
    job = make_job(config, source, identity["dev"])
    started = time.perf_counter()
    figures = run_workers(job, store)
    if figures["stopped"]:
        print(
            f"stopped at step {figures['step']} of {figures['steps']}; the same command goes on from there",
            file=sys.stderr,
        )
        raise SystemExit(STOPPED_BY_SIGNAL)
    figures["total_seconds"] = round(time.perf_counter() - started, 3)
    sample = read_agreement(store)
    figures["correlation"] = correlation(sample) if sample else None
    if warning := hardly_learnt(figures["correlation"]):
        print(warning, file=sys.stderr)
    summary = summarize(config, complete(config, store, identity, source, figures), skipped=False)
    if config.execution.write_report:
        summary |= report_or_warn(lambda: report(config), "train.py … --report")
    return summary


def start_ray() -> None:
    """Ray, as `raysession` says; a private one keeps its processes' logs in its files, off this terminal.

    Ray Train's helpers would otherwise fill it: without a dashboard one of them complains every second. What goes wrong
    in a worker comes back as an exception all the same.
    """
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0" if "RAY_ADDRESS" not in os.environ else "1")
    options = session_options()
    ray.init(**options)


def job_identity(identity: TrainIdentity, source: Source) -> dict[str, Any]:
    """What the student depends on, with paths replaced by the content they lead to."""
    chosen = plain(identity)
    for name in ("labels", "pairs", "text_from"):
        chosen[name] = None
    if not identity.trains_on_test:
        del chosen["trains_on_test"]  # said where it is true alone
    return {**chosen, **source.content, "start": start_identity(identity), "dev": dev_identity(identity.dev)}


def make_job(config: TrainConfig, source: Source, dev: dict[str, Any] | None) -> Job:
    """What all workers are told."""
    execution = config.execution
    gpus = int(ray.cluster_resources().get("GPU", 0))
    on_gpu = execution.use_gpu if execution.use_gpu is not None else gpus >= execution.workers
    if on_gpu and gpus < execution.workers:
        missing = f"the cluster has {gpus} GPUs for {execution.workers} workers"
        if execution.node_resource is None:
            raise UserError(f"use_gpu: {missing}; where an autoscaler starts such nodes, name their --node_resource")
        print(f"{missing}; waiting for nodes with the resource {execution.node_resource!r}", file=sys.stderr)
    local = Store(config.output).local_path()
    output = str(local.resolve()) if local is not None else config.output
    return Job(config.identity, execution, source, output, on_gpu, cpu_threads(execution), dev)


def cpu_threads(execution: TrainExecution) -> int:
    """Threads of a CPU worker when none are given: the machine's cores, shared."""
    return execution.threads or max(1, (os.cpu_count() or 1) // execution.workers)


def run_workers(job: Job, store: Store) -> dict[str, Any]:
    """Run the loop on Ray Train to its end.

    Raises:
        UserError: what a worker said.
        RuntimeError: workers died too often.
    """
    execution = job.execution
    board = ray.remote(Board).options(num_cpus=0, scheduling_strategy=beside_driver()).remote()
    place, filesystem = storage(store)
    trainer = TorchTrainer(
        train_on_worker,
        train_loop_config={"job": job, "board": board, "directory": os.getcwd()},
        torch_config=TorchConfig(backend="nccl" if job.on_gpu else "gloo", timeout_s=GROUP_TIMEOUT_SECONDS),
        scaling_config=ScalingConfig(
            num_workers=execution.workers, use_gpu=job.on_gpu, resources_per_worker=resources(job)
        ),
        run_config=RunConfig(
            name=CHECKPOINTS,
            storage_path=place,
            storage_filesystem=filesystem,
            checkpoint_config=CheckpointConfig(
                num_to_keep=execution.keep_checkpoints,
                checkpoint_score_attribute=DEV_SCORE if execution.keep_checkpoints_by == "score" else None,
            ),
            failure_config=FailureConfig(max_failures=execution.max_failures),
            worker_runtime_env={"env_vars": cpu_environment(job.threads)},
        ),
    )
    gauges = TrainGauges(job.output)
    with Watcher(lambda stop: gauges.tell(ray.get(board.exchange.remote(stop))), execution.progress):
        try:
            result = trainer.fit()
        except ray.train.TrainingFailedError as error:
            raise RuntimeError(f"training failed: {error}") from error
    outcome = result.return_value
    if outcome is None:
        raise RuntimeError("training ended without a result; the workers' logs say why")
    if "error" in outcome:
        raise UserError(outcome["error"])
    return outcome


def resources(job: Job) -> dict[str, float]:
    """What Ray reserves for a worker."""
    return {"CPU": 1, **({"GPU": 1} if job.on_gpu else {}), **marked_nodes(job.execution.node_resource)}


def storage(store: Store) -> tuple[str, pyarrow.fs.FileSystem | None]:
    """Where Ray keeps checkpoints: a path, and the filesystem it is on where it is not this machine's disk."""
    local = store.local_path()
    if local is not None:
        return str(local.resolve()), None
    return store.root, pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(store.fs))


def train_on_worker(config: dict[str, Any]) -> dict[str, Any]:
    """What Ray calls in each training process."""
    context = ray.train.get_context()
    place = Place(context.get_world_rank(), context.get_world_size(), context.get_local_rank())
    directory = Path(config["directory"])
    if directory.is_dir():
        os.chdir(directory)  # Ray moved this process into a folder of its own, where relative paths lead nowhere
    try:
        return run(config["job"], place, RayHooks(config["board"]))
    except UserError as error:
        # Raised, it would be retried; what the user must put right does not get better by that. All workers see the
        # same data and the same losses, so all of them come here.
        return {"error": str(error)}


class RayHooks:
    """A worker's checkpoints in Ray Train, and its line to the driver's board."""

    def __init__(self, board: Any) -> None:
        self.board = board
        self.pending: Any = None
        self.told = 0.0
        self.stop = False

    @contextmanager
    def latest(self) -> Iterator[Path | None]:
        """See `worker.Hooks`."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            yield None
            return
        with checkpoint.as_directory() as directory:
            yield Path(directory)

    def keep(self, place: Path, metrics: dict[str, Any]) -> None:
        """See `worker.Hooks`."""
        ray.train.report(metrics, checkpoint=Checkpoint.from_directory(place))

    def tell(self, progress: dict[str, Any]) -> bool:
        """See `worker.Hooks`; the answer to one call is read at a later one, so that no step waits for it."""
        now = time.perf_counter()
        last = progress["step"] == progress["steps"]
        if now - self.told < TELL_SECONDS and not last:
            return self.stop
        if self.pending is not None:
            ready, _ = ray.wait([self.pending], timeout=0)
            if not ready:
                return self.stop
            self.stop = ray.get(self.pending)
        self.told = now
        self.pending = self.board.tell.remote(progress)
        return self.stop


def complete(
    config: TrainConfig, store: Store, identity: dict[str, Any], source: Source, figures: dict[str, Any]
) -> Manifest:
    """Write the student's model card and the job's manifest: its files, and the chain of custody behind it."""
    inputs = {
        **source.inputs,
        "start": {"path": config.identity.start, "content": fingerprint(identity["start"])},
    }
    with warned("the student has no model card"):
        write_card(store, STUDENT, identity, inputs, figures)
    names = store.list(STUDENT)
    shards = [Shard(name, 1, sha256_bytes(store.read(name))) for name in names]
    return write_manifest(
        store,
        Manifest(
            stage="train",
            fingerprint=fingerprint(identity),
            identity=identity,
            inputs=inputs,
            shards=shards,
            counts={"pairs": figures["pairs"], "steps": figures["steps"]},
            figures={name: figures[name] for name in KEPT},
        ),
    )


def summarize(config: TrainConfig, manifest: Manifest, skipped: bool) -> dict[str, Any]:
    """What a training job reports."""
    return {
        "stage": "train",
        "output": config.output,
        "student": f"{config.output.rstrip('/')}/{STUDENT}",
        "fingerprint": manifest.fingerprint,
        "skipped": skipped,
        **manifest.figures,
    }
