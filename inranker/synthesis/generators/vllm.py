"""The `vllm` engine: vLLM through `ray.data.llm`, for GPU clusters.

`ray.data.llm` makes a processor of stages that map a row, a prompt, to a row. A job here has a row a *unit*, many
prompts that one receipt makes done. Spreading units into rows and grouping them again would be a shuffle: nothing would
be committed before everything was generated, and a killed job would have nothing to resume from. So the processor is
built, and its configuration checked, by `ray.data.llm` itself, and its engine stage is then called inside our actor
with a unit's prompts as the batch that it expects: one unit in, its answers out, in order, receipts as exact as with
any other engine. vLLM still batches continuously, within a unit; give units of several thousand prompts on a big GPU.

The stage brings what it has learnt about vLLM: bounded pending requests, an error of one prompt kept to that prompt,
and an engine that died ends its process, so that Ray starts another and the attempts of the unit are counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from inranker.errors import UserError
from inranker.synthesis.generators.base import CUT, STOPPED, Decoding, Generation, Place, Prompt
from inranker.synthesis.generators.loop import LoopThread
from inranker.synthesis.generators.transformers import (
    TransformersGenerator,
    TransformersIdentity,
    encode,
    load_tokenizer,
)

ERROR = "__inference_error__"  # the column in which ray.data.llm puts what went wrong with a row


@dataclass(frozen=True)
class VllmIdentity:
    """What the text depends on besides model and decoding."""

    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Arithmetic of the forward pass."""
    tokenizer: str | None = None
    """Directory or hub id of the tokenizer; null: the model's own."""
    quantization: str | None = None
    """vLLM's name of how the weights are quantised, as in fp8 or awq; null: as the checkpoint says."""

    @property
    def files(self) -> TransformersIdentity:
        """The same for the files of the model."""
        return TransformersIdentity(dtype=self.dtype, tokenizer=self.tokenizer)


@dataclass(frozen=True)
class VllmExecution:
    """How the engine runs."""

    tensor_parallel_size: int = 1
    """GPUs that share each layer; `gpus_per_actor` must be this times `pipeline_parallel_size`."""
    pipeline_parallel_size: int = 1
    """Groups of GPUs that share the layers."""
    max_model_len: int | None = None
    """Tokens of prompt and answer together; null: the model's own, which may ask for much memory."""
    gpu_memory_utilization: float = 0.9
    """Share of a GPU's memory that vLLM takes."""
    max_num_seqs: int | None = None
    """Prompts that are worked on at a time; null: vLLM's own number for the GPU."""
    max_pending_requests: int | None = None
    """Prompts handed to vLLM at a time; null: a tenth more than it works on."""
    enable_prefix_caching: bool = True
    """Keep what prompts begin with alike, such as the examples of a few-shot prompt."""
    enforce_eager: bool = False
    """Do without CUDA graphs: slower, a quicker start, less memory."""
    engine_metrics: bool = False
    """Export vLLM's own metrics by Ray's Prometheus endpoint."""


