"""A module in place of vLLM where that is not installed: what `ray.data.llm` calls, with an engine that counts.

It shows that our code and Ray's own stage fit together. It does not show that vLLM writes text: that is run on machines
that have it.
"""

import asyncio
import sys
import types
from dataclasses import dataclass, field
from typing import Any

import pytest

# Fields of vLLM's EngineArgs that a synthesis may set; an unknown one is an error there too.
ENGINE_FIELDS = {
    "model", "dtype", "tokenizer", "quantization", "max_model_len", "max_num_seqs", "tensor_parallel_size",
    "pipeline_parallel_size", "gpu_memory_utilization", "enable_prefix_caching", "enforce_eager", "trust_remote_code",
    "distributed_executor_backend", "enable_log_requests", "runner",
}  # fmt: skip


@dataclass
class Logprob:
    """Of a token."""

    logprob: float
    rank: int = 1
    decoded_token: str = ""


class AsyncEngineArgs:
    """Keeps what it is given, if vLLM has such fields."""

    def __init__(self, **fields: Any) -> None:
        assert set(fields) <= ENGINE_FIELDS, set(fields) - ENGINE_FIELDS
        self.fields = fields

    def create_engine_config(self) -> Any:
        """What the wrapper looks at."""
        seqs = types.SimpleNamespace(max_num_seqs=self.fields.get("max_num_seqs", 4))
        return types.SimpleNamespace(
            scheduler_config=seqs, parallel_config=types.SimpleNamespace(pipeline_parallel_size=1)
        )


class SamplingParams:
    """Keeps what it is given."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


@dataclass
class Completion:
    """One answer."""

    text: str
    token_ids: list[int]
    logprobs: list[dict[int, Logprob]] | None
    finish_reason: str = "stop"


@dataclass
class RequestOutput:
    """What a request ends with."""

    prompt: str | None
    prompt_token_ids: list[int]
    outputs: list[Completion]
    finished: bool = True
    metrics: Any = None
    prompt_logprobs: Any = None


@dataclass
class Engine:
    """Answers `N tokens, seed S` out of order; refuses prompts of more than 60 tokens, as a short context would."""

    args: AsyncEngineArgs
    asked: list[tuple[list[int], SamplingParams]] = field(default_factory=list)

    @classmethod
    def from_engine_args(cls, args: AsyncEngineArgs, stat_loggers: Any = None) -> "Engine":
        """As vLLM's."""
        return cls(args)

    async def generate(self, request_id: str, prompt: Any, sampling_params: SamplingParams, lora_request: Any) -> Any:
        """As vLLM's: a stream of which the last is finished."""
        ids = prompt["prompt_token_ids"]
        self.asked.append((ids, sampling_params))
        await asyncio.sleep(0.001 * (int(request_id) % 7))
        if len(ids) > 60:
            raise ValueError("The decoder prompt is longer than the maximum model length")
        tokens = list(range(min(sampling_params.max_tokens, 3)))
        log_probs = [{token: Logprob(-0.5 * place)} for place, token in enumerate(tokens)]
        text = f"{len(ids)} tokens, seed {sampling_params.seed}"
        yield RequestOutput(None, ids, [Completion(text, tokens, log_probs)])

    async def do_log_stats(self) -> None:
        """As vLLM's."""

    def shutdown(self) -> None:
        """As vLLM's."""


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the stand-in where `import vllm` finds it."""
    module, inputs, outputs = (types.ModuleType(name) for name in ("vllm", "vllm.inputs", "vllm.outputs"))
    prompts = {"TokensPrompt": dict, "TextPrompt": dict}
    vars(inputs).update(prompts)
    vars(outputs).update(RequestOutput=RequestOutput, PoolingRequestOutput=type("PoolingRequestOutput", (), {}))
    vars(module).update(
        AsyncEngineArgs=AsyncEngineArgs, AsyncLLMEngine=Engine, SamplingParams=SamplingParams, inputs=inputs,
        outputs=outputs, __version__="stand-in",
    )  # fmt: skip
    for name, part in (("vllm", module), ("vllm.inputs", inputs), ("vllm.outputs", outputs)):
        monkeypatch.setitem(sys.modules, name, part)
