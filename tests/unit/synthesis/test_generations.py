"""The transformers engine on a tiny model, how tokens are drawn, and what is made of generated text."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from inranker.errors import UserError
from inranker.synthesis.generators.base import Decoding, Generation, Place, Prompt
from inranker.synthesis.generators.draws import SeededDraw, draw
from inranker.synthesis.generators.transformers import (
    TransformersExecution,
    TransformersGenerator,
    TransformersIdentity,
    encode,
    plan_batches,
)
from inranker.synthesis.rows import parse_query, prompt_table, prompts_of, split_answers
from inranker.types import Passage
from tests.builders import make_causal
from tests.unit.synthesis.raw_queries import RAW_SCHEMA, raw_table

FLOAT32 = TransformersIdentity(dtype="float32")
GREEDY, DRAWN = Decoding(max_tokens=10), Decoding(temperature=0.9, top_p=0.95, top_k=50, max_tokens=10)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tokenizer: Path) -> Path:
    return make_causal(tmp_path_factory.mktemp("causal") / "model", tokenizer)


def engine(model: Path, decoding: Decoding, batch_tokens: int = 4096) -> TransformersGenerator:
    execution = TransformersExecution(batch_tokens=batch_tokens)
    return TransformersGenerator(str(model), decoding, FLOAT32, execution, Place(threads=1))


PROMPTS = [Prompt(f"read the file {'and write ' * number}", None, [], 10, 7 * number) for number in (3, 0, 5, 1, 9)]


@pytest.mark.parametrize("decoding", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_a_text_does_not_depend_on_its_neighbours(model: Path, decoding: Decoding) -> None:
    together = engine(model, decoding).generate(PROMPTS)
    alone = [engine(model, decoding, batch_tokens=1).generate([prompt])[0] for prompt in PROMPTS]
    assert [each.text for each in together] == [each.text for each in alone]
    assert len({each.text for each in together}) > 1
    for one, other in zip(together, alone, strict=True):
        assert one.log_probs == pytest.approx(other.log_probs, abs=1e-4)
        assert len(one.log_probs) == one.tokens <= 10 and one.prompt_tokens == other.prompt_tokens


def test_greedy_texts_and_log_probabilities_are_those_of_hugging_face(model: Path) -> None:
    generator = engine(model, GREEDY)
    found = generator.generate(PROMPTS)[2]
    (ids,) = encode(generator.tokenizer, PROMPTS[2:3])
    with torch.inference_mode():
        expected = generator.model.generate(
            torch.tensor([ids]), max_new_tokens=10, do_sample=False, pad_token_id=0, output_logits=True,
            return_dict_in_generate=True,
        )  # fmt: skip
    answer = expected.sequences[0, len(ids) :]
    assert found.text == generator.tokenizer.decode(answer, skip_special_tokens=True)
    steps = [torch.log_softmax(logits[0].float(), -1) for logits in expected.logits]
    likely = [step[token].item() for step, token in zip(steps, answer, strict=True)]
    assert found.log_probs == pytest.approx(likely, abs=1e-4)


def test_log_probabilities_are_the_models_whatever_the_temperature() -> None:
    logits = torch.randn(3, 40)
    pick = SeededDraw(Decoding(temperature=5.0, top_k=10), [1, 2, 3])
    tokens = pick(torch.zeros(3, 1), logits).argmax(-1)
    expected = torch.log_softmax(logits, -1).gather(1, tokens[:, None])[:, 0]
    assert pick.log_probs[0].tolist() == pytest.approx(expected.tolist())
    assert tokens.tolist() != logits.argmax(-1).tolist()


def test_seeds_decide_what_is_drawn(model: Path) -> None:
    prompts = [PROMPTS[0]._replace(seed=seed) for seed in (1, 1, 2, 3)]
    texts = [each.text for each in engine(model, DRAWN).generate(prompts)]
    assert texts[0] == texts[1] and len(set(texts)) == 3


def test_a_stop_string_ends_a_text_and_is_no_part_of_it(model: Path) -> None:
    generator = engine(model, GREEDY)
    whole = generator.generate(PROMPTS)[2].text
    stop = whole.split()[3]
    stopped = generator.generate([PROMPTS[2]._replace(stop=["never there", stop]), PROMPTS[0]])
    assert stopped[0].text == whole[: whole.index(stop)] and stopped[0].finish == "stop"
    assert stopped[0].tokens < 10 and stopped[1].tokens == 10  # its neighbour went on


def test_a_prompt_that_does_not_fit_fails_alone(model: Path) -> None:
    long = Prompt("read " * 2100, None, [], 10, 0)
    found = engine(model, GREEDY).generate([PROMPTS[0], long, PROMPTS[1]])
    assert [each.error is None for each in found] == [True, False, True]
    assert "tokens exceed the model's 2048" in found[1].error


def test_out_of_memory_halves_the_batch_and_goes_on(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator, answer = engine(model, GREEDY), TransformersGenerator._answer
    expected = [each.text for each in generator.generate(PROMPTS)]

    def small_memory(self: TransformersGenerator, prompts: list[Prompt], ids: list[list[int]]) -> list[Generation]:
        if len(prompts) > 2:
            raise torch.OutOfMemoryError
        return answer(self, prompts, ids)

    monkeypatch.setattr(TransformersGenerator, "_answer", small_memory)
    assert [each.text for each in generator.generate(PROMPTS)] == expected
    assert generator.batch_tokens < 4096


def test_messages_need_a_chat_template(model: Path) -> None:
    chat = Prompt("", [{"role": "user", "content": "hello"}], [], 10, 0)
    generator = engine(model, GREEDY)
    with pytest.raises(UserError, match="no chat template"):
        generator.generate([chat])
    generator.tokenizer.chat_template = "{% for each in messages %}{{ each.content }} read{% endfor %}"
    assert generator.generate([chat])[0].text == generator.generate([Prompt("hello read", None, [], 10, 0)])[0].text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"gguf_file": "x.gguf"}, "no file x.gguf"), ({"tokenizer": "nowhere/at/all"}, "tokenizer of nowhere/at/all")],
)
def test_a_model_that_is_not_there_is_named(model: Path, change: dict[str, str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        TransformersGenerator(str(model), GREEDY, replace(FLOAT32, **change), TransformersExecution(), Place())
    with pytest.raises(UserError, match="no such directory"):
        TransformersGenerator.model_identity("./nowhere", FLOAT32)


def test_a_model_is_known_by_its_content(model: Path, tokenizer: Path, tmp_path: Path) -> None:
    same, other = (make_causal(tmp_path / str(seed), tokenizer, seed) for seed in (0, 1))
    identity = TransformersGenerator.model_identity(str(model), FLOAT32)
    assert TransformersGenerator.model_identity(str(same), FLOAT32) == identity
    changed = TransformersGenerator.model_identity(str(other), FLOAT32)
    assert [name for name in identity if identity[name] != changed[name]] == ["weights"]


def test_batches_are_of_like_length_and_hold_every_row_once() -> None:
    ids = [[0] * length for length in (3, 50, 4, 48, 5)]
    prompts = [Prompt("", None, [], 10, 0)] * 5
    assert plan_batches(range(5), ids, prompts, 120) == [[1, 3], [4, 2, 0]]
    assert plan_batches(range(5), ids, prompts, 1) == [[1], [3], [4], [2], [0]]


def test_draws_follow_the_distribution_and_its_truncation() -> None:
    logits = torch.log(torch.tensor([0.1, 0.4, 0.2, 0.3])).repeat(10_000, 1)
    at = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    for decoding, expected in (
        (Decoding(1.0), [0.1, 0.4, 0.2, 0.3]),
        (Decoding(1.0, top_k=2), [0, 4 / 7, 0, 3 / 7]),
        (Decoding(1.0, top_p=0.65), [0, 4 / 7, 0, 3 / 7]),
        (Decoding(1.0, top_p=0.75), [0, 4 / 9, 2 / 9, 3 / 9]),
        (Decoding(1.0, top_p=0.01), [0, 1, 0, 0]),
        (Decoding(0.5), [0.01 / 0.3, 0.16 / 0.3, 0.04 / 0.3, 0.09 / 0.3]),
    ):
        shares = torch.bincount(draw(logits, at, decoding), minlength=4) / 10_000
        assert shares.tolist() == pytest.approx(expected, abs=2e-4), decoding


@pytest.mark.parametrize(
    ("text", "query"),
    [
        (" how do bees fly?\nBad question: x", "how do bees fly?"),
        ('\n\n  "how do bees fly"  \n', "how do bees fly"),
        ("“como voam as abelhas?”", "como voam as abelhas?"),
        ('"bees" or "wasps"', '"bees" or "wasps"'),
        ("bees'\thoney", "bees' honey"),
        ("''", ""),
        (" \n \t", ""),
    ],
)
def test_a_query_is_the_first_line_without_its_quotes(text: str, query: str) -> None:
    assert parse_query(text) == query


def test_prompts_in_are_queries_and_quarantine() -> None:
    rows = raw_table([(Passage(f"p{n}", f"text {n}"), "") for n in range(4)]).select(
        ["row", "passage_id", "passage", "prompt", "sample", "source", "language"]
    )
    answers = [
        Generation(" bees \n", [-1.0, -2.0], 9, 2, "stop"),
        Generation(" \n", [-1.0], 9, 1, "stop"),
        Generation("", None, 9, 0, "error", "the endpoint refused it"),
        Generation("wasps", [float("nan")], 9, 1, "stop"),
    ]
    queries, unusable = split_answers(rows, answers)
    assert queries.schema.names == RAW_SCHEMA.names and queries.num_rows == 1
    assert queries.select(["row", "query", "mean_log_prob", "n_tokens"]).to_pylist() == [
        {"row": 0, "query": "bees", "mean_log_prob": -1.5, "n_tokens": 2}
    ]
    assert [(row["row"], row["reason"]) for row in unusable.to_pylist()] == [
        (1, "no query in the generated text"),
        (2, "the endpoint refused it"),
        (3, "log-probabilities are not finite"),
    ]
    with pytest.raises(ValueError):
        split_answers(rows, answers[:3])


def test_prompts_travel_as_they_are() -> None:
    prompts = [PROMPTS[0], Prompt("", [{"role": "user", "content": "é"}], ["\n", "."], 5, 2**31 - 1)]
    assert prompts_of(prompt_table(prompts)) == prompts
