"""The `openai` engine: any endpoint that speaks OpenAI's API, chat or completions.

OpenAI's own and other paid ones; vLLM's, llama.cpp's, Ollama's or SGLang's server of an open model. Requests go through
the `openai` client. What may pass (429, 5xx, a hang, a cut connection, half an answer) is asked again, with growing
pauses, a bounded number of times; what cannot pass for one prompt sends that prompt to quarantine; what cannot pass for
any ends the job with a sentence. The key comes from an environment variable and goes nowhere but into the request.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from inranker.errors import UserError
from inranker.synthesis.generators.answers import Malformed, chat_request, completions_request, read_answer
from inranker.synthesis.generators.base import Decoding, Generation, Place, Prompt
from inranker.synthesis.generators.budget import Budget, Purse
from inranker.synthesis.generators.loop import LoopThread
from inranker.synthesis.generators.pacing import Pace, asked_pause, backoff

REQUESTS = {"chat": chat_request, "completions": completions_request}
# Client errors that another try may heal (time-out, conflict, too early, too many requests); the rest is the prompt's.
PASSING = {408, 409, 425, 429}
# No prompt would be answered: key, account, address or model are wrong.
FINAL = {401: "refuses the key", 402: "wants payment", 403: "refuses access", 404: "has no such address or model"}
FEWEST_FAILURES = 8  # prompts in a row without an answer before the endpoint counts as down
FIRST_TOKENS_PER_BYTE = 0.5  # until answers tell: more than any language needs, so that the first units cost no more
MOST_OF_A_MESSAGE = 300


@dataclass(frozen=True)
class OpenAIIdentity:
    """What the text depends on besides model and decoding."""

    api: Literal["chat", "completions"] = "chat"
    """chat sends messages; completions continues a text, which base models want."""


@dataclass(frozen=True)
class OpenAIExecution:
    """How the engine runs. Concurrency and limits hold for each actor, the cost limit for the job."""

    url: str = "https://api.openai.com/v1"
    """Base address of the endpoint, as in http://localhost:8000/v1."""
    key_variable: str | None = "OPENAI_API_KEY"
    """Environment variable, on the machines of the actors, that holds the key; null: the endpoint wants none."""
    concurrency: int = 16
    """Requests under way at a time."""
    timeout: float = 120.0
    """Seconds until a request counts as hung."""
    attempts: int = 8
    """Requests for one prompt before it goes to quarantine."""
    requests_per_minute: float | None = None
    """Requests started in a minute; null: no limit."""
    tokens_per_minute: float | None = None
    """Tokens of prompts and answers in a minute; null: no limit."""
    log_probs: bool = True
    """Ask for log-probabilities; false for endpoints that refuse such a request."""
    limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the endpoint calls the most tokens to generate; OpenAI's newer models take only the second."""
    price_per_million_prompt_tokens: float = 0.0
    """Price of a million tokens of prompts, in any currency."""
    price_per_million_tokens: float = 0.0
    """Price of a million generated tokens."""
    cost_limit: float | None = None
    """Most to spend, earlier starts included by their receipts (units that were in flight when one ended are not); the
    job ends before a unit that could pass it. Null: no limit."""

    def __post_init__(self) -> None:
        for name in ("concurrency", "attempts"):
            if getattr(self, name) < 1:
                raise UserError(f"field openai.{name} is {getattr(self, name)}; give it 1 or more")
        for name in ("timeout", "requests_per_minute", "tokens_per_minute"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise UserError(f"field openai.{name} is {getattr(self, name)}; give it more than 0")
        if self.cost_limit is not None and not (self.price_per_million_prompt_tokens or self.price_per_million_tokens):
            raise UserError("field openai.cost_limit is set without prices; set openai.price_per_million_tokens too")

    def cost(self, prompt_tokens: float, tokens: float) -> float:
        """Price of tokens."""
        return (
            prompt_tokens * self.price_per_million_prompt_tokens + tokens * self.price_per_million_tokens
        ) / 1_000_000


class OpenAIGenerator:
    """An endpoint as an engine; see base.Generator.

    Attributes:
        spent: what this engine has paid for, never understated: a request that may have been worked on without giving
            its numbers (hung, cut off, half an answer) counts as its dearest.
        budget: where it asks before each call; a job hands its own to all engines.
    """

    def __init__(
        self, model: str, decoding: Decoding, identity: OpenAIIdentity, execution: OpenAIExecution, place: Place
    ) -> None:
        self.model, self.decoding, self.identity, self.execution = model, decoding, identity, execution
        self.budget: Purse = Budget(execution.cost_limit)
        self.spent = 0.0
        self._key = read_key(execution.key_variable)
        self._client = _client(execution, self._key)
        self._pace = Pace(execution.requests_per_minute, execution.tokens_per_minute)
        self._gate = asyncio.Semaphore(execution.concurrency)
        self._loop = LoopThread("openai")
        self._tokens_per_byte = FIRST_TOKENS_PER_BYTE
        self._seen_bytes = self._seen_tokens = 0
        self._reserved = 0.0  # of the budget, for the call under way
        self._failures = 0  # prompts without an answer since the last answer

    @staticmethod
    def model_identity(model: str, identity_settings: OpenAIIdentity) -> dict[str, Any]:
        """The model by its name: an endpoint does not show its weights."""
        return {"model": model, "api": identity_settings.api}

    @staticmethod
    def make_budget(execution: OpenAIExecution, spent: float) -> Budget | None:
        """What the job may still spend, for all its engines; None where there is no limit."""
        return None if execution.cost_limit is None else Budget(execution.cost_limit, spent)

    def generate(self, prompts: Sequence[Prompt]) -> list[Generation]:
        """Answer prompts, in their order.

        Raises:
            UserError: the cost limit does not reach for these prompts, or the endpoint refuses or answers none.
        """
        self._reserved, before = 0.0, self.spent
        try:
            self._reserve(sum(self._worst(prompt) for prompt in prompts))
            return self._loop.run(self._answer_all(prompts))
        finally:
            self.budget.settle(self._reserved, self.spent - before)

    def close(self) -> None:
        """Let go of connections and thread."""
        self._loop.run(self._client.close())
        self._loop.close()

    def _reserve(self, amount: float) -> None:
        if not self.budget.reserve(amount):
            raise UserError(
                f"what comes next could cost {amount:.4g} and pass openai.cost_limit {self.execution.cost_limit}; what "
                "is finished is kept: raise the limit and start again to go on"
            )
        self._reserved += amount

    async def _answer_all(self, prompts: Sequence[Prompt]) -> list[Generation]:
        tasks = [asyncio.ensure_future(self._answer(prompt)) for prompt in prompts]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:  # of those left where one ended the job
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, prompt: Prompt) -> Generation:
        """One prompt's answer, or why it has none."""
        body = REQUESTS[self.identity.api](prompt, self.decoding, self.execution.log_probs, self.execution.limit_field)
        async with self._gate:
            reason = ""
            for attempt in range(self.execution.attempts):
                found = await self._ask(prompt, body, attempt)
                if isinstance(found, Generation):
                    return found
                reason = found
            return self._failed(f"no answer in {self.execution.attempts} attempts; the last: {reason}")

    async def _ask(self, prompt: Prompt, body: dict[str, Any], attempt: int) -> Generation | str:
        """One request: the answer (an error that is the prompt's own included), or why to ask again."""
        import openai

        expected = self._expected(prompt)
        await self._pace.turn(expected)
        refused: openai.APIStatusError | None = None
        damage = ""
        try:
            answer = read_answer(await self._request(body), prompt, self.identity.api == "chat")
        except openai.APIStatusError as error:
            refused = error
        except (openai.APIConnectionError, openai.APIResponseValidationError, TimeoutError, Malformed) as error:
            damage = f"{type(error).__name__}: {self._clean(str(error))}"
        # Outside of the handlers: an error raised within would drag the request, and its key, along as its context.
        if refused is not None:
            return await self._refused(refused.status_code, refused.response.headers, _message(refused), attempt)
        if damage:
            self.spent += self._worst(prompt)  # it may have been answered, and be charged
            if attempt + 1 < self.execution.attempts:
                self._reserve(self._worst(prompt))  # for asking again
            await asyncio.sleep(backoff(attempt))
            return damage
        self._learn(prompt, answer, expected)
        return answer

    async def _request(self, body: dict[str, Any]) -> bytes:
        calls: Any = self._client.chat.completions if self.identity.api == "chat" else self._client.completions
        # The client's own time-out is between two bytes; a server that trickles would never reach it.
        async with asyncio.timeout(self.execution.timeout):
            found = await calls.with_raw_response.create(model=self.model, **body)
            return bytes(found.content)

    async def _refused(self, status: int, headers: Any, message: str, attempt: int) -> Generation | str:
        told = f"{status} {self._clean(message)}"
        if status in FINAL or "insufficient_quota" in message:
            raise UserError(
                f"{self.execution.url} {FINAL.get(status, 'has no money left on the account')} ({told}); check "
                f"openai.url, model and the key in {self.execution.key_variable}"
            )
        if status < 500 and status not in PASSING:
            return self._failed(f"the endpoint refuses it: {told}")
        rest = max(backoff(attempt), asked_pause(headers))
        if status == 429:
            self._pace.pause(rest)
        await asyncio.sleep(rest)
        return told

    def _failed(self, reason: str) -> Generation:
        """A prompt without an answer; so many in a row are the endpoint's fault and not theirs.

        Raises:
            UserError: the endpoint answers nothing.
        """
        self._failures += 1
        if self._failures >= max(FEWEST_FAILURES, self.execution.concurrency):
            raise UserError(
                f"{self.execution.url} has answered none of the last {self._failures} prompts ({reason}); what is "
                "finished is kept: start again when it answers"
            )
        return Generation("", None, 0, 0, "error", reason)

    def _learn(self, prompt: Prompt, answer: Generation, expected: float) -> None:
        self._failures = 0
        self.spent += self.execution.cost(answer.prompt_tokens, answer.tokens)
        self._seen_bytes += _bytes(prompt)
        self._seen_tokens += answer.prompt_tokens
        # A fifth more than was seen on average, for what is denser.
        self._tokens_per_byte = 1.2 * self._seen_tokens / max(1, self._seen_bytes)
        self._pace.correct(answer.prompt_tokens + answer.tokens - expected)

    def _expected(self, prompt: Prompt) -> float:
        return self._tokens_per_byte * _bytes(prompt) + prompt.max_tokens

    def _worst(self, prompt: Prompt) -> float:
        """The dearest that an answer is expected to be."""
        return self.execution.cost(self._tokens_per_byte * _bytes(prompt), prompt.max_tokens)

    def _clean(self, text: str) -> str:
        """A message fit to be shown: endpoints have been seen to repeat the key that they refuse."""
        shown = text.replace(self._key, "[key]") if self._key else text
        return " ".join(shown.split())[:MOST_OF_A_MESSAGE]


def read_key(variable: str | None) -> str:
    """The key of an environment variable; "" where none is wanted.

    Raises:
        UserError: it is not set.
    """
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UserError(
            f"environment variable {variable} holds no key; set it where the actors run, or openai.key_variable to "
            "null for an endpoint that wants none"
        )
    return key


def _client(execution: OpenAIExecution, key: str) -> Any:
    try:
        import openai
    except ImportError as error:
        raise UserError("generator openai needs the client library; install inranker[openai]") from error
    # Retries are ours: the client's know neither budget nor damaged answers.
    return openai.AsyncOpenAI(base_url=execution.url, api_key=key or "none", timeout=execution.timeout, max_retries=0)


def _message(error: Any) -> str:
    """What an endpoint says of a refusal."""
    body = error.body
    if isinstance(body, dict):
        return str(body.get("message") or body.get("code") or body)
    return str(body or error.response.reason_phrase)


def _bytes(prompt: Prompt) -> int:
    texts = [message["content"] for message in prompt.messages] if prompt.messages else [prompt.text]
    return sum(len(text.encode(errors="surrogatepass")) for text in texts)
