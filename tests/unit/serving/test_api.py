"""The rerank API as its clients use it: Cohere's own, those of the rerankers package, and plain requests."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from inranker.ranking.ranker import Ranker
from inranker.serving.config import ServeConfig
from inranker.serving.service import Service
from tests.serving import LocalServer

QUERY = "open a file"
DOCUMENTS = ["read the stream", "close the path and move it", "thread lock queue", "write a file", "sort the heap"]


@pytest.fixture(scope="module")
def expected(teacher: Path) -> dict[int, float]:
    """Probabilities by place, best first, from a Ranker alone."""
    hits = Ranker(teacher, threads=1).rank(QUERY, DOCUMENTS)
    return {hit.index: hit.probability for hit in hits}


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_coheres_client_reads_it(server: LocalServer, expected: dict[int, float], version: str) -> None:
    import cohere

    client: Any = {"v1": cohere.Client, "v2": cohere.ClientV2}[version](api_key="none", base_url=server.url)
    answer = client.rerank(model="rerank-v3.5", query=QUERY, documents=DOCUMENTS, top_n=3)
    assert [result.index for result in answer.results] == list(expected)[:3]
    assert [result.relevance_score for result in answer.results] == pytest.approx(list(expected.values())[:3])
    assert answer.id and answer.meta.billed_units.search_units == 1
    with pytest.raises(Exception) as refused:
        client.rerank(model="rerank-v3.5", query="", documents=DOCUMENTS)
    assert getattr(refused.value, "status_code", None) == 422 and "query" in str(getattr(refused.value, "body", ""))


def test_coheres_first_version_takes_document_objects(server: LocalServer) -> None:
    import cohere

    documents = [{"title": "open", "text": "file"}, {"text": "read the stream"}]
    answer = cohere.Client(api_key="none", base_url=server.url).rerank(
        model="x", query=QUERY, documents=documents, return_documents=True
    )
    texts = {result.index: result.document.text for result in answer.results if result.document}
    assert texts == {0: "open file", 1: "read the stream"}
    answer = cohere.Client(api_key="none", base_url=server.url).rerank(
        model="x", query=QUERY, documents=[{"title": "a", "body": "b", "text": "c"}], rank_fields=["body", "title"],
        return_documents=True,
    )  # fmt: skip
    assert answer.results[0].document and answer.results[0].document.text == "b a"


@pytest.mark.parametrize(
    ("provider", "path"),
    [("cohere", "/v1/rerank"), ("jina", "/v1/rerank"), ("text-embeddings-inference", "/rerank")],
)
def test_the_clients_of_rerankers_read_it(
    server: LocalServer, expected: dict[int, float], provider: str, path: str
) -> None:
    from rerankers.models.api_rankers import APIRanker

    client = APIRanker("any", api_key="none", api_provider=provider, url=server.url + path)
    ranked = client.rank(QUERY, DOCUMENTS)
    assert [result.document.doc_id for result in ranked.results] == list(expected)
    assert [result.score for result in ranked.results] == pytest.approx(list(expected.values()))


def test_an_answer_holds_what_jina_and_cohere_put_into_it(server: LocalServer) -> None:
    body = {"model": "jina-reranker-v2", "query": {"text": QUERY}, "documents": [{"text": d} for d in DOCUMENTS]}
    answer = httpx.post(f"{server.url}/v1/rerank", json=body | {"return_documents": True, "extra": 1}).json()
    assert set(answer) == {"id", "model", "results", "usage", "meta"}
    assert answer["model"] == next(iter(server.service.engines))
    assert answer["usage"]["total_tokens"] == answer["meta"]["tokens"]["input_tokens"] > 0
    assert sorted(result["index"] for result in answer["results"]) == list(range(len(DOCUMENTS)))
    assert all(result["document"]["text"] == DOCUMENTS[result["index"]] for result in answer["results"])
    plain = httpx.post(f"{server.url}/v1/rerank", json=body).json()
    assert all("document" not in result for result in plain["results"])


def test_raw_scores_are_the_margins(server: LocalServer, teacher: Path) -> None:
    body = {"query": QUERY, "texts": DOCUMENTS, "raw_scores": True, "return_text": True}
    answer = httpx.post(f"{server.url}/rerank", json=body).json()
    margins = Ranker(teacher, threads=1).score([(QUERY, text) for text in DOCUMENTS])
    assert {place["index"]: place["score"] for place in answer} == pytest.approx(dict(enumerate(margins.tolist())))
    assert all(place["text"] == DOCUMENTS[place["index"]] for place in answer)


def test_the_order_is_the_margins_where_probabilities_are_all_one(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranker = next(iter(server.service.engines.values())).ranker
    monkeypatch.setattr(ranker, "probabilities", lambda scores: np.ones(len(scores)))
    answer = httpx.post(f"{server.url}/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS}).json()
    margins = Ranker(ranker.model, threads=1).score([(QUERY, text) for text in DOCUMENTS])
    assert [result["index"] for result in answer["results"]] == np.argsort(-margins, kind="stable").tolist()
    assert {result["relevance_score"] for result in answer["results"]} == {1.0}


def test_max_tokens_per_doc_cuts_documents_and_only_where_it_binds(server: LocalServer) -> None:
    long = "read the stream " * 10 + "file"

    def score(document: str, limit: int | None) -> float:
        body = {"query": QUERY, "documents": [document], "max_tokens_per_doc": limit}
        return float(httpx.post(f"{server.url}/v1/rerank", json=body).json()["results"][0]["relevance_score"])

    tokenizer = next(iter(server.service.engines.values())).ranker.reranker.encoder.tokenizer
    three = len(tokenizer("read the stream", add_special_tokens=False)["input_ids"])
    assert score(long, three) == pytest.approx(score("read the stream", None), abs=1e-6)
    assert score(long, three) != pytest.approx(score(long, None), abs=1e-6)
    assert score(long, 4096) == pytest.approx(score(long, None), abs=1e-6)


def test_each_model_is_called_by_its_name(server: LocalServer) -> None:
    listed = httpx.get(f"{server.url}/v1/models").json()["data"]
    names = [model["id"] for model in listed]
    assert names == list(server.service.engines) and len(names) == 2
    scores = []
    for name in names:
        body = {"model": name, "query": QUERY, "documents": DOCUMENTS}
        answer = httpx.post(f"{server.url}/v1/rerank", json=body).json()
        assert answer["model"] == name
        scores.append({result["index"]: result["relevance_score"] for result in answer["results"]})
    assert scores[0] != scores[1]


def test_health_readiness_and_metrics(server: LocalServer) -> None:
    def figures() -> dict[str, float]:
        lines = httpx.get(f"{server.url}/metrics").text.splitlines()
        return {key: float(value) for key, _, value in (line.rpartition(" ") for line in lines) if key[:1] != "#"}

    assert httpx.get(f"{server.url}/healthz").json() == {"status": "ok"}
    assert httpx.get(f"{server.url}/readyz").json() == {"status": "ready"}
    before = figures()
    httpx.post(f"{server.url}/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS})
    httpx.post(f"{server.url}/v1/rerank", json={"query": QUERY, "documents": []})
    time.sleep(0.1)
    after = figures()
    model = next(iter(server.service.engines))

    def grown(key: str) -> float:
        return after[key] - before.get(key, 0.0)

    assert grown(f'inranker_serve_passages_total{{model="{model}"}}') == len(DOCUMENTS)
    assert grown(f'inranker_serve_tokens_total{{model="{model}"}}') > len(DOCUMENTS)
    assert grown(f'inranker_serve_batch_tokens_count{{model="{model}"}}') == 1
    for status in ("200", "422"):
        assert grown(f'inranker_serve_requests_total{{route="/v1/rerank",status="{status}"}}') == 1
    assert grown('inranker_serve_request_seconds_count{route="/v1/rerank"}') == 2
    assert after[f'inranker_serve_queued_passages{{model="{model}"}}'] == 0


def test_every_answer_carries_the_security_headers(server: LocalServer) -> None:
    for path in ("/", "/healthz", "/nothing", "/assets/page.js"):
        headers = httpx.get(server.url + path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"


@pytest.fixture(scope="module")
def guarded(server: LocalServer) -> Iterator[LocalServer]:
    """A server of the same models that asks for a token and knows no other model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_SERVE_TOKEN", "sesame ☃")
        config = replace(server.config, token_variable="TEST_SERVE_TOKEN", any_model=False)
        with LocalServer(config, shared(server, config)) as running:
            yield running


