"""The data flow of a job over units on Ray Data: prepare (CPU tasks) -> the actors' work -> commit (CPU tasks).

Ray schedules, retries and applies back-pressure; what makes a unit done is the commit protocol of `units.py`. Resume
is one listing of receipts. Nothing is lost by construction: a job is complete only when every unit has a receipt, and a
receipt cannot be written unless rows in = rows done + rows quarantined. This module imports Ray.
"""

import os
import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset, TaskPoolStrategy
from ray.util.metrics import Gauge

from inranker.errors import UserError
from inranker.jobs.attempts import UnitAttempts
from inranker.jobs.kind import Costs, Execution, JobKind
from inranker.jobs.progress import UnitProgress, to_store
from inranker.jobs.stopping import stoppable
from inranker.jobs.work import once_per_process
from inranker.raysession import beside_driver, cpu_environment, marked_nodes, session_options
from inranker.storage import Store
from inranker.units import Unit, unit_to_json

COMMIT_CPUS = 0.25  # commits wait for storage, not for a core
# Not a whole CPU: Ray fuses neighbours that ask for the same resources, and preparing would move into the actor, where
# it cannot run ahead of it or on another node.
PREPARE_CPUS = 0.5
UNITS_IN_HAND = 2
ONE_UNIT = {"batch_size": 1, "batch_format": "pyarrow"}


@dataclass(frozen=True)
class TaskStep:
    """Work that runs as tasks wherever CPUs are free.

    Attributes:
        name: what it is to people: "tokenising".
        work: a class called with `arguments`, whose object maps a one-row table of a unit to another.
        arguments: must be hashable: one object a process for the same ones.
    """

    name: str
    work: type
    arguments: tuple[Hashable, ...]


@dataclass(frozen=True)
class ActorStep:
    """Work that runs in a pool of actors.

    Attributes:
        name: what it is to people: "scoring".
        work: a class called with `arguments`, `device`, `threads` and `begin`.
        side_by_side: whether its object may be called for two units at a time on a CPU, so that cores that find nothing
            left in a unit go on with the next.
    """

    name: str
    work: type
    arguments: dict[str, Any] = field(default_factory=dict)
    side_by_side: bool = False


class RemoteAttempts:
    """What a step's processes hold: asks the one `UnitAttempts` of the job."""

    def __init__(self, attempts: Any, stage: str) -> None:
        self.attempts = attempts
        self.stage = stage

    def __call__(self, unit_name: str) -> int:
        node = ray.get_runtime_context().get_node_id()
        starts: int = ray.get(self.attempts.begin.remote(unit_name, self.stage, node))
        return starts


def unit_graph(
    kind: JobKind,
    pending: list[Unit],
    execution: Execution,
    prepare: TaskStep,
    actors: ActorStep,
    commit: TaskStep,
) -> Dataset:
    """The data flow of a job, lazily; one row per unit all the way."""
    attempts = start_counting(execution.max_attempts, kind)
    _quiet_progress_bars()
    work = ray.data.from_items([{"unit": unit_to_json(unit)} for unit in pending], override_num_blocks=len(pending))
    prepared = work.map_batches(
        once_per_process,
        fn_args=(prepare.work, RemoteAttempts(attempts, prepare.name), *prepare.arguments),
        compute=TaskPoolStrategy(size=preparing_tasks()),
        num_cpus=PREPARE_CPUS,
        **ONE_UNIT,
    )
    worked = _in_actors(prepared, execution, actors, RemoteAttempts(attempts, actors.name))
    return worked.map_batches(
        once_per_process,
        fn_args=(commit.work, RemoteAttempts(attempts, commit.name), *commit.arguments),
        num_cpus=COMMIT_CPUS,
        **ONE_UNIT,
    )


def _in_actors(prepared: Dataset, execution: Execution, step: ActorStep, begin: RemoteAttempts) -> Dataset:
    on_gpu = execution.gpus_per_actor > 0
    threads = None if on_gpu else execution.threads or cpu_threads(execution)
    placed = {"device": "cuda" if on_gpu else "cpu", "threads": threads, "begin": begin}
    return prepared.map_batches(
        step.work,
        fn_constructor_kwargs=step.arguments | placed,
        compute=ActorPoolStrategy(
            min_size=execution.actors,
            max_size=execution.max_actors or execution.actors,
            # A unit is fetched while another is worked on.
            max_concurrent_calls_per_actor=UNITS_IN_HAND,
            enable_true_multi_threading=step.side_by_side and not on_gpu,
        ),
        num_cpus=execution.cpus_per_actor,
        num_gpus=execution.gpus_per_actor or None,
        resources=marked_nodes(execution.node_resource),
        runtime_env={"env_vars": cpu_environment(threads)} if threads else None,
        **ONE_UNIT,
    )


