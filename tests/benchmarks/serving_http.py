"""The server under load, next to the ranker alone: errors, latency and throughput.

    python -m tests.benchmarks.serving_http --model out/student/student --json FILE

`http_figures` is what tests.benchmarks.serving calls. One process serves (the local engine), another one asks; both
share the machine, so what the clients cost is counted against the server.
"""

import argparse
import asyncio
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from inranker.serving.config import Limits, ServeConfig
from tests.benchmarks.contenders import make_model
from tests.benchmarks.harness import write
from tests.benchmarks.pairs import candidates

ROUNDS = 3  # the bare ranker and one client are measured before, between and after the load
TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Answered:
    """One request: when it was sent, how long it took, how many passages were in flight when it was sent (its own
    among them), and what went wrong (empty where nothing did)."""

    sent: float
    seconds: float
    in_flight: int
    error: str


def http_figures(
    model: str,
    pairs: Sequence[tuple[str, str]],
    seconds: float = 60,
    clients: int = 32,
    passages_each: int = 100,
    **options: Any,
) -> dict[str, Any]:
    """Figures of a local server of `model` under `clients` clients that ask again as soon as they are answered.

    * `http_errors`: answers other than 200, or whose results are not one for each document, over the whole load.
    * `http_over_bare`: passages answered per second under load ÷ passages per second of `Ranker.score` over the same
      requests, one after another in a process of its own; the bare speed is the median of rounds before, between and
      after the load, which is cut into as many parts.
    * `p95_ratio`: p95 of latency per unit of work under load ÷ the same of a single client. The work of a request is
      the passages that are in flight at the server when it is sent, its own among them: those are what must be scored
      until it is answered if requests are served in turn. A server that did everything one after another without any
      cost of its own would have 1.

    Args:
        model: what is served.
        pairs: (query, passage) pairs; they are cut into requests of `passages_each`, each with its first query.
        seconds: how long the load lasts, over all parts.
        clients: clients at a time.
        passages_each: passages of a request.
        options: fields of the ranker: backend, precision, threads.
    """
    requests = [
        {"query": pairs[start][0], "documents": [passage for _, passage in pairs[start : start + passages_each]]}
        for start in range(0, len(pairs) - passages_each + 1, passages_each)
    ]
    if not requests:
        raise ValueError(f"{len(pairs)} pairs are less than one request of {passages_each}")
    part = seconds / ROUNDS
    bare: list[float] = []
    alone: list[Answered] = []
    loaded: list[Answered] = []
    spans: list[float] = []
    spawn = multiprocessing.get_context("spawn")
    with _Ranker(spawn, model, options) as ranker, _Server(spawn, model, options) as server:
        for _ in range(ROUNDS):
            bare.append(ranker.passages_per_second(requests, part / 2))
            alone += asyncio.run(_load(server.url, requests, 1, part / 2))
            start = time.perf_counter()
            loaded += asyncio.run(_load(server.url, requests, clients, part))
            spans.append(time.perf_counter() - start)
            print(f"bare {bare[-1]:.1f} passages/s, {len(loaded)} requests answered", file=sys.stderr, flush=True)
        bare.append(ranker.passages_per_second(requests, part / 2))
    answered = sum(passages_each for answer in loaded if not answer.error)
    speed = answered / sum(spans)
    single, many = _per_passage(alone), _per_passage(loaded)
    errors = [answer.error for answer in (*alone, *loaded) if answer.error]
    return {
        "http_over_bare": speed / statistics.median(bare),
        "http_errors": len(errors),
        "p95_ratio": float(np.percentile(many, 95) / np.percentile(single, 95)),
        "http_passages_per_second": speed,
        "bare_passages_per_second": statistics.median(bare),
        "http_requests": len(loaded),
        "http_seconds": sum(spans),
        "http_clients": clients,
        "single_p50_ms": _percentile(alone, 50),
        "single_p95_ms": _percentile(alone, 95),
        "http_p50_ms": _percentile(loaded, 50),
        "http_p95_ms": _percentile(loaded, 95),
        "http_first_errors": sorted(set(errors))[:3],
    }


