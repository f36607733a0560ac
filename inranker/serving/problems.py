"""Refusals: a status and one sentence that says what to do."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response


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


def sentence_of(errors: list[dict[str, Any]]) -> str:
    """What a request's body gets wrong, from the validator's findings: the first two of them and how many more."""
    findings = []
    for error in errors:
        if error["type"] == "json_invalid":
            return f"the body is not JSON ({error['ctx']['error']}); send one JSON object in UTF-8, without NaN"
        place = _place(error["loc"])
        finding = f"{place}: {error['msg'][:1].lower()}{error['msg'][1:]}"
        if finding not in findings:
            findings.append(finding)
    more = f" (and {len(findings) - 2} more)" if len(findings) > 2 else ""
    return f"{'; '.join(findings[:2])}{more}; /openapi.json describes every field"


def _place(location: tuple[Any, ...]) -> str:
    """`("body", "documents", 3, "text")` as `documents[3].text`."""
    place = ""
    for part in location:
        if part == "body":
            continue
        place += f"[{part}]" if isinstance(part, int) else f".{part}"
    return place.lstrip(".") or "the body"
