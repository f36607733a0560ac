"""The HTTP interface: routes over a service, the same for every engine."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import Body, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from inranker.errors import UserError
from inranker.serving import page
from inranker.serving.guard import App, Guard
from inranker.serving.problems import json_response, problem, sentence_of
from inranker.serving.schemas import (
    CompareRequest,
    CompareResponse,
    Models,
    Problem,
    RerankRequest,
    RerankResponse,
    Status,
    TextsRequest,
    TextsResult,
)
from inranker.serving.service import Service

Answer = TypeVar("Answer")
CLIENT_GONE = 499
OPEN = ("/", "/healthz", "/readyz", "/metrics", "/openapi.json")
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body is not JSON"},
    401: {"description": "The token is missing or wrong"},
    404: {"description": "The model is not served here"},
    408: {"description": "The request came too slowly"},
    413: {"description": "The request is too large"},
    415: {"description": "The body is encoded"},
    422: {"description": "The request's fields are wrong"},
    429: {"description": "Too much waits already; Retry-After says when to come back"},
    503: {"description": "Not scored in time, or shutting down; Retry-After says when to come back"},
}
REFUSED: dict[int | str, dict[str, Any]] = {status: {**said, "model": Problem} for status, said in REFUSALS.items()}


class StrictRequest(Request):
    """A request whose JSON may hold neither NaN nor infinities, and is nested 1024 deep at most."""

    async def json(self) -> Any:
        """The body's value."""
        return orjson.loads(await self.body())


class StrictRoute(APIRoute):
    """A route that reads `StrictRequest`s."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request."""
        answer = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await answer(StrictRequest(request.scope, request.receive))

        return strict


def build_app(service: Service) -> App:
    """The guarded app over a loaded service; the token is read from the variable that the config names.

    Raises:
        UserError: a token is required and there is none.
    """
    api = FastAPI(
        title="InRanker", version="1", docs_url=None, redoc_url=None, description="Rerankers over HTTP.", lifespan=None
    )
    api.router.route_class = StrictRoute
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _refused)
    api.add_exception_handler(FloatingPointError, _not_finite)
    api.add_exception_handler(Exception, _failed)
    _add_api(api, service)
    _add_operations(api, service)
    page.add_page(api)
    variable = service.config.token_variable
    token = os.environ.get(variable)
    if service.config.require_token and not token:
        raise UserError(f"require_token is set, but the variable {variable} is empty here; set it for this process")
    return Guard(api, service.config.limits, service.metrics, token, _is_protected)


def _add_api(api: FastAPI, service: Service) -> None:
    token = [Depends(HTTPBearer(auto_error=False))]  # documents what the guard asks for

    async def rerank(body: RerankRequest, request: Request) -> Response:
        """Documents best first for a query, as Cohere's and Jina's clients ask and read it."""
        return json_response(await _unless_gone(request, service.rerank(body)))

    for path in ("/v1/rerank", "/v2/rerank"):
        api.add_api_route(
            path, rerank, methods=["POST"], response_model=RerankResponse, responses=REFUSED, dependencies=token
        )

    @api.post("/rerank", response_model=RerankResponse | list[TextsResult], responses=REFUSED, dependencies=token)
    async def rerank_either(
        body: Annotated[RerankRequest | TextsRequest, Body(union_mode="left_to_right")], request: Request
    ) -> Response:
        """As /v1/rerank; a request with `texts` is answered as text-embeddings-inference answers it."""
        answer = service.rank_texts(body) if isinstance(body, TextsRequest) else service.rerank(body)
        return json_response(await _unless_gone(request, answer))

    @api.post("/compare", response_model=CompareResponse, responses=REFUSED, dependencies=token)
    async def compare(body: CompareRequest, request: Request) -> Response:
        """BM25 and every model side by side, with scores and latencies."""
        return json_response(await _unless_gone(request, service.compare(body)))

    @api.get("/v1/models", response_model=Models, responses={401: REFUSED[401]}, dependencies=token)
    async def models() -> Response:
        """The models that are served, the default first."""
        data = [
            {
                "id": engine.name,
                "object": "model",
                "created": engine.created,
                "owned_by": "inranker",
                "max_length": engine.max_length,
            }
            for engine in service.engines.values()
        ]
        content: dict[str, Any] = {"object": "list", "data": data}
        if service.corpus is not None:
            content["collection"] = {"name": service.corpus.name, "passages": len(service.corpus)}
        return json_response(content)


def _add_operations(api: FastAPI, service: Service) -> None:
    @api.get("/healthz", response_model=Status, responses={503: {"model": Problem, "description": "Broken"}})
    async def healthz() -> Response:
        """Whether the process lives, and its models score."""
        try:
            service.require_alive()
        except RuntimeError as error:
            return problem(503, str(error))
        return json_response({"status": "ok"})

    @api.get("/readyz", response_model=Status, responses={503: {"model": Problem, "description": "Shutting down"}})
    async def readyz() -> Response:
        """Whether requests are taken."""
        if service.accepting:
            return json_response({"status": "ready"})
        return problem(503, "the server is shutting down", {"Retry-After": "5"})

    @api.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Figures for Prometheus, of this process."""
        return Response(service.metrics.page(), headers={"content-type": CONTENT_TYPE_LATEST})


async def _unless_gone(request: Request, answer: Coroutine[Any, Any, Answer]) -> Answer:
    """The answer, unless the client hangs up: then what is not scored yet is dropped."""
    work = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        raise HTTPException(CLIENT_GONE, "the client closed the connection")
    finally:
        work.cancel()
        gone.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _is_protected(path: str) -> bool:
    return path not in OPEN and not path.startswith(page.ASSETS)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [dict(finding) for finding in error.errors()]
    broken = any(finding["type"] == "json_invalid" for finding in errors)
    return problem(400 if broken else 422, sentence_of(errors, error.body))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence = str(error.detail)
    if error.status_code == 404 and sentence == "Not Found":
        sentence = f"there is nothing at {request.url.path}; /openapi.json lists what there is"
    if error.status_code == 405:
        sentence = f"{request.url.path} does not take {request.method}; see the header Allow"
    return problem(error.status_code, sentence, error.headers)


async def _not_finite(request: Request, error: Exception) -> Response:
    return problem(500, f"{error}; check its weights")


async def _failed(request: Request, error: Exception) -> Response:
    return problem(500, "the server failed to answer; its log says why")
