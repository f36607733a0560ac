"""Query synthesis by vLLM through `ray.data.llm`: its own configuration and stage, and vLLM where there is one."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from inranker.errors import UserError
from inranker.synthesis.generators import engine
from inranker.synthesis.generators.base import Decoding, Generation, Place, Prompt
from inranker.synthesis.generators.vllm import (
    VllmExecution,
    VllmGenerator,
    VllmIdentity,
    engine_stage,
    processor_config,
    read_row,
)
from tests import vllm_stand_in


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A directory that is a model as far as everything before vLLM looks: Ray would ask the hub for any other name."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text('{"model_type": "gemma3_text"}')
    return str(folder)


HERE = Place("cpu", None, 0)
GREEDY = Decoding()


def prompts(*words: int) -> list[Prompt]:
    return [Prompt("open " * count, None, ["\n"], 8, 100 + place) for place, count in enumerate(words)]


def test_the_processor_is_what_ray_data_llm_makes_of_our_fields(ray_session: None, model: str) -> None:
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    execution = VllmExecution(max_model_len=512, max_num_seqs=64, tensor_parallel_size=2, max_pending_requests=70)
    config = processor_config(model, VllmIdentity(quantization="fp8"), execution, Place("cuda", None, 2))
    assert isinstance(config, vLLMEngineProcessorConfig) and config.should_continue_on_error
    assert config.engine_kwargs["quantization"] == "fp8" and config.engine_kwargs["trust_remote_code"] is False
    processor = build_processor(config)
    assert processor.list_stage_names() == ["vLLMEngineStage"]
    stage = processor.get_stage_by_name("vLLMEngineStage").get_dataset_map_batches_kwargs(1, processor.DATA_COLUMN)
    assert stage["num_gpus"] == 2  # what our actor holds, and Ray would ask for
    arguments = stage["fn_constructor_kwargs"]
    assert arguments["engine_kwargs"]["distributed_executor_backend"] == "mp"
    assert (arguments["max_pending_requests"], arguments["expected_input_keys"]) == (70, ["sampling_params"])


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_without_vllm_synthesis_says_what_to_install(ray_session: None, model: str) -> None:
    with pytest.raises(UserError, match=r"install inranker\[vllm\]"):
        engine_stage(processor_config(model, VllmIdentity(), VllmExecution(), HERE))


@pytest.mark.parametrize(
    ("execution", "place", "message"),
    [
        (VllmExecution(tensor_parallel_size=4), Place("cuda", None, 1), "gpus_per_actor is 1, and .* is 4"),
        (VllmExecution(max_pending_requests="many"), HERE, "ray.data.llm refuses"),  # type: ignore[arg-type]
    ],
)
def test_wrong_fields_of_vllm_are_refused(execution: VllmExecution, place: Place, message: str, model: str) -> None:
    with pytest.raises(UserError, match=message):
        processor_config(model, VllmIdentity(), execution, place)


def test_rays_own_stage_answers_synthesis_in_order(
    ray_session: None, model: str, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vllm_stand_in.install(monkeypatch)
    assert engine("vllm") is VllmGenerator
    decoding = Decoding(temperature=0.8, top_p=0.9)
    generator = VllmGenerator(
        "m", decoding, VllmIdentity(tokenizer=str(tokenizer)), VllmExecution(max_num_seqs=3), HERE
    )
    asked = prompts(*range(1, 31))
    found = generator.generate(asked)
    texts = [prompt.text for prompt in asked]
    lengths = [len(ids) for ids in generator.tokenizer(texts, add_special_tokens=False)["input_ids"]]
    assert found == [
        Generation(f"{length} tokens, seed {100 + place}", [0.0, -0.5, -1.0], length, 3, "stop")
        for place, length in enumerate(lengths)
    ]
    _, params = generator.stage.llm.engine.asked[0]
    assert (params.stop, params.temperature, params.top_p, params.top_k) == (["\n"], 0.8, 0.9, -1)
    assert (params.max_tokens, params.logprobs, params.structured_outputs) == (8, 0, None)
    assert generator.stage.llm.max_pending_requests == 4
    assert generator.generate([]) == []


def test_what_vllm_refuses_for_one_prompt_of_a_synthesis_is_that_prompts_error(
    ray_session: None, model: str, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vllm_stand_in.install(monkeypatch)
    generator = VllmGenerator(model, GREEDY, VllmIdentity(tokenizer=str(tokenizer)), VllmExecution(), HERE)
    found = generator.generate(prompts(3, 500, 4))
    assert [generation.error is None for generation in found] == [True, False, True]
    assert found[1].error is not None and "longer than the maximum model length" in found[1].error
    assert found[1].prompt_tokens > 60 and found[2].text.endswith("seed 102")


def test_a_text_with_all_its_tokens_was_cut() -> None:
    row: dict[str, Any] = {"generated_tokens": [5] * 8, "generated_text": "x", "num_input_tokens": 2, "logprobs": None}
    assert read_row(row, prompts(1)[0], 2) == Generation("x", None, 2, 8, "length")


@pytest.mark.gpu
def test_vllm_itself_writes_what_a_synthesis_asks(ray_session: None) -> None:
    """A real model of `INRANKER_CAUSAL_LM`, on a machine that has vLLM and a GPU."""
    import os

    pytest.importorskip("vllm", reason="vLLM is not installed")
    model = os.environ.get("INRANKER_CAUSAL_LM", "")
    if not model:
        pytest.skip("INRANKER_CAUSAL_LM names no causal language model")
    execution = VllmExecution(max_model_len=512, enforce_eager=True)
    generator = VllmGenerator(model, GREEDY, VllmIdentity(), execution, Place("cuda", None, 1))
    text = "The capital of France is Paris. The capital of Italy is"
    found = generator.generate([Prompt(text, None, ["\n", "."], 8, seed) for seed in range(20)])
    assert {generation.text.strip() for generation in found} == {"Rome"}
    assert all(generation.error is None and generation.log_probs for generation in found)
    assert all(log_prob <= 0 for generation in found for log_prob in generation.log_probs or [])
