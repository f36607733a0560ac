"""Requests and answers of an OpenAI-compatible endpoint: what is sent, and what is believed of what comes back."""

import json
import math
from collections.abc import Sequence
from typing import Any

from inranker.errors import UserError
from inranker.synthesis.generators.base import Decoding, Generation, Prompt

MOST_STOPS = 4  # the API takes no more; the rest is cut off here


class Malformed(Exception):
    """An answer that is none: no JSON, or not of this API."""


def chat_request(prompt: Prompt, decoding: Decoding, log_probs: bool, limit_field: str) -> dict[str, Any]:
    """The body of a request to /chat/completions; a plain prompt goes as one message of the user."""
    messages = prompt.messages or [{"role": "user", "content": prompt.text}]
    body = {"messages": messages, limit_field: prompt.max_tokens, **_drawing(prompt, decoding)}
    return body | ({"logprobs": True} if log_probs else {})


def completions_request(prompt: Prompt, decoding: Decoding, log_probs: bool, limit_field: str) -> dict[str, Any]:
    """The body of a request to /completions.

    Raises:
        UserError: a chat prompt, which only a model's own template could turn into text.
    """
    if prompt.messages is not None:
        raise UserError(
            "a chat prompt cannot be sent to the completions API; set openai.api to chat, or name other prompts"
        )
    body = {"prompt": prompt.text, limit_field: prompt.max_tokens, **_drawing(prompt, decoding)}
    return body | ({"logprobs": 1} if log_probs else {})


def _drawing(prompt: Prompt, decoding: Decoding) -> dict[str, Any]:
    drawing: dict[str, Any] = {"temperature": decoding.temperature, "seed": prompt.seed & 0x7FFFFFFF}
    if decoding.top_p < 1:
        drawing["top_p"] = decoding.top_p
    if decoding.top_k:
        drawing["extra_body"] = {"top_k": decoding.top_k}  # not of the API, but of most servers of open models
    if prompt.stop:
        drawing["stop"] = prompt.stop[:MOST_STOPS]
    return drawing


def read_answer(body: bytes, prompt: Prompt, chat: bool) -> Generation:
    """What an endpoint answered.

    Raises:
        Malformed: it is cut short, no JSON, or lacks a text or the numbers of tokens.
    """
    try:
        answer = json.loads(body)
        choice = answer["choices"][0]
        # Null is an empty answer (a refusal, or a reasoning model that ran out of tokens), and no damage.
        text = (choice["message"]["content"] if chat else choice["text"]) or ""
        usage = answer["usage"]
        prompt_tokens, tokens = int(usage["prompt_tokens"]), int(usage.get("completion_tokens") or 0)
        finish = str(choice.get("finish_reason") or "stop")
        if not isinstance(text, str):
            raise TypeError(f"a text is {type(text).__name__}")
        return Generation(until(text, prompt.stop), _log_probs(choice, chat), prompt_tokens, tokens, finish)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise Malformed(f"{type(error).__name__}: {error}") from error


def _log_probs(choice: dict[str, Any], chat: bool) -> list[float] | None:
    """Log-probabilities of the answer's tokens; None where the endpoint gives none, or not of all."""
    given = choice.get("logprobs")
    if not given:
        return None
    values = [token["logprob"] for token in given.get("content") or []] if chat else given.get("token_logprobs")
    usable = bool(values) and all(isinstance(value, int | float) and math.isfinite(value) for value in values)
    return [float(value) for value in values] if usable else None


def until(text: str, stop: Sequence[str]) -> str:
    """A text up to the first of its stop strings."""
    ends = [place for one in stop if (place := text.find(one)) >= 0]
    return text[: min(ends)] if ends else text
