"""Many requests at a time: right answers, bounded queues, and an end that loses none."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from inranker.serving.config import Limits, ServeConfig
from tests.builders import sentence
from tests.serving import LocalServer
from tests.unit.serving.test_api import shared

CLIENTS = 16


def question(seed: int) -> dict[str, Any]:
    """A request of 1 to 30 documents."""
    generator = random.Random(seed)
    documents = [sentence(generator, generator.randint(1, 40)) for _ in range(generator.randint(1, 30))]
    return {"query": sentence(generator, 4), "texts": documents, "raw_scores": True}


def test_requests_at_the_same_time_get_the_scores_they_would_get_alone(server: LocalServer) -> None:
    questions = [question(seed) for seed in range(96)]
    with httpx.Client(base_url=server.url, timeout=60, limits=httpx.Limits(max_connections=CLIENTS)) as client:

        def ask(body: dict[str, Any]) -> dict[int, float]:
            response = client.post("/rerank", json=body)
            assert response.status_code == 200
            return {place["index"]: place["score"] for place in response.json()}

        alone = [ask(body) for body in questions]
        with ThreadPoolExecutor(CLIENTS) as pool:
            together = list(pool.map(ask, questions))
    assert [set(scores) for scores in together] == [set(scores) for scores in alone]
    # A product's sum may be taken in another order in a batch of another shape: float32 rounding, nothing else.
    gap = max(abs(a[i] - b[i]) for a, b in zip(alone, together, strict=True) for i in a)
    assert gap <= 1e-5


class Slow:
    """A ranker's reranker whose batches wait for a gate."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.gate, self.batches = inner, threading.Event(), 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def logits(self, encoded: Any, token_budget: int | None = None) -> np.ndarray:
        self.batches += 1
        assert self.gate.wait(30)
        result: np.ndarray = self.inner.logits(encoded, token_budget)
        return result


@pytest.fixture
def held(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> Slow:
    """The first model, which scores once it is let."""
    engine = next(iter(server.service.engines.values()))
    slow = Slow(engine.ranker.reranker)
    monkeypatch.setattr(engine.ranker, "reranker", slow)
    return slow


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    ends = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_a_full_queue_answers_429_and_when_to_come_back(server: LocalServer, held: Slow) -> None:
    config = replace(server.config, limits=replace(server.config.limits, queued_passages=10))
    engine = next(iter(server.service.engines.values()))
    with LocalServer(config, shared(server, config)) as small, ThreadPoolExecutor(2) as pool:
        body = {"query": "open", "documents": ["a file"] * 8}
        waiting = pool.submit(httpx.post, f"{small.url}/v1/rerank", json=body, timeout=30)
        until(lambda: engine.queued == 8)
        refused = httpx.post(f"{small.url}/v1/rerank", json=body, timeout=30)
        held.gate.set()
        assert refused.status_code == 429 and 1 <= int(refused.headers["retry-after"]) <= 60
        assert "8 passages wait already" in refused.json()["message"]
        assert waiting.result().status_code == 200
        # More than the queue holds is taken where nothing else waits.
        alone = httpx.post(f"{small.url}/v1/rerank", json=body | {"documents": ["a file"] * 20}, timeout=30)
        assert alone.status_code == 200


def test_a_request_that_takes_too_long_is_answered_503_and_dropped(server: LocalServer, held: Slow) -> None:
    config = replace(server.config, limits=replace(server.config.limits, request_seconds=0.3))
    engine = next(iter(server.service.engines.values()))
    with LocalServer(config, shared(server, config)) as hurried:
        body = {"query": "open", "documents": ["a file"] * 8}
        late = httpx.post(f"{hurried.url}/v1/rerank", json=body, timeout=30)
        assert late.status_code == 503 and late.headers["retry-after"] and "0.3 seconds" in late.json()["message"]
        assert engine.queued == 0
        held.gate.set()
        assert httpx.get(f"{hurried.url}/healthz").status_code == 200


def test_a_client_that_hangs_up_while_it_waits_is_not_scored(server: LocalServer, held: Slow) -> None:
    engine = next(iter(server.service.engines.values()))
    body = {"query": "open", "documents": ["a file"]}
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(httpx.post, f"{server.url}/v1/rerank", json=body, timeout=30)
        until(lambda: held.batches == 1)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/v1/rerank", json=body | {"documents": ["b"] * 7}, timeout=0.3)
        until(lambda: engine.queued == 1)
        held.gate.set()
        assert first.result().status_code == 200
    assert held.batches == 1


def test_a_model_that_gives_no_number_is_said_and_survived(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranker = next(iter(server.service.engines.values())).ranker
    body = {"query": "open", "documents": ["a file"]}
    with monkeypatch.context() as patch:
        patch.setattr(ranker.reranker, "logits", lambda encoded, budget=None: np.full((len(encoded), 2), np.nan))
        broken = httpx.post(f"{server.url}/v1/rerank", json=body, timeout=30)
    assert broken.status_code == 500 and "not finite" in broken.json()["message"]
    with monkeypatch.context() as patch:
        patch.setattr(ranker.reranker, "logits", lambda encoded, budget=None: 1 / 0)
        broken = httpx.post(f"{server.url}/v1/rerank", json=body, timeout=30)
    assert broken.status_code == 500 and "its log says why" in broken.json()["message"]
    assert httpx.post(f"{server.url}/v1/rerank", json=body, timeout=30).status_code == 200


def test_shutting_down_answers_what_is_in_flight(teacher: Path) -> None:
    config = ServeConfig(str(teacher), engine="local", port=0, threads=1, limits=Limits(shutdown_seconds=20))
    with LocalServer(config) as server, ThreadPoolExecutor(CLIENTS) as pool:
        engine = next(iter(server.service.engines.values()))
        slow = Slow(engine.ranker.reranker)
        engine.ranker.reranker = slow
        body = {"query": "open", "documents": ["a file", "a path"]}
        asked = [pool.submit(httpx.post, f"{server.url}/v1/rerank", json=body, timeout=60) for _ in range(CLIENTS)]
        until(lambda: engine.queued == 2 * CLIENTS)
        server.stop()
        until(lambda: not accepts(server))
        assert not any(future.done() for future in asked)
        slow.gate.set()
        assert [future.result().status_code for future in asked] == [200] * CLIENTS
        server.thread.join(20)
        assert not server.thread.is_alive()
    assert not engine.alive


def accepts(server: LocalServer) -> bool:
    """Whether it takes new connections."""
    try:
        httpx.get(f"{server.url}/readyz", timeout=1)
    except httpx.HTTPError:
        return False
    return True