def run_units(
    kind: JobKind,
    output: str,
    units: list[Unit],
    pending: list[Unit],
    execution: Execution,
    flops: Callable[[int, int, int], float] | None,
    graph: Callable[[], Dataset],
) -> None:
    """Stream units through the cluster until each has a receipt.

    Args:
        kind: the job's.
        output: its output.
        units: all its units.
        pending: those to do.
        execution: how it is run.
        flops: see `UnitProgress`.
        graph: makes the data flow of the pending units; called with Ray running.

    Raises:
        UserError: the sentence of a worker, or of a unit that was started too often.
        SystemExit: SIGTERM came; what has a receipt is done, and the same command goes on.
    """
    ray.init(**session_options())
    data = graph()
    listeners = [to_store(Store(output)), RayGauges(kind, output).tell]
    with (
        stoppable(lambda: f"{progress.units_done} of {progress.units} units are done"),
        UnitProgress(kind, units, pending, execution, flops, listeners) as progress,
    ):
        try:
            for committed in data.iter_rows():
                progress.advance(committed)
        except ray.exceptions.RayError as error:
            raise as_user_error(error) or error from error


def gauge_names(kind: JobKind) -> dict[str, str]:
    """Figure -> name of its gauge; Prometheus sees it with `ray_` before it."""
    items = kind.items
    figures = (items, f"{items}_done", "units_done", "quarantined", f"{items}_per_second", "tokens_per_second",
               "share_of_peak", "eta_seconds", "cost")  # fmt: skip
    return {figure: f"inranker_{kind.stage}_{figure}" for figure in figures}


class RayGauges:
    """Tells a job's figures to Ray, whose nodes serve them to Prometheus as `ray_inranker_label_pairs_per_second`, ….

    Args:
        kind: the job's; its stage and items are in the names.
        output: tells the jobs of a cluster apart.
    """

    def __init__(self, kind: JobKind, output: str) -> None:
        self.gauges = {
            figure: Gauge(name, f"{figure.replace('_', ' ')} of a {kind.stage} job", ("output",))
            for figure, name in gauge_names(kind).items()
        }
        self.tags = {"output": output}

    def tell(self, figures: dict[str, Any]) -> None:
        """Set every gauge; what is not known keeps none."""
        for name, gauge in self.gauges.items():
            if figures[name] is not None:
                gauge.set(figures[name], self.tags)


def start_counting(limit: int, kind: JobKind) -> Any:
    """The job's `UnitAttempts`, on the driver's own node: on another, that node's death would end the job."""

    def living_nodes() -> set[str]:  # sent by value: the counting process need not import this module
        return {node["NodeID"] for node in ray.nodes() if node["Alive"]}

    options = {"num_cpus": 0, "scheduling_strategy": beside_driver()}
    return ray.remote(UnitAttempts).options(**options).remote(limit, kind.items, living_nodes)


def preparing_tasks() -> int | None:
    """How many may run at a time: on this machine alone one more than there are cores, which works while another waits
    for its next unit (more of them only share the caches); a cluster counts its CPUs itself."""
    return None if os.environ.get("RAY_ADDRESS") else (os.cpu_count() or 1) + 1


def cpu_threads(execution: Costs) -> int:
    """Threads of each CPU actor when none are given: the machine's cores, shared."""
    return max(1, (os.cpu_count() or 1) // execution.actors)


def _quiet_progress_bars() -> None:
    """One bar in rows says more than Ray's in blocks."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False


def as_user_error(error: BaseException) -> UserError | None:
    """The sentence inside Ray's wrapping of a worker's exception, if there is one.

    Only the text of a remote chain of causes crosses the process boundary, so that is where it is looked for.
    """
    sentences = re.findall(r"inranker\.errors\.UserError: (.+)", str(error))
    return UserError(sentences[-1]) if sentences else None
