"""What the label factory is held against, each in warm processes of its own; and a driver whose memory is watched."""

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inranker.labeling.config import LabelConfig, LabelExecution, LabelIdentity
from inranker.labeling.rows import read_unit
from inranker.manifest import read_manifest
from inranker.rerankers import load_encoder, load_reranker
from inranker.storage import Store
from inranker.units import Unit, plan_units


class WarmProcess:
    """A process that makes its work ready once and then does it as often as it is asked to.

    Args:
        make: called in the process with `arguments`; returns the work.
        variables: environment of the process from its birth.
    """

    def __init__(self, make: Callable[..., Callable[[], None]], *arguments: Any, variables: dict[str, str]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        before = dict(os.environ)
        os.environ.update(variables)
        try:
            self.process = context.Process(target=_serve, args=(other, make, arguments), daemon=True)
            self.process.start()
        finally:
            os.environ.clear()
            os.environ.update(before)
        self.connection.recv()

    def begin(self) -> None:
        """Start the work."""
        self.connection.send(True)

    def seconds(self) -> float:
        """Wait for the end of the work; how long it took."""
        spent: float = self.connection.recv()
        return spent

    def end(self) -> None:
        """Let the process go."""
        self.connection.send(False)
        self.process.join()


def _serve(connection: Any, make: Callable[..., Callable[[], None]], arguments: tuple[Any, ...]) -> None:
    work = make(*arguments)
    connection.send("ready")
    while connection.recv():
        started = time.perf_counter()
        work()
        connection.send(time.perf_counter() - started)


def in_one_process(config: LabelConfig, units: list[Unit], threads: int) -> Callable[[], None]:
    """Read, tokenise and score unit by unit, as a script without Ray would."""
    import torch

    torch.set_num_threads(threads)
    chosen = config.identity
    options = {"max_length": chosen.max_length} if chosen.max_length else {}
    reranker = load_reranker(chosen.teacher, dtype=chosen.precision, **options)
    pairs = Store(chosen.pairs)

    def work() -> None:
        for unit in units:
            rows = read_unit(pairs, unit).pairs
            encoded = reranker.encoder.encode(rows["query"].to_pylist(), rows["passage"].to_pylist())
            logits = reranker.logits(encoded)
            if logits.shape != (unit.rows, 2):
                raise RuntimeError(f"{logits.shape} logits for {unit.rows} pairs")

    return work


def tokenizer_alone(config: LabelConfig, units: list[Unit]) -> Callable[[], None]:
    """Tokenise the texts of some units, held in memory."""
    encoder = load_encoder(config.identity.teacher)
    pairs = Store(config.identity.pairs)
    texts = []
    for unit in units:
        rows = read_unit(pairs, unit).pairs
        texts.append((rows["query"].to_pylist(), rows["passage"].to_pylist()))

    def work() -> None:
        for queries, passages in texts:
            encoder.encode(queries, passages)

    return work


def units_of(config: LabelConfig) -> list[Unit]:
    """The units of a job whose unit size is given."""
    assert config.execution.unit_rows
    return plan_units(read_manifest(config.identity.pairs).shards, config.execution.unit_rows)


def peak_memory_gb() -> float:
    """Most memory this process has held. (`ru_maxrss` would be that of the process that started it, if larger.)"""
    status = Path("/proc/self/status").read_text()
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(kilobytes) / 1e6


def main(pairs: str, teacher: str, output: str) -> None:
    """Drive a job of null data and print what it held."""
    from inranker.labeling.factory import label

    from .label_stages import NOTHING, started_at

    config = LabelConfig(
        LabelIdentity(pairs, teacher), output, LabelExecution(progress=False, write_report=False, audit_share=0)
    )
    summary = label(config, NOTHING)
    seconds = time.time() - started_at()
    print(json.dumps({"pairs": summary["labelled"], "seconds": seconds, "driver_rss_gb": peak_memory_gb()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
