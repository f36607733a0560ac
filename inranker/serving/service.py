"""What is asked and answered, without HTTP: models, limits, rankings."""

import asyncio
import math
import time
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np

from inranker.errors import UserError
from inranker.ranking.ranker import Ranker
from inranker.serving.config import ServeConfig
from inranker.serving.corpus import Corpus, rank_pasted
from inranker.serving.engine import Engine, Scored, model_name
from inranker.serving.metrics import Metrics
from inranker.serving.problems import Refused
from inranker.serving.schemas import CompareRequest, RerankRequest, TextObject, TextsRequest
from inranker.types import Passage, join

LONGEST_PAUSE_S = 60
BM25 = "bm25"


class Service:
    """The models of a config, loaded; and a collection to search, where one is named.

    Raises:
        UserError: a model or the collection cannot be loaded.
    """

    def __init__(self, config: ServeConfig, metrics: Metrics | None = None) -> None:
        self.config = config
        self.metrics = metrics or Metrics()
        self.engines: dict[str, Engine] = {}
        names = [config.model, *([config.teacher] if config.teacher else [])]
        for kind, model in zip(("student", "teacher"), names, strict=False):
            name = model_name(model)
            name = f"{name}-{kind}" if name in self.engines else name
            ranker = Ranker(
                model,
                backend=config.backend if kind == "student" else "torch",
                device=config.device,
                precision=config.precision,
                threads=config.threads,
                max_length=config.max_length,
            )
            self.engines[name] = Engine(
                name, ranker, config.batch_tokens, self.metrics, config.long_documents == "windows"
            )
        self.corpus = Corpus(config.collection, config.language, config.cache) if config.collection else None
        self.accepting = True

    async def rerank(self, request: RerankRequest) -> dict[str, Any]:
        """Documents best first, as Cohere and Jina answer.

        Raises:
            Refused: over a limit, an unknown model, too many requests, or too slow.
        """
        engine = self.engine(request.model)
        query = _text(request.query, None, "query")
        texts = [_text(document, request.rank_fields, i) for i, document in enumerate(request.documents)]
        scored = await self.score(engine, query, texts, request.max_tokens_per_doc)
        order = _order(scored.scores)[: request.top_n]
        results: list[dict[str, Any]] = [
            {"index": int(i), "relevance_score": float(scored.probabilities[i])} for i in order
        ]
        if request.return_documents:
            for result in results:
                result["document"] = {"text": texts[result["index"]]}
        return {
            "id": str(uuid.uuid4()),
            "model": engine.name,
            "results": results,
            "usage": {"total_tokens": scored.tokens, "prompt_tokens": scored.tokens},
            "meta": {
                "api_version": {"version": "2"},
                "billed_units": {"search_units": 1},
                "tokens": {"input_tokens": scored.tokens},
            },
        }

    async def rank_texts(self, request: TextsRequest) -> list[dict[str, Any]]:
        """Texts best first, as text-embeddings-inference answers; raises as `rerank`."""
        scored = await self.score(self.engine(None), request.query, request.texts)
        values = scored.scores if request.raw_scores else scored.probabilities
        return [
            {"index": int(i), "score": float(values[i])} | ({"text": request.texts[i]} if request.return_text else {})
            for i in _order(scored.scores)
        ]

    async def compare(self, request: CompareRequest) -> dict[str, Any]:
        """Rankings of the same passages by BM25 and every model, one after another so that each time is its own;
        raises as `rerank`."""
        passages, systems, source = await self._first_stage(request)
        texts = [passage.contents for passage in passages]
        for kind, engine in zip(("student", "teacher"), self.engines.values(), strict=False):
            start = time.perf_counter()
            scored = await self.score(engine, request.query, texts)
            places = [(int(i), float(scored.scores[i]), float(scored.probabilities[i])) for i in _order(scored.scores)]
            systems.append(_system(engine.name, kind, start, places))
        shown = [{"id": passage.passage_id, "title": passage.title, "text": passage.text} for passage in passages]
        return {"source": source, "passages": shown, "systems": systems}

    async def _first_stage(self, request: CompareRequest) -> tuple[list[Passage], list[dict[str, Any]], str]:
        start = time.perf_counter()
        if request.passages is not None:
            self._require_size(request.query, request.passages)
            language = self.config.language or "en"
            ranked = await asyncio.to_thread(rank_pasted, request.query, request.passages, language)
            passages = [Passage(str(place + 1), text) for place, text in enumerate(request.passages)]
            return passages, [_system("BM25", BM25, start, [(*place, None) for place in ranked])], "pasted"
        if self.corpus is None:
            raise Refused(422, "passages is missing and no collection is loaded; send passages")
        found = await asyncio.to_thread(self.corpus.search, request.query, request.depth)
        places = [(place, score, None) for place, (_, score) in enumerate(found)]
        return [passage for passage, _ in found], [_system("BM25", BM25, start, places)], self.corpus.name

    async def score(self, engine: Engine, query: str, texts: Sequence[str], max_tokens: int | None = None) -> Scored:
        """Scores of texts within the limits; raises as `rerank`."""
        self._require_size(query, texts)
        self._require_room(engine, len(texts))
        try:
            async with asyncio.timeout(self.config.limits.request_seconds):
                return await engine.score(query, texts, max_tokens)
        except TimeoutError:
            seconds = self.config.limits.request_seconds
            raise Refused(
                503, f"not scored within {seconds:g} seconds; try again later or send less", self._pause(engine)
            ) from None

    def engine(self, name: str | None) -> Engine:
        """The model of a name; the default one where none is given or any will do.

        Raises:
            Refused: 404.
        """
        if name in self.engines:
            return self.engines[name]
        if name and not self.config.any_model:
            raise Refused(404, f"model {name!r} is not served here; use one of {', '.join(self.engines)}")
        return next(iter(self.engines.values()))

    def warm_up(self) -> None:
        """Score a passage with every model."""
        for engine in self.engines.values():
            engine.warm_up()

    def require_alive(self) -> None:
        """Raise where a model no longer scores.

        Raises:
            RuntimeError: its thread has ended.
        """
        for engine in self.engines.values():
            if self.accepting and not engine.alive:
                raise RuntimeError(f"model {engine.name} no longer scores; start the server again")

    def close(self) -> None:
        """Take no more, finish what waits."""
        self.accepting = False
        for engine in self.engines.values():
            engine.close()

    def _require_size(self, query: str, texts: Sequence[str]) -> None:
        limits = self.config.limits
        if len(texts) > limits.documents:
            raise Refused(413, f"{len(texts)} documents; send at most {limits.documents} in a request")
        characters = len(query) + sum(map(len, texts))
        if characters > limits.characters:
            raise Refused(413, f"{characters} characters; send at most {limits.characters} in a request")

    def _require_room(self, engine: Engine, passages: int) -> None:
        queued, most = engine.queued, self.config.limits.queued_passages
        if queued and queued + passages > most:
            raise Refused(429, f"{queued} passages wait already; try again later", self._pause(engine))

    def _pause(self, engine: Engine) -> dict[str, str]:
        """When to try again: once what waits will have been scored."""
        seconds = math.ceil(engine.queued / engine.speed) if engine.speed else 1
        return {"Retry-After": str(min(max(seconds, 1), LONGEST_PAUSE_S))}


