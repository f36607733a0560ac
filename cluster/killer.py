"""Kills random processes, nodes and drivers of a local cluster, and keeps book of what was killed when."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import psutil

from cluster.local import LocalCluster, Node

# What holds work, by the names in the titles of processes: of label jobs, and of training.
WORK = ("PairScorer", "once_per_process", "RayTrainWorker")
WEIGHTS = {"worker": 6, "node": 3, "driver": 1}
POLL_SECONDS = 0.1
SHORTEST_SECONDS = 1.0


@dataclass
class Kill:
    """One kill, and what was done again because of it."""

    seconds: float
    kind: str
    victim: str
    job: str
    units_again: int = 0
    steps_again: int = 0
    restarts: int = 0


@dataclass
class Killer:
    """A thread that kills until its time is over.

    Args:
        cluster: what it kills in; a node that was killed is replaced, as an autoscaler would.
        seed: of what is killed when.
        every: seconds between kills, on average.
        minutes: how long it goes on, from the first work that it finds.
        kinds: of `WEIGHTS`, those to draw from.
        cpus: of a node that replaces another.
    """

    cluster: LocalCluster
    seed: int
    every: float
    minutes: float
    kinds: list[str]
    cpus: int
    kills: list[Kill] = field(default_factory=list)
    job: str = ""
    driver: psutil.Process | None = None
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        self.started = time.monotonic()
        self.draw = random.Random(self.seed)
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="killer")
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.over.set()
        self.thread.join()
        if self.failure is not None and error is None:
            raise self.failure

    @property
    def active(self) -> bool:
        """Whether more kills will come."""
        return not self.over.is_set() and self.thread.is_alive()

    def cost(self, **again: int) -> None:
        """Put what is done again down to the last kill."""
        with self.lock:
            if self.kills:
                for name, amount in again.items():
                    setattr(self.kills[-1], name, getattr(self.kills[-1], name) + amount)

    def _run(self) -> None:
        try:
            # The clock starts with the first work; a driver may take a while to come to it.
            while not any(node.workers(*WORK) for node in self.cluster.nodes):
                if self.over.wait(POLL_SECONDS):
                    return
            self.started = time.monotonic()
            self._kill_until(self.started + 60 * self.minutes)
        except BaseException as error:
            self.failure = error  # raised where the killer is left

    def _kill_until(self, deadline: float) -> None:
        while True:
            pause = self.draw.expovariate(1 / self.every)
            pause = min(max(SHORTEST_SECONDS, pause), 3 * self.every)
            kind = self.draw.choices(self.kinds, [WEIGHTS[kind] for kind in self.kinds])[0]
            if self.over.wait(min(pause, max(0.0, deadline - time.monotonic()))) or time.monotonic() >= deadline:
                return
            kill = {"worker": self._kill_worker, "node": self._kill_node, "driver": self._kill_driver}[kind]
            # What it is to be may not be there yet: a job that starts has no workers.
            while not kill():
                if self.over.wait(POLL_SECONDS) or time.monotonic() >= deadline:
                    return

    def _kill_worker(self) -> bool:
        busy = [(node, process) for node in self.cluster.nodes for process in node.workers(*WORK)]
        if not busy:
            return False
        node, process = self.draw.choice(busy)
        return self._kill("worker", lambda: f"{title(process)} on {node.name}", process.kill)

    def _kill_node(self) -> bool:
        busy = [node for node in self.cluster.nodes if node.workers(*WORK)]
        if not busy:
            return False
        node: Node = self.draw.choice(busy)
        names = ", ".join(sorted({title(process) for process in node.workers(*WORK)}))
        killed = self._kill("node", lambda: f"{node.name} with {names}", lambda: self.cluster.kill_node(node))
        self.cluster.add_node(self.cpus)
        return killed

    def _kill_driver(self) -> bool:
        driver = self.driver
        if driver is None or not any(node.workers(*WORK) for node in self.cluster.nodes):
            return False
        return self._kill("driver", lambda: f"driver of {self.job}", driver.kill)

    def _kill(self, kind: str, named: Callable[[], str], kill: Callable[[], Any]) -> bool:
        try:
            victim = named()
            with self.lock:
                self.kills.append(Kill(round(time.monotonic() - self.started, 1), kind, victim, self.job))
            kill()
        except psutil.NoSuchProcess:
            with self.lock:
                self.kills.pop()
            return False
        return True


def title(process: psutil.Process) -> str:
    """What a worker does: `ray::MapWorker(MapBatches(PairScorer))` is PairScorer."""
    words = " ".join(process.cmdline())
    return next((name for name in WORK if name in words), "worker")
