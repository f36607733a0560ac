"""Query synthesis by an OpenAI-compatible endpoint: a real server on loopback, with faults."""

import logging
import pickle
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from inranker.errors import UserError
from inranker.synthesis.generators import engine, pacing
from inranker.synthesis.generators.answers import until
from inranker.synthesis.generators.base import Decoding, Place, Prompt
from inranker.synthesis.generators.budget import Budget
from inranker.synthesis.generators.openai import OpenAIExecution, OpenAIGenerator, OpenAIIdentity
from inranker.synthesis.generators.pacing import asked_pause, backoff
from tests.openai_server import KEY, OpenAIServer, answer_to

Make = Callable[..., OpenAIGenerator]
GREEDY = Decoding()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setenv("INRANKER_TEST_KEY", KEY)


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[OpenAIGenerator] = []

    def build(server: OpenAIServer, api: Any = "chat", decoding: Decoding = GREEDY, **how: Any) -> OpenAIGenerator:
        options = {"url": server.url, "key_variable": "INRANKER_TEST_KEY", "timeout": 20.0, **how}
        made.append(OpenAIGenerator("m", decoding, OpenAIIdentity(api), OpenAIExecution(**options), Place()))
        return made[-1]

    yield build
    for generator in made:
        generator.close()


def prompts(count: int, chat: bool = True, stop: list[str] | None = None) -> list[Prompt]:
    texts = [f"Write a query for passage number {number}" for number in range(count)]
    made = [[{"role": "user", "content": text}] if chat else None for text in texts]
    return [
        Prompt("" if chat else text, form, stop or [], 16, 7 + n)
        for n, (text, form) in enumerate(zip(texts, made, strict=True))
    ]


def text_of(prompt: Prompt) -> str:
    return prompt.messages[-1]["content"] if prompt.messages else prompt.text


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_synthesis_gets_texts_tokens_and_log_probs_in_order(make: Make, api: str) -> None:
    decoding = Decoding(temperature=0.7, top_p=0.9, top_k=5)
    with OpenAIServer(delay=0.01) as server:
        asked = prompts(40, chat=api == "chat", stop=["\n", "number 3", "a", "b", "c"])
        found = make(server, api, decoding).generate(asked)
        body = server.bodies[0]
    for prompt, generation in zip(asked, found, strict=True):
        assert generation.text == until(answer_to(text_of(prompt)), ["number 3", "a"]) == "wh"
        assert (generation.prompt_tokens, generation.tokens, generation.finish) == (7, 4, "stop")
        assert generation.log_probs == [0, -0.25, -0.5, -0.75] and generation.error is None
    assert (body["temperature"], body["top_p"], body["top_k"], body["max_tokens"]) == (0.7, 0.9, 5, 16)
    assert body["stop"] == ["\n", "number 3", "a", "b"] and body["model"] == "m"
    assert sorted(one["seed"] for one in server.bodies) == list(range(7, 47))


def test_an_endpoint_without_log_probs_leaves_them_out(make: Make) -> None:
    with OpenAIServer(log_probs=False) as server:
        assert make(server).generate(prompts(1))[0].log_probs is None
    with OpenAIServer() as server:
        found = make(server, log_probs=False, limit_field="max_completion_tokens").generate(prompts(1))[0]
        assert found.log_probs is None and "logprobs" not in server.bodies[0]
        assert server.bodies[0]["max_completion_tokens"] == 16 and "max_tokens" not in server.bodies[0]


PASSING = ("429", "429-date", "500", "503", "hang", "trickle", "half", "no-json", "no-choices", "cut", "cut-late")


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_passes_costs_synthesis_nothing_but_time(make: Make, fault: str) -> None:
    with OpenAIServer(lambda prompt, asked: fault if asked < 2 and prompt.endswith("3") else None) as server:
        asked = prompts(6)
        found = make(server, timeout=0.4 if fault in ("hang", "trickle") else 20.0).generate(asked)
        assert [generation.text for generation in found] == [answer_to(text_of(prompt)) for prompt in asked]
        assert server.faults == {fault: 2} and sum(server.asked.values()) == 8


