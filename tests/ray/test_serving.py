"""The same app on Ray Serve: through its proxy, on replicas of its own."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from inranker.ranking.ranker import Ranker
from inranker.serving.config import Limits, Scaling, ServeConfig

QUERY = "open a file"
DOCUMENTS = ["read the stream", "close the path and move it", "thread lock queue", "write a file"]
LIMITS = Limits(body_seconds=1.0, documents=100, shutdown_seconds=10)


@pytest.fixture(scope="module")
def port(ray_session: None, teacher: Path) -> Iterator[int]:
    """A server of two replicas."""
    from ray import serve

    from inranker.serving.cluster import deploy

    scaling = Scaling(min_replicas=2, max_replicas=2, cpus=0.5)
    config = ServeConfig(str(teacher), port=0, threads=1, limits=LIMITS, scaling=scaling)
    yield deploy(config)
    serve.shutdown()


def test_ray_serve_answers_as_the_ranker_does(port: int, teacher: Path) -> None:
    expected = {hit.index: hit.probability for hit in Ranker(teacher, threads=1).rank(QUERY, DOCUMENTS)}
    url = f"http://127.0.0.1:{port}"
    body = {"query": QUERY, "documents": DOCUMENTS, "return_documents": True}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: httpx.post(f"{url}/v1/rerank", json=body, timeout=60), range(32)))
    for answer in answers:
        assert answer.status_code == 200
        results = answer.json()["results"]
        assert [result["index"] for result in results] == list(expected)
        assert [result["relevance_score"] for result in results] == pytest.approx(list(expected.values()), abs=1e-5)
    assert httpx.get(f"{url}/readyz", timeout=30).json() == {"status": "ready"}
    assert "inranker_serve_passages_total" in httpx.get(f"{url}/metrics", timeout=30).text
    assert "<form" in httpx.get(url, timeout=30).text


def test_ray_serve_refuses_what_the_local_engine_refuses(port: int) -> None:
    url = f"http://127.0.0.1:{port}/v1/rerank"
    headers = {"content-type": "application/json"}
    for content, status in (
        (b"", 422), (b'{"query": NaN}', 400), (b"[" * 100_000, 400),
        (b'{"query": "a", "documents": [' + b'"a",' * 100_000 + b'"a"]}', 413), (b'"' + b"a" * 10_000_000 + b'"', 413),
    ):  # fmt: skip
        try:
            answer = httpx.post(url, content=content, headers=headers, timeout=60)
        except httpx.WriteError:
            assert status == 413
            continue
        assert answer.status_code == status and answer.json()["message"]
    body = {"query": QUERY, "documents": DOCUMENTS}
    assert httpx.post(url, json=body, timeout=60).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /v1/rerank HTTP/1.1\r\nHost: a\r\n",
        b"POST /v1/rerank HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
    ],
    ids=["headers", "body"],
)
def test_ray_serves_proxies_have_the_same_patience(port: int, sent: bytes) -> None:
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=40) as connection:
        connection.sendall(sent)
        answer = b""
        while part := connection.recv(1 << 16):
            answer += part
    assert answer.startswith(b"HTTP/1.1 408 ") and b"send" in answer
    assert time.monotonic() - start < 30
