"""The `transformers` engine: any causal language model of a directory or the hub, GGUF included.

Prompts are answered in batches of like length, padded on the left. Every prompt draws from its own seed, so the same
unit in the same batches gives the same text whatever the actors; batches follow from the unit's prompts and
`batch_tokens`.
Other batches, another number of threads or another GPU round differently in the last bits: in float32 a text hardly
ever changes, in bfloat16 some do, mostly where two continuations were equally likely.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from inranker.errors import UserError
from inranker.fingerprint import fingerprint, sha256_file
from inranker.synthesis.generators.base import CUT, STOPPED, Decoding, Generation, Place, Prompt

WEIGHTS = ("*.safetensors", "*.bin")
TOKENIZER_FILES = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "chat_template*", "*.model")
NO_CODE = {"trust_remote_code": False}


@dataclass(frozen=True)
class TransformersIdentity:
    """What the text depends on besides model and decoding."""

    gguf_file: str | None = None
    """Name of a GGUF file in the model's directory or repository; its weights are taken back to `dtype`."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Arithmetic of the forward pass."""
    tokenizer: str | None = None
    """Directory or hub id of the tokenizer; null: the model's own."""


@dataclass(frozen=True)
class TransformersExecution:
    """How the engine runs."""

    batch_tokens: int = 16_384
    """Tokens of a batch, padding and the tokens to come included; out of memory halves it."""


class TransformersGenerator:
    """See `Generator`. One model per instance.

    Raises:
        UserError: the model cannot be loaded, or is not causal.
    """

    def __init__(
        self,
        model: str,
        decoding: Decoding,
        identity: TransformersIdentity,
        execution: TransformersExecution,
        place: Place,
    ) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        if place.threads:
            torch.set_num_threads(place.threads)
        self.decoding, self.batch_tokens, self.place = decoding, execution.batch_tokens, place
        self.tokenizer = load_tokenizer(model, identity)
        path, options = _files(model, identity)
        try:
            dtype = getattr(torch, identity.dtype)
            self.model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, **options).to(place.device).eval()
        except (OSError, ValueError, ImportError, KeyError) as error:
            raise UserError(f"model {model} cannot be loaded as a causal language model ({error})") from error
        self.context = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    @staticmethod
    def model_identity(model: str, identity: TransformersIdentity) -> dict[str, Any]:
        """See `Generator`: weights, config and tokenizer by content."""
        path = Path(_files(model, identity)[0])
        weights = [path / identity.gguf_file] if identity.gguf_file else _weights(path)
        config = path / "config.json"
        tokenizer = _files(identity.tokenizer, identity)[0] if identity.tokenizer else path
        vocabulary = sorted({file for pattern in TOKENIZER_FILES for file in Path(tokenizer).glob(pattern)})
        return {
            "weights": fingerprint([[file.name, sha256_file(file)] for file in weights]),
            "config": sha256_file(config) if config.exists() else None,
            "tokenizer": fingerprint([[file.name, sha256_file(file)] for file in vocabulary if file.is_file()]),
            "dtype": identity.dtype,
        }

    @staticmethod
    def count_tokens(model: str, identity: TransformersIdentity, prompts: Sequence[Prompt]) -> list[int]:
        """Tokens of prompts, for `--plan`; loads the tokenizer alone."""
        return [len(ids) for ids in encode(load_tokenizer(model, identity), prompts)]

    @staticmethod
    def flops(model: str, identity: TransformersIdentity) -> Callable[[float, float, float], float]:
        """(prompts, tokens read and written, sum of squared lengths) -> operations; reads the config alone.

        The output head, which only written tokens pass, is left out: little of a big model.
        """
        from transformers import AutoConfig

        from inranker.rerankers.flops import causal_flops

        path, options = _files(model, identity)
        shape = AutoConfig.from_pretrained(path, **options).get_text_config()
        return lambda prompts, tokens, squares: causal_flops(shape, prompts, tokens, squares)

    def generate(self, prompts: Sequence[Prompt]) -> list[Generation]:
        """See `Generator`."""
        ids = encode(self.tokenizer, prompts)
        answers: dict[int, Generation] = {}
        fitting = []
        for row, prompt in enumerate(prompts):
            if self.context is not None and len(ids[row]) + prompt.max_tokens > self.context:
                reason = f"{len(ids[row])} + {prompt.max_tokens} tokens exceed the model's {self.context}"
                answers[row] = Generation("", None, len(ids[row]), 0, "error", reason)
            else:
                fitting.append(row)
        waiting = plan_batches(fitting, ids, prompts, self.batch_tokens)
        while waiting:
            rows = waiting.pop(0)
            try:
                found = self._answer([prompts[row] for row in rows], [ids[row] for row in rows])
            except _out_of_memory() as error:
                if len(rows) == 1:
                    raise UserError("one prompt does not fit in memory; give a smaller passage_words") from error
                self.batch_tokens = max(1, self.batch_tokens // 2)
                left = [*rows, *(row for batch in waiting for row in batch)]
                waiting = plan_batches(left, ids, prompts, self.batch_tokens)
                continue
            answers.update(zip(rows, found, strict=True))
        return [answers[row] for row in range(len(prompts))]

    def _answer(self, prompts: list[Prompt], ids: list[list[int]]) -> list[Generation]:
        import torch
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        from inranker.synthesis.generators.draws import SeededDraw, StopAtStrings

        width = max(map(len, ids))
        ends = end_tokens(self.model, self.tokenizer)
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else min(ends, default=0)
        input_BL = torch.tensor([[pad] * (width - len(row)) + row for row in ids], device=self.place.device)
        mask_BL = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids], device=self.place.device)
        pick = SeededDraw(self.decoding, [prompt.seed for prompt in prompts])
        stop = StopAtStrings(self._text, [prompt.stop for prompt in prompts], width)
        config = GenerationConfig(
            max_new_tokens=max(prompt.max_tokens for prompt in prompts),
            do_sample=False,
            eos_token_id=sorted(ends) or None,
            pad_token_id=pad,
        )
        with torch.inference_mode():
            output_BL = self.model.generate(
                input_BL,
                attention_mask=mask_BL,
                generation_config=config,
                logits_processor=LogitsProcessorList([pick]),
                stopping_criteria=StoppingCriteriaList([stop]),
            )
        steps_SB = torch.stack(pick.log_probs)
        return [
            self._generation(prompt, len(ids[row]), output_BL[row, width:].tolist(), steps_SB[:, row].tolist(), ends)
            for row, prompt in enumerate(prompts)
        ]

    def _generation(
        self, prompt: Prompt, prompt_tokens: int, tokens: list[int], log_probs: list[float], ends: set[int]
    ) -> Generation:
        """Cut a row where it ended: its neighbours may have gone on, and padding fills it."""
        count = min(len(tokens), prompt.max_tokens)
        finish = CUT
        for place in range(count):
            if tokens[place] in ends:
                count, finish = place + 1, STOPPED
                break
            if prompt.stop and any(stop in self._text(tokens[: place + 1]) for stop in prompt.stop):
                count, finish = place + 1, STOPPED
                break
        text = self._text(tokens[:count])
        cuts = [at for stop in prompt.stop if (at := text.find(stop)) >= 0]
        return Generation(text[: min(cuts, default=len(text))], log_probs[:count], prompt_tokens, count, finish)

    def _text(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))


