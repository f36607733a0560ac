"""Refusals: a status and one sentence that says what to do."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

# What the validator puts into a location where a value may be one of several kinds.
REQUESTS = ("RerankRequest", "TextsRequest")
TEXTS = ("str", "TextObject", "constrained-str")
OBJECT_WANTED = "send one JSON object"
TEXT_WANTED = "give a string that is not blank, or an object with a field text"


class Refused(HTTPException):
    """A request that is not answered with a result; `detail` is the sentence."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, sentence, dict(headers or {}))


def problem(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    """A refusal's response; `message` is where Cohere's clients look, `detail` where Jina's do, `error` where those of
    text-embeddings-inference do."""
    content = {"message": sentence, "detail": sentence, "error": sentence}
    return json_response(content, status, headers)


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A value as JSON."""
    return Response(orjson.dumps(content), status, dict(headers or {}), "application/json")


def sentence_of(errors: list[dict[str, Any]], body: Any = None) -> str:
    """What a request's body gets wrong, from the validator's findings: the first two of them and how many more.

    Args:
        errors: findings, each with type, loc and msg.
        body: the value that was validated; says which of two kinds of request it was meant to be.
    """
    if errors[0]["type"] == "json_invalid":
        return f"the body is not JSON ({errors[0]['ctx']['error']}); send one JSON object in UTF-8, without NaN"
    meant = "TextsRequest" if isinstance(body, dict) and "texts" in body else "RerankRequest"
    findings: dict[str, str] = {}
    for error in errors:
        location = error["loc"][1:]
        if location[:1] and location[0] in REQUESTS:
            if location[0] != meant:
                continue
            location = location[1:]
        place = _place(tuple(part for part in location if part not in TEXTS))
        message = OBJECT_WANTED if error["type"].startswith("model_") else error["msg"]
        message = TEXT_WANTED if any(part in TEXTS for part in location) else message
        findings.setdefault(place, f"{place}: {message[:1].lower()}{message[1:]}")
    said = list(findings.values())
    more = f" (and {len(said) - 2} more)" if len(said) > 2 else ""
    return f"{'; '.join(said[:2])}{more}; /openapi.json describes every field"


def _place(location: tuple[Any, ...]) -> str:
    """`("documents", 3, "text")` as `documents[3].text`."""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return place.lstrip(".") or "the body"