def test_through_every_fault_nothing_is_lost_nothing_twice_and_cost_is_counted(make: Make) -> None:
    plan = {number: fault for number, fault in enumerate(PASSING)}

    def fault(prompt: str, asked: int) -> str | None:
        number = int(prompt.split()[-1])
        return plan.get((number + asked) % 17) if asked < 3 else None

    with OpenAIServer(fault) as server:
        asked = prompts(60)
        prices = {"price_per_million_prompt_tokens": 1e6, "price_per_million_tokens": 2e6}
        generator = make(server, timeout=1.0, concurrency=30, **prices)
        found = generator.generate(asked[:30]) + generator.generate(asked[30:])
        assert [generation.text for generation in found] == [answer_to(text_of(prompt)) for prompt in asked]
        assert set(server.faults) == set(PASSING)
        charged = server.prompt_tokens + 2 * server.tokens
        answered_once = 60 * (7 + 2 * 4)
        assert generator.spent >= charged > answered_once, "half an answer is charged too"
        assert min(server.answered.values()) >= 1


def test_cost_without_damage_is_what_the_endpoint_charges(make: Make) -> None:
    with OpenAIServer(lambda prompt, asked: "429" if not asked else None) as server:
        generator = make(server, price_per_million_prompt_tokens=3.0, price_per_million_tokens=5.0)
        generator.generate(prompts(20))
        assert generator.spent == pytest.approx((server.prompt_tokens * 3 + server.tokens * 5) / 1e6)


def test_malformed_answers_that_stay_go_to_quarantine_with_a_reason(make: Make) -> None:
    with OpenAIServer(lambda prompt, asked: "no-json" if prompt.endswith("2") else None) as server:
        found = make(server, attempts=3).generate(prompts(4))
        assert [bool(generation.error) for generation in found] == [False, False, True, False]
        assert found[2].error is not None and found[2].error.startswith("no answer in 3 attempts; the last: Malformed")
        assert server.asked[text_of(prompts(4)[2])] == 3


def test_a_prompt_that_is_refused_goes_to_quarantine_at_once(make: Make) -> None:
    with OpenAIServer(lambda prompt, asked: "400" if prompt.endswith("1") else None) as server:
        found = make(server).generate(prompts(3))
        assert found[1].error is not None and "refuses it: 400 this fails" in found[1].error
        assert KEY not in found[1].error and max(server.asked.values()) == 1


def test_an_empty_answer_is_an_answer(make: Make) -> None:
    with OpenAIServer(lambda prompt, asked: "empty") as server:
        assert make(server).generate(prompts(2))[0][:5] == ("", None, 7, 0, "stop")


@pytest.mark.parametrize(
    ("fault", "message"),
    [("401", "refuses the key"), ("404", "has no such address"), ("quota", "no money left"), ("500", "answered none")],
)
def test_what_no_prompt_would_pass_ends_synthesis_with_a_sentence(make: Make, fault: str, message: str) -> None:
    with OpenAIServer(lambda prompt, asked: fault) as server:
        with pytest.raises(UserError, match=message):
            make(server, attempts=2, concurrency=4).generate(prompts(30))
        assert sum(server.asked.values()) < 30


def test_the_key_never_leaks(make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = "sk-wrong-but-still-secret"
    monkeypatch.setenv("INRANKER_TEST_KEY", wrong)
    with OpenAIServer() as server:
        generator = make(server)
        with pytest.raises(UserError) as caught:
            generator.generate(prompts(2))
    error: BaseException | None = caught.value
    shown = ["".join(traceback.format_exception(caught.value)), repr(pickle.dumps(caught.value)), caplog.text]
    shown += [repr(generator), repr(generator.execution), repr(generator.identity)]
    while error is not None:  # neither the error nor what it was raised from holds a request
        shown.append(repr(vars(error)))
        error = error.__cause__ or error.__context__
    assert "Incorrect API key provided: [key]" in shown[0]
    for text in shown:
        assert wrong not in text


def test_a_missing_key_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INRANKER_TEST_KEY")
    with OpenAIServer() as server, pytest.raises(UserError, match="INRANKER_TEST_KEY holds no key"):
        OpenAIGenerator("m", Decoding(), OpenAIIdentity(), OpenAIExecution(server.url, "INRANKER_TEST_KEY"), Place())


def test_concurrency_is_bounded_and_used(make: Make) -> None:
    with OpenAIServer(delay=0.05) as server:
        make(server, concurrency=5).generate(prompts(20))
        assert server.most_working == 5


def test_requests_and_tokens_a_minute_are_kept(make: Make) -> None:
    with OpenAIServer() as server:
        make(server, requests_per_minute=1200).generate(prompts(11))
        assert server.times[-1] - server.times[0] >= 10 * 0.05 * 0.9
    with OpenAIServer() as server:
        generator = make(server, tokens_per_minute=12_000)
        generator.generate(prompts(4))  # learns what its prompts take
        started = time.monotonic()
        generator.generate(prompts(20))
        assert time.monotonic() - started >= 20 * 11 / 200 * 0.8


def test_one_that_is_told_to_slow_down_speaks_for_all(make: Make) -> None:
    with OpenAIServer(lambda prompt, asked: "429" if prompt.endswith(" 0") and not asked else None) as server:
        make(server, concurrency=1).generate(prompts(3))
        assert server.times[1] - server.times[0] >= 0.2, "Retry-After holds for the next prompt too"


def test_rests_are_read_as_seconds_and_dates() -> None:
    assert asked_pause({"retry-after": "7"}) == 7 and asked_pause({"retry-after-ms": "250"}) == 0.25
    soon = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))
    assert 28 <= asked_pause({"retry-after": soon}) <= 30
    assert asked_pause({"retry-after": "soon"}) == asked_pause({}) == asked_pause({"retry-after": "-3"}) == 0
    assert asked_pause({"retry-after": "86400"}) == 600
    assert 0.01 <= backoff(0) <= 0.02 and 30 <= backoff(40) <= 60