def _text(value: str | TextObject, fields: list[str] | None, place: int | str) -> str:
    """What is read of a query or a document."""
    if isinstance(value, str):
        return value
    where = place if isinstance(place, str) else f"documents[{place}]"
    content = value.model_dump()
    if not fields:
        title = content.get("title")
        if value.text is None or (where == "query" and not value.text.strip()):
            raise Refused(422, f"{where} has no text; give it a field text, or name its fields in rank_fields")
        return join(title, value.text) if isinstance(title, str) else value.text
    missing = [name for name in fields if content.get(name) is None]
    if missing:
        raise Refused(422, f"{where} has no field {missing[0]!r}, which rank_fields names; add it or leave it out")
    return " ".join(str(content[name]) for name in fields)


def _order(scores: np.ndarray) -> np.ndarray:
    """Places best first; equal scores keep the order in which they were given."""
    return np.argsort(-scores, kind="stable")


def _system(name: str, kind: str, start: float, places: Sequence[tuple[int, float, float | None]]) -> dict[str, Any]:
    results = [{"index": i, "score": score, "probability": probability} for i, score, probability in places]
    return {
        "name": name,
        "kind": kind,
        "milliseconds": round((time.perf_counter() - start) * 1000, 3),
        "results": results,
    }


def load(config: ServeConfig, metrics: Metrics | None = None) -> Service:
    """A service that has scored its first pair.

    Raises:
        UserError: as Service.
    """
    try:
        service = Service(config, metrics)
    except ImportError as error:
        raise UserError(f"{error.name} is missing; install inranker[serve]") from error
    service.warm_up()
    return service