def load_tokenizer(model: str, identity: TransformersIdentity) -> Any:
    """The tokenizer of a model.

    Raises:
        UserError: it has none, or it cannot be loaded.
    """
    from transformers import AutoTokenizer

    path, options = (identity.tokenizer, NO_CODE) if identity.tokenizer else _files(model, identity)
    try:
        return AutoTokenizer.from_pretrained(path, **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UserError(f"the tokenizer of {path} cannot be loaded ({error}); name one as tokenizer") from error


def encode(tokenizer: Any, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Token ids of prompts; messages become the model's own chat form.

    Raises:
        UserError: messages for a model that has no chat template.
    """
    texts = [prompt.text for prompt in prompts if prompt.messages is None]
    plain_ids = iter(tokenizer(texts)["input_ids"] if texts else [])
    end = tokenizer.eos_token_id
    encoded = []
    for prompt in prompts:
        if prompt.messages is None:
            ids = next(plain_ids)
            # Some tokenizers end every text; the model would take the prompt as finished.
            encoded.append(ids[:-1] if ids and ids[-1] == end else ids)
            continue
        if not tokenizer.chat_template:
            raise UserError(
                "the model has no chat template, so it takes no messages; use a prompt of the continued kind, such as "
                "vanilla"
            )
        chat = tokenizer.apply_chat_template(prompt.messages, add_generation_prompt=True, tokenize=False)
        encoded.append(tokenizer(chat, add_special_tokens=False)["input_ids"])  # the template writes them itself
    return encoded


def plan_batches(
    rows: Sequence[int], ids: Sequence[Sequence[int]], prompts: Sequence[Prompt], batch_tokens: int
) -> list[list[int]]:
    """Rows in batches of like length, the longest first: if memory is short, that shows at once."""
    batches: list[list[int]] = []
    for row in sorted(rows, key=lambda row: (-len(ids[row]), row)):
        width = len(ids[batches[-1][0]]) + prompts[row].max_tokens if batches else 0
        if batches and width * (len(batches[-1]) + 1) <= batch_tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Tokens that end a text: the model's own, and the tokenizer's."""
    given = model.generation_config.eos_token_id
    ends = set(given) if isinstance(given, list | tuple) else {given}
    return {int(each) for each in (*ends, tokenizer.eos_token_id) if each is not None}


def _files(model: str, identity: TransformersIdentity) -> tuple[str, dict[str, Any]]:
    """Where a model lies on this machine, and what `from_pretrained` must be told.

    Raises:
        UserError: it is neither here nor at the hub.
    """
    options = {**NO_CODE, **({"gguf_file": identity.gguf_file} if identity.gguf_file else {})}
    path = Path(model).expanduser()
    if not path.is_dir():
        if path.is_absolute() or model.count("/") != 1 or model.startswith("."):
            raise UserError(f"model {model}: no such directory; name one, or a hub id such as google/gemma-3-270m")
        from huggingface_hub import snapshot_download

        wanted = [identity.gguf_file, "*.json"] if identity.gguf_file else None
        try:
            path = Path(snapshot_download(model, allow_patterns=wanted))
        except Exception as error:
            # The hub client raises a dozen kinds for one thing: it is neither here nor there.
            raise UserError(f"model {model}: neither a directory nor a model the hub could give ({error})") from error
    if identity.gguf_file and not (path / identity.gguf_file).is_file():
        raise UserError(f"model {model}: there is no file {identity.gguf_file} in it; name one that is, as gguf_file")
    if not identity.gguf_file and not (path / "config.json").is_file():
        raise UserError(f"model {model}: no config.json in it; name a checkpoint directory, or a gguf_file in it")
    return str(path), options


def _weights(path: Path) -> list[Path]:
    for pattern in WEIGHTS:
        if found := sorted(path.glob(pattern)):
            return found
    raise UserError(f"{path}: no weights (*.safetensors) in it")


def _out_of_memory() -> tuple[type[BaseException], ...]:
    import torch

    return (torch.OutOfMemoryError, MemoryError)