def test_synthesis_stops_before_its_cost_limit_and_goes_on_with_a_higher_one(make: Make) -> None:
    prices = {"price_per_million_prompt_tokens": 1e6, "price_per_million_tokens": 1e6}
    with OpenAIServer() as server:
        generator = make(server, cost_limit=400.0, **prices)
        done = 0
        with pytest.raises(UserError, match=r"pass openai\.cost_limit 400"):
            for _ in range(20):
                done += len(generator.generate(prompts(5)))
        assert 0 < done < 100 and generator.spent == server.prompt_tokens + server.tokens == done * 11 <= 400
        # The next start counts what receipts say was spent.
        again = make(server, cost_limit=400.0, **prices)
        again.budget = OpenAIGenerator.make_budget(again.execution, generator.spent) or Budget(None)
        before = sum(server.asked.values())
        with pytest.raises(UserError, match="start again to go on"):
            while True:
                again.generate(prompts(5))
        assert (sum(server.asked.values()) - before) * 11 + generator.spent <= 400
        richer = make(server, cost_limit=10_000.0, **prices)
        richer.budget = OpenAIGenerator.make_budget(richer.execution, generator.spent) or Budget(None)
        assert len(richer.generate(prompts(5))) == 5


def test_damaged_answers_do_not_pass_the_cost_limit_either(make: Make) -> None:
    prices = {"price_per_million_prompt_tokens": 1e6, "price_per_million_tokens": 1e6}
    with OpenAIServer(lambda prompt, asked: "no-json") as server:
        generator = make(server, cost_limit=400.0, attempts=50, **prices)
        with pytest.raises(UserError, match=r"pass openai\.cost_limit"):
            generator.generate(prompts(5))
        assert server.prompt_tokens + server.tokens <= generator.spent <= 400


def test_two_engines_share_a_budget() -> None:
    budget = Budget(10.0, spent=2.0)
    assert budget.reserve(5.0) and not budget.reserve(4.0) and budget.reserve(3.0)
    budget.settle(5.0, 1.0)
    assert (budget.spent, budget.reserved) == (3.0, 3.0) and budget.reserve(4.0) and not budget.reserve(0.1)


def test_the_identity_is_the_model_and_not_where_it_is_served() -> None:
    assert engine("openai") is OpenAIGenerator
    assert OpenAIGenerator.model_identity("m", OpenAIIdentity()) == {"model": "m", "api": "chat"}


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"attempts": 0}, r"openai\.attempts"),
        ({"timeout": 0.0}, r"openai\.timeout"),
        ({"cost_limit": 3.0}, "without prices"),
    ],
)
def test_wrong_fields_of_the_endpoint_are_refused(field: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        OpenAIExecution(**field)


def test_a_chat_prompt_has_no_plain_text(make: Make) -> None:
    with OpenAIServer() as server, pytest.raises(UserError, match=r"set openai\.api to chat"):
        make(server, "completions").generate(prompts(1))
