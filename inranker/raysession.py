"""Which Ray to use: the cluster this process belongs to, or a private one here. Importing this imports no Ray."""

import logging
import os
from typing import Any

LOGICAL_CPUS_AT_LEAST = 6  # a plan with actors and helper tasks hangs silently when logical CPUs run out
SLIVER = 0.001  # of a custom resource; Ray counts in steps of 0.0001


def session_options(cpus: int | None = None) -> dict[str, Any]:
    """Arguments for `ray.init`, in the rooms that import Ray: `ray.init(**session_options())`.

    Inside a submitted job, or with RAY_ADDRESS set, that cluster is used. Otherwise a private one starts on this
    machine ("local": a stale address file of another cluster is not followed), with a few more logical CPUs than
    cores, since helper tasks mostly wait.

    Args:
        cpus: logical CPUs of a private cluster; None takes the cores, and no fewer than a plan needs.
    """
    common: dict[str, Any] = {"ignore_reinit_error": True, "logging_level": logging.WARNING}
    if os.environ.get("RAY_ADDRESS"):
        return common
    return common | {
        "address": "local",
        "num_cpus": cpus or max(os.cpu_count() or 1, LOGICAL_CPUS_AT_LEAST),
        "include_dashboard": False,
        # Exceptions come back as such; what else workers print is Ray's own housekeeping, a line a second.
        "log_to_driver": False,
    }


def cpu_environment(threads: int) -> dict[str, str]:
    """Environment of a worker that computes on the CPU, from before torch is loaded.

    Idle OpenMP threads sleep: by default they spin, and where something else wants the core, a step of a small model
    was seen to take 25 times as long.
    """
    return {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}


def marked_nodes(resource: str | None) -> dict[str, float]:
    """Custom resources to ask for so as to run on the nodes that a resource marks; none where any node will do.

    A sliver of it: how many run on a node is decided by CPUs and GPUs.
    """
    return {} if resource is None else {resource: SLIVER}


def beside_driver() -> Any:
    """Where an actor goes without which the job cannot go on: to the driver's node, whose death ends the job anyway."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
