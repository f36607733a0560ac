"""The contract of engines: prompts in, generations out, in order. Imports neither Ray nor torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

STOPPED, CUT = "stop", "length"


class Prompt(NamedTuple):
    """One request for text.

    Attributes:
        text: the whole prompt of an engine that continues text; "" where there are `messages`.
        messages: the chat form, as `[{"role": "user", "content": …}]`; None for plain continuation. An engine turns it
            into its model's own chat template.
        stop: strings that end the text; they are not part of it.
        max_tokens: tokens to generate at most.
        seed: of this prompt's draws; a function of the job's seed, the passage, the prompt and the sample, so that a
            prompt is answered alike wherever and whenever it runs.
    """

    text: str
    messages: list[dict[str, str]] | None
    stop: list[str]
    max_tokens: int
    seed: int


class Generation(NamedTuple):
    """What an engine answered.

    Attributes:
        text: the generated text as it came, without the stop string; "" where there is an `error`.
        log_probs: natural log of the probability of each generated token under the distribution it was drawn from
            before temperature and truncation; None where the engine does not say.
        prompt_tokens: tokens of the prompt.
        tokens: tokens generated, the one that ended the text included.
        finish: why it ended: "stop" (a stop string or the end token), "length" (max_tokens), or the engine's own word.
        error: why this prompt alone failed for good; None where it did not. It goes to quarantine with this reason.
    """

    text: str
    log_probs: list[float] | None
    prompt_tokens: int
    tokens: int
    finish: str
    error: str | None = None


@dataclass(frozen=True)
class Decoding:
    """How tokens are drawn, whatever the engine."""

    temperature: float = 0.0
    """0 takes the most probable token each time (the paper's recipe); above, tokens are drawn."""
    top_p: float = 1.0
    """Draw from the most probable tokens that together have this probability; 1: from all."""
    top_k: int = 0
    """Draw from so many most probable tokens; 0: from all."""
    max_tokens: int = 64
    """Tokens of a query at most."""


@dataclass(frozen=True)
class Place:
    """Where an engine of a job runs: what its constructor is told besides the model.

    Attributes:
        device: "cpu" or "cuda".
        threads: CPU threads; None leaves the library's own.
        gpus: GPUs that the actor was given (0.5 of one, or 4 for tensor parallelism).
    """

    device: str = "cpu"
    threads: int | None = None
    gpus: float = 0.0


class Generator(Protocol):
    """An engine; one instance lives in each actor of the pool.

    The class is called as `Engine(model, decoding, identity_settings, execution_settings, place)`, where the settings
    are its own small dataclasses (fields of its name in the config's `identity` and `execution`; None where it has
    none of that kind).

    An engine that costs by the token has an attribute `spent`; a static method `make_budget(execution, spent)`
    makes the job's budget, which its instances then find in their attribute `budget`.
    For `--plan` an engine may have static methods `count_tokens(model, identity, prompts)` and
    `flops(model, identity)`.

    What fails for one prompt is its `Generation.error`. An exception ends the job: a `UserError` where the user can put
    it right, anything else as a bug. What may pass (a rate limit, a server that restarts) is the engine's own to wait
    for.
    """

    @staticmethod
    def model_identity(model: str, identity_settings: Any) -> dict[str, Any]:
        """What decides the text besides decoding and prompts: the model by content where its files can be read, and
        the settings that matter. Called on the driver; loads no weights."""

    def generate(self, prompts: Sequence[Prompt]) -> list[Generation]:
        """Answer prompts, in their order."""