async def _load(url: str, requests: list[dict[str, Any]], clients: int, seconds: float) -> list[Answered]:
    """What clients that ask again at once saw; those that were asked in time are waited for."""
    ends = time.perf_counter() + seconds
    in_flight = 0
    answers: list[Answered] = []

    async def ask_on(client: httpx.AsyncClient, number: int) -> None:
        nonlocal in_flight
        while time.perf_counter() < ends:
            body = requests[number % len(requests)]
            number += clients
            in_flight += len(body["documents"])
            ahead, start = in_flight, time.perf_counter()
            error = await _error_of(client, body)
            answers.append(Answered(start, time.perf_counter() - start, ahead, error))
            in_flight -= len(body["documents"])

    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, limits=limits) as client:
        await asyncio.gather(*(ask_on(client, number) for number in range(clients)))
    return answers


async def _error_of(client: httpx.AsyncClient, body: dict[str, Any]) -> str:
    try:
        response = await client.post("/v1/rerank", json=body)
    except httpx.HTTPError as error:
        return repr(error)
    if response.status_code != 200:
        return f"{response.status_code} {response.text[:200]}"
    places = sorted(result["index"] for result in response.json()["results"])
    return "" if places == list(range(len(body["documents"]))) else "results are not one for each document"


def _per_passage(answers: list[Answered]) -> list[float]:
    return [answer.seconds / answer.in_flight for answer in answers if not answer.error]


def _percentile(answers: list[Answered], percent: float) -> float:
    return float(np.percentile([answer.seconds * 1000 for answer in answers if not answer.error], percent))


class _Child:
    """A process that is spoken to over a pipe, and ends with the block."""

    def __init__(self, context: Any, target: Any, *arguments: Any) -> None:
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=target, args=(theirs, *arguments), daemon=True)

    def __enter__(self) -> Any:
        self.process.start()
        self.ready = self.pipe.recv()
        return self

    def __exit__(self, *error: object) -> None:
        self.pipe.send(None)
        self.process.join(60)
        if self.process.is_alive():
            self.process.kill()


class _Ranker(_Child):
    """The ranker alone."""

    def __init__(self, context: Any, model: str, options: dict[str, Any]) -> None:
        super().__init__(context, _rank, model, options)

    def passages_per_second(self, requests: list[dict[str, Any]], seconds: float) -> float:
        """Its speed over requests, one after another, for about that long."""
        self.pipe.send((requests, seconds))
        return float(self.pipe.recv())


class _Server(_Child):
    """The local engine."""

    def __init__(self, context: Any, model: str, options: dict[str, Any]) -> None:
        super().__init__(context, _serve, model, options)

    @property
    def url(self) -> str:
        """Where it listens."""
        return str(self.ready)


def _rank(pipe: Any, model: str, options: dict[str, Any]) -> None:
    from inranker.ranking.ranker import Ranker

    ranker = Ranker(model, **options)
    ranker.score([("warm up", "the first pair is the slowest")])
    pipe.send("ready")
    while (order := pipe.recv()) is not None:
        requests, seconds = order
        start, scored = time.perf_counter(), 0
        while time.perf_counter() - start < seconds or not scored:
            body = requests[scored // len(requests[0]["documents"]) % len(requests)]
            ranker.score([(body["query"], document) for document in body["documents"]])
            scored += len(body["documents"])
        pipe.send(scored / (time.perf_counter() - start))


def _serve(pipe: Any, model: str, options: dict[str, Any]) -> None:
    from tests.serving import LocalServer

    limits = Limits(queued_passages=1_000_000, request_seconds=TIMEOUT_S)
    config = ServeConfig(model, engine="local", port=0, limits=limits, **options)
    with LocalServer(config) as server:
        pipe.send(server.url)
        pipe.recv()


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="checkpoint; a T5 of 60M parameters with random weights when left out")
    parser.add_argument("--json", help="where to write the figures")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--passages", type=int, default=100, help="passages of a request")
    parser.add_argument("--precision", help="float32, bfloat16 or int8")
    arguments = parser.parse_args()
    queries = candidates(10, max(100, arguments.passages))
    pairs = [(query, passage) for query, passages in queries for passage in passages[: arguments.passages]]
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or str(make_model("small", Path(folder) / "model", "cpu"))
        options = {"precision": arguments.precision} if arguments.precision else {}
        figures = http_figures(model, pairs, arguments.seconds, arguments.clients, arguments.passages, **options)
    print(json.dumps(figures, indent=2), file=sys.stderr)
    shown = {name: value for name, value in figures.items() if not isinstance(value, list)}
    write(arguments.json, shown, [{"first_errors": figures["http_first_errors"]}])


if __name__ == "__main__":
    main()