class VllmGenerator:
    """vLLM in an actor; see base.Generator."""

    def __init__(
        self, model: str, decoding: Decoding, identity: VllmIdentity, execution: VllmExecution, place: Place
    ) -> None:
        self.decoding = decoding
        self.tokenizer = load_tokenizer(model, identity.files)
        self.column, self.stage = engine_stage(processor_config(model, identity, execution, place))
        self.loop = LoopThread("vllm")

    @staticmethod
    def model_identity(model: str, identity: VllmIdentity) -> dict[str, Any]:
        """Weights, config and tokenizer by content, as for `transformers`, whose text is not quite the same."""
        made = TransformersGenerator.model_identity(model, identity.files)
        return {**made, "quantization": identity.quantization, "engine": "vllm"}

    @staticmethod
    def count_tokens(model: str, identity: VllmIdentity, prompts: Sequence[Prompt]) -> list[int]:
        """Tokens of prompts, for `--plan`; loads the tokenizer alone."""
        return TransformersGenerator.count_tokens(model, identity.files, prompts)

    @staticmethod
    def flops(model: str, identity: VllmIdentity) -> Any:
        """Operations of prompts and tokens, for `--plan`; see `TransformersGenerator.flops`."""
        return TransformersGenerator.flops(model, identity.files)

    def generate(self, prompts: Sequence[Prompt]) -> list[Generation]:
        """Answer prompts, in their order."""
        ids = encode(self.tokenizer, prompts)
        rows = [
            {"tokenized_prompt": list(own), "sampling_params": sampling_params(prompt, self.decoding)}
            for own, prompt in zip(ids, prompts, strict=True)
        ]
        answered = self.loop.run(self._answered(rows)) if rows else []
        return [read_row(row, prompt, len(own)) for row, prompt, own in zip(answered, prompts, ids, strict=True)]

    async def _answered(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        answered: list[dict[str, Any]] = []
        async for batch in self.stage({self.column: rows}):
            answered += batch[self.column]
        return answered


def processor_config(model: str, identity: VllmIdentity, execution: VllmExecution, place: Place) -> Any:
    """The configuration of `ray.data.llm`, which checks its own fields.

    Prompts come with the tokens that the `transformers` engine would give them, and vLLM turns answers into text as it
    cuts them at their stop strings: so the stages for chat templates, tokens and text are off.

    Raises:
        UserError: the actor has another number of GPUs than the engine, or a field is wrong.
    """
    from pydantic import ValidationError
    from ray.data.llm import vLLMEngineProcessorConfig

    gpus = execution.tensor_parallel_size * execution.pipeline_parallel_size
    if place.device == "cuda" and place.gpus != gpus:
        raise UserError(
            f"field gpus_per_actor is {place.gpus:g}, and vllm.tensor_parallel_size × pipeline_parallel_size is "
            f"{gpus}; make them the same"
        )
    options = {
        "dtype": identity.dtype,
        "tokenizer": identity.tokenizer,
        "quantization": identity.quantization,
        "max_model_len": execution.max_model_len,
        "max_num_seqs": execution.max_num_seqs,
        "tensor_parallel_size": execution.tensor_parallel_size,
        "pipeline_parallel_size": execution.pipeline_parallel_size,
        "gpu_memory_utilization": execution.gpu_memory_utilization,
        "enable_prefix_caching": execution.enable_prefix_caching,
        "enforce_eager": execution.enforce_eager,
        "trust_remote_code": False,
        # The actor holds the GPUs of its engine, so its workers are its own processes; Ray's would ask for GPUs again.
        "distributed_executor_backend": "uni" if gpus == 1 else "mp",
    }
    try:
        return vLLMEngineProcessorConfig(
            model_source=model,
            engine_kwargs={name: value for name, value in options.items() if value is not None},
            max_pending_requests=execution.max_pending_requests,
            log_engine_metrics=execution.engine_metrics,
            should_continue_on_error=True,
            batch_size=1,
            max_concurrent_batches=1,
            chat_template_stage=False,
            tokenize_stage=False,
            detokenize_stage=False,
        )
    except ValidationError as error:
        raise UserError(f"ray.data.llm refuses the fields of vllm: {error.errors()[0]['msg']}") from error


def engine_stage(config: Any) -> tuple[str, Any]:
    """The engine stage of a processor, ready to be called, and the column in which it takes its rows.

    Raises:
        UserError: vLLM is not installed, or cannot load the model.
    """
    from ray.data.llm import build_processor

    processor = build_processor(config)
    (name,) = processor.list_stage_names()
    stage, column = processor.get_stage_by_name(name), processor.DATA_COLUMN
    arguments = stage.get_dataset_map_batches_kwargs(config.batch_size, column)["fn_constructor_kwargs"]
    try:
        return column, stage.fn(**arguments)
    except ImportError as error:
        raise UserError("generator vllm needs vLLM, and a GPU to be fast; install inranker[vllm]") from error


def sampling_params(prompt: Prompt, decoding: Decoding) -> dict[str, Any]:
    """vLLM's SamplingParams of a prompt; each prompt draws from its own seed, whatever it is batched with."""
    return {
        "max_tokens": prompt.max_tokens,
        "stop": list(prompt.stop),
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "top_k": decoding.top_k or -1,
        "seed": prompt.seed & 0x7FFFFFFF,
        "logprobs": 0,  # of the token that was drawn, and no others
    }


def read_row(row: dict[str, Any], prompt: Prompt, prompt_tokens: int) -> Generation:
    """What the engine stage said of a prompt."""
    if row.get(ERROR):
        return Generation("", None, prompt_tokens, 0, "error", f"vLLM: {row[ERROR]}")
    tokens = row["generated_tokens"]
    given = row["logprobs"]
    log_probs = None
    if given is not None:
        log_probs = [float(told[token]["logprob"]) for token, told in zip(tokens, given, strict=True)]
    # The stage does not hand on why vLLM stopped; a text that has all its tokens was cut.
    finish = CUT if len(tokens) >= prompt.max_tokens else STOPPED
    return Generation(row["generated_text"], log_probs, int(row["num_input_tokens"]), len(tokens), finish)