def shared(server: LocalServer, config: ServeConfig) -> Service:
    """The other server's models under another config; it is the other server that closes them."""
    service = Service.__new__(Service)
    service.__dict__.update(server.service.__dict__)
    service.config = config
    service.close = lambda: None  # type: ignore[method-assign]
    return service


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer sesam", "Bearer sesamee", "Basic sesame", "sesame", "Bearer \xff"]
)
def test_without_the_token_nothing_is_answered(guarded: LocalServer, header: str | None) -> None:
    client = httpx.Client(headers={} if header is None else {"authorization": header.encode("latin-1")})
    for path in ("/v1/rerank", "/v2/rerank", "/rerank", "/compare", "/v1/models", "/nothing"):
        method = "GET" if path == "/v1/models" else "POST"
        response = client.request(method, guarded.url + path, content=b"not read" if header else None)
        assert response.status_code == 401
        assert "Authorization: Bearer" in response.json()["message"]
        assert response.headers["www-authenticate"] == "Bearer"
    for path in ("/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/assets/page.css"):
        assert client.get(guarded.url + path).status_code == 200


def test_with_the_token_requests_are_answered_but_unknown_models_are_not(guarded: LocalServer) -> None:
    headers = {"authorization": "bearer sesame ☃".encode()}
    body = {"query": QUERY, "documents": DOCUMENTS}
    assert httpx.post(f"{guarded.url}/v1/rerank", json=body, headers=headers).status_code == 200
    unknown = httpx.post(f"{guarded.url}/v1/rerank", json=body | {"model": "rerank-v9"}, headers=headers)
    assert unknown.status_code == 404 and "rerank-v9" in unknown.json()["message"]


def test_long_documents_are_read_in_windows_where_the_config_says_so(teacher: Path) -> None:
    documents = ["read the stream " * 60 + "open a file " * 20, "close the path"]
    config = ServeConfig(str(teacher), engine="local", threads=1, max_length=64, long_documents="windows")
    service = Service(config)
    engine = next(iter(service.engines.values()))
    try:
        scored = asyncio.run(engine.score(QUERY, documents))
    finally:
        service.close()
    ranker = Ranker(teacher, threads=1, max_length=64)
    expected = {hit.index: hit.score for hit in ranker.rank(QUERY, documents, long_passages="windows")}
    assert dict(enumerate(scored.scores.tolist())) == pytest.approx(expected, abs=1e-5)
    cut = {hit.index: hit.score for hit in ranker.rank(QUERY, documents)}
    assert cut[0] != pytest.approx(expected[0], abs=1e-5)
