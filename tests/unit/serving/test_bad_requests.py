"""What is refused: with a 4xx and a sentence, after which the server answers as before."""

import json
from typing import Any

import httpx
import pytest

from tests.serving import LocalServer, rerank_body

JSON = {"content-type": "application/json"}
GOOD = rerank_body("open a file", ["read the stream", "close the path"])

BAD: dict[str, tuple[int, str, bytes | dict[str, Any]]] = {
    "an empty body": (422, "the body", b""),
    "an empty object": (422, "query", {}),
    "an empty query": (422, "query", GOOD | {"query": ""}),
    "a query of spaces": (422, "query", GOOD | {"query": " \t\n"}),
    "a query that is a number": (422, "query", GOOD | {"query": 3}),
    "a query without text": (422, "query has no text", GOOD | {"query": {"image": "x"}}),
    "no documents": (422, "documents", GOOD | {"documents": []}),
    "documents that are one string": (422, "documents", GOOD | {"documents": "read the stream"}),
    "a document that is a number": (422, "documents[1]", GOOD | {"documents": ["a", 3]}),
    "a document that is null": (422, "documents[0]", GOOD | {"documents": [None]}),
    "a document without text": (422, "documents[0] has no text", GOOD | {"documents": [{"title": "a"}]}),
    "rank_fields that a document lacks": (422, "'body'", GOOD | {"documents": [{"a": "b"}], "rank_fields": ["body"]}),
    "top_n of zero": (422, "top_n", GOOD | {"top_n": 0}),
    "top_n that is true": (422, "top_n", GOOD | {"top_n": True}),
    "top_n that is a string": (422, "top_n", GOOD | {"top_n": "3"}),
    "a list": (422, "the body", b"[]"),
    "a string": (422, "the body", b'"rank this"'),
    "text that is no JSON": (400, "not JSON", b"query=open"),
    "half a JSON": (400, "not JSON", b'{"query": "open", "documents": ["a"'),
    "bytes that are no UTF-8": (400, "not JSON", b'{"query": "\xff", "documents": ["a"]}'),
    "half a surrogate pair": (400, "not JSON", b'{"query": "\\ud83d", "documents": ["a"]}'),
    "NaN": (400, "not JSON", b'{"query": "open", "documents": ["a"], "top_n": NaN}'),
    "Infinity": (400, "not JSON", b'{"query": "open", "documents": ["a"], "top_n": -Infinity}'),
    "a number beyond every float": (400, "not JSON", b'{"query": "open", "documents": ["a"], "top_n": 1e999}'),
    "deep lists": (400, "depth", b"[" * 100_000 + b"]" * 100_000),
    "deep objects": (400, "depth", b'{"query":' * 50_000 + b"1" + b"}" * 50_000),
    "too many documents": (413, "at most 200 in a request", GOOD | {"documents": ["a"] * 201}),
    "100,000 passages": (413, "documents; send at most", GOOD | {"documents": ["a"] * 100_000}),
    "too many characters": (413, "characters", GOOD | {"documents": ["word " * 50_000]}),
    "ten megabytes": (413, "larger than", b'{"query": "' + b"a" * 10_000_000 + b'"}'),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank"])
def test_a_bad_request_is_refused_with_a_sentence(server: LocalServer, path: str, what: str) -> None:
    status, words, content = BAD[what]
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    with httpx.Client(base_url=server.url, timeout=30) as client:
        try:
            response = client.post(path, content=body, headers=JSON)
        except httpx.WriteError:  # refused by its length while it was still being sent
            assert what == "ten megabytes"
            response = client.post(path, content=b"", headers=JSON | {"content-length": str(len(body))})
        assert response.status_code == status
        content = response.json()
        assert words in content["message"] if path == "/v1/rerank" else content["message"]
        assert content["message"] == content["detail"] == content["error"]
        assert len(content["message"]) < 300 and "Traceback" not in content["message"]
        alive = client.post(path, json=GOOD)
        assert alive.status_code == 200 and len(alive.json()["results"]) == 2


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "words"),
    [
        ("GET", "/nothing", {}, 404, "/openapi.json"),
        ("GET", "/v1/rerank", {}, 405, "does not take GET"),
        ("POST", "/v1/rerank", {"content-type": "text/plain"}, 422, "the body"),
        ("POST", "/v1/rerank", {**JSON, "content-encoding": "gzip"}, 415, "Content-Encoding"),
        ("GET", "/assets/../service.py", {}, 404, ""),
        ("GET", "/assets/nothing.js", {}, 404, "nothing.js"),
        ("POST", "/compare", JSON, 422, "no collection is loaded"),
    ],
)
def test_a_request_that_leads_nowhere_says_so(
    server: LocalServer, method: str, path: str, headers: dict[str, str], status: int, words: str
) -> None:
    content = json.dumps({"query": "open"}).encode() if method == "POST" else None
    response = httpx.request(method, server.url + path, headers=headers, content=content, timeout=30)
    assert response.status_code == status
    assert words in response.json()["message"]


def test_a_body_without_length_is_read_up_to_the_limit_and_no_further(server: LocalServer) -> None:
    sent = 0

    def chunks() -> Any:
        nonlocal sent
        for _ in range(2000):
            sent += 10_000
            yield b" " * 10_000

    with httpx.Client(timeout=30) as client:
        try:
            response = client.post(server.url + "/v1/rerank", content=chunks(), headers=JSON)
            assert response.status_code == 413
        except httpx.WriteError:
            pass  # the server had answered and hung up before it was listened to
        assert sent < 20_000_000
        assert client.get(server.url + "/healthz").status_code == 200
