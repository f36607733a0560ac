"""What the benchmarks share: interleaved rounds, ratios by round, the machine, the JSON they write."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "transformers", "tokenizers", "ctranslate2", "rerankers", "ray", "deepspeed", "bm25s")


def interleave(
    contenders: dict[str, Callable[[], Any]], rounds: int, cpu: dict[str, list[float]] | None = None
) -> dict[str, list[float]]:
    """Seconds of every contender in every round; each round runs all of them once, in turn forwards and
    backwards, so that a machine that slows down or is shared touches them alike.

    `cpu`, where given, receives processor seconds: on a shared machine they say what waiting hides, but threads
    that spin at a barrier count as busy, so compare them at one thread only.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        names = list(contenders) if number % 2 == 0 else list(contenders)[::-1]
        for name in names:
            start, busy = time.perf_counter(), time.process_time()
            contenders[name]()
            seconds[name].append(time.perf_counter() - start)
            if cpu is not None:
                cpu.setdefault(name, []).append(time.process_time() - busy)
            print(f"round {number + 1} {name}: {seconds[name][-1]:.2f} s", file=sys.stderr, flush=True)
    return seconds


def speedup(slower: list[float], faster: list[float]) -> float:
    """Median over rounds of how many times faster the second is."""
    return statistics.median(a / b for a, b in zip(slower, faster, strict=True))


def matmul_rate(dtype: torch.dtype, device: str, seconds: float = 0.8) -> float:
    """Plain square matrix products of this machine, in FLOP/s: the best of several short bursts.

    On a CPU every core multiplies by itself, which gives more than one product on all cores does.
    """
    size, cores = (8192, 1) if device != "cpu" else (2048, torch.get_num_threads())
    pairs = [[torch.randn(size, size, device=device).to(dtype) for _ in range(2)] for _ in range(cores)]

    def burst(pair: list[torch.Tensor]) -> None:
        for _ in range(3):
            torch.matmul(*pair)
        _wait(device)

    best = 0.0
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(max(1, threads // cores),)) as pool:
        list(pool.map(burst, pairs))
        deadline = time.perf_counter() + seconds
        while best == 0.0 or time.perf_counter() < deadline:
            start = time.perf_counter()
            list(pool.map(burst, pairs))
            best = max(best, cores * 3 * 2 * size**3 / (time.perf_counter() - start))
    torch.set_num_threads(threads)
    return best


def machine(device: str = "cpu") -> dict[str, Any]:
    """Processor, cores, memory, load and the versions that matter."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load_average": list(os.getloadavg()),
        "accelerator": torch.cuda.get_device_name() if device.startswith("cuda") else None,
        "python": platform.python_version(),
        "versions": versions,
    }


def write(path: str | None, figures: dict[str, Any], rows: list[dict[str, Any]], device: str = "cpu") -> None:
    """Print the figures and, where a path is given, write the benchmark's JSON."""
    command = "python -m " + " ".join([_module(), *sys.argv[1:]])
    result = {"figures": figures, "machine": machine(device), "command": command, "rows": rows}
    for name, value in figures.items():
        print(f"{name}: {value if value is None else f'{value:.4g}'}")
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _module() -> str:
    return f"tests.benchmarks.{Path(sys.argv[0]).stem}"


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _processor() -> str:
    try:
        lines = subprocess.run(["lscpu"], capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("Model name")), "")
