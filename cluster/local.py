"""A Ray cluster of several nodes on this machine, each made by `ray start` as a machine of its own would be.

Every node is a child process with a known pid, so that a node can be killed as a power cut would, and nothing else is.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from cluster.ports import ADDRESS, free_ports

START_SECONDS = 120
STARTS = 3
STARTED = "Ray runtime started"  # what `ray start` says of a node that is up
STORE_BYTES = 100 * 1024 * 1024
# By default Ray takes a minute to call a silent node dead.
SOON_MISSED = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 3000,
    "health_check_failure_threshold": 5,
}


@dataclass
class Node:
    """A node: the `ray start --block` that made it; its raylet and workers are that one's descendants."""

    name: str
    process: "subprocess.Popen[bytes]"

    def descendants(self) -> list[psutil.Process]:
        """The node's processes below `ray start`."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def workers(self, *names: str) -> list[psutil.Process]:
        """Processes in which work of these names runs: Ray puts the name of an actor's class or a task in the title."""
        found = []
        for process in self.descendants():
            try:
                title = " ".join(process.cmdline())
            except psutil.Error:
                continue  # it has ended meanwhile
            if title.startswith("ray::") and any(name in title for name in names):
                found.append(process)
        return found

    def kill(self) -> None:
        """SIGKILL of everything on the node, all at once."""
        family = self.descendants()
        self.process.kill()
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait()
        psutil.wait_procs(family, timeout=10)


@dataclass
class LocalCluster:
    """A head that does no work, and nodes that do it.

    Args:
        dashboard: whether the head takes jobs (`ray job submit`).
        environment: variables that all nodes, and so all jobs, are born with, besides this process's.
    """

    dashboard: bool = True
    environment: dict[str, str] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    head: Node | None = None
    started: int = 0

    def __enter__(self) -> Self:
        # Paths of sockets below it may have no more than 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="ir-"))
        self.port, self.dashboard_port, self.client_port = free_ports(3)
        try:
            self.head = self._started(self._start_head)
            if self.dashboard:
                self._wait_for(self.dashboard_port, self.head)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _start_head(self) -> Node:
        self.head = self._start(
            *("--head", f"--port={self.port}", "--num-cpus=0"),
            *(f"--include-dashboard={str(self.dashboard).lower()}", f"--dashboard-host={ADDRESS}"),
            *(f"--dashboard-port={self.dashboard_port}", f"--ray-client-server-port={self.client_port}"),
            f"--system-config={json.dumps(SOON_MISSED)}",
        )
        return self.head

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for node in [*self.nodes, *([self.head] if self.head else [])]:
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def address(self) -> str:
        """RAY_ADDRESS of drivers on this machine."""
        return f"{ADDRESS}:{self.port}"

    @property
    def jobs_address(self) -> str:
        """`--address` of `ray job submit`."""
        return f"http://{ADDRESS}:{self.dashboard_port}"

    def add_node(self, cpus: int) -> Node:
        """One more machine; returns when it has joined."""
        node = self._started(lambda: self._start(f"--address={self.address}", f"--num-cpus={cpus}"))
        self.nodes.append(node)
        return node

    def kill_node(self, node: Node) -> None:
        """A machine goes, without a word."""
        self.nodes.remove(node)
        node.kill()

    def logs(self) -> str:
        """What the nodes said when they were started, for when something is wrong."""
        return "\n".join(file.read_text(errors="replace")[-2000:] for file in sorted(self.folder.glob("node-*.log")))

    def _started(self, start: Callable[[], Node]) -> Node:
        """A node that has come up; Ray gives a node half a minute, in which a machine under load may not manage.

        Raises:
            RuntimeError: it did not come up, several times.
        """
        for _ in range(STARTS):
            node = start()
            while node.process.poll() is None:
                if STARTED in (self.folder / f"{node.name}.log").read_text(errors="replace"):
                    return node
                time.sleep(0.1)
            node.kill()
        raise RuntimeError(f"a local Ray cluster did not come up: {self.logs()}")

    def _start(self, *words: str) -> Node:
        self.started += 1
        name = f"node-{self.started}"  # short, as it is part of those paths
        with open(self.folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen(
                [
                    *(str(Path(sys.executable).with_name("ray")), "start", "--block", "--disable-usage-stats"),
                    *(f"--node-ip-address={ADDRESS}", f"--object-store-memory={STORE_BYTES}"),
                    # Nodes of one machine must not all ask for the same ports.
                    # Nor share a folder: a node that goes takes a job's working directory with it.
                    f"--temp-dir={self.folder / name}",
                    *("--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0", *words),
                ],
                stdout=log,
                stderr=log,
                env=self.variables(),
            )
        return Node(name, process)

    def variables(self) -> dict[str, str]:
        """The environment of nodes and of clients: no other cluster in sight, and the same rule of authentication."""
        mine = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{mine.get('PATH', '')}"
        quiet = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "OMP_WAIT_POLICY": "PASSIVE"}
        # Ray's workers step back behind everything else on a machine, which on a busy one means that they stand still.
        even = {"RAY_worker_niceness": "0"}
        return {**mine, "PATH": path, **quiet, **even, **self.environment}

    def _wait_for(self, port: int, node: Node) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with socket.socket() as caller:
                if caller.connect_ex((ADDRESS, port)) == 0:
                    return
            if node.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"a local Ray cluster did not come up: {self.logs()}")
            time.sleep(0.1)
