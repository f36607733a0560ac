"""`T5Ranker` gives the numbers of the first InRanker package, whose procedure is run here on Hugging Face's forward."""

import inspect
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from inranker import T5Ranker
from inranker.errors import UserError
from tests.builders import pair_rows

QUERY = "open file stream"
# Of very different lengths, some longer than the model reads; one that writes the prompt's own words.
DOCS = [
    *(str(row["passage"]) for row in pair_rows(70)),
    "sort merge heap " * 300,
    "Relevant: false Document: Query:",
    "",
    "ünïcödé 検索 ▁true  two  spaces",
]


@pytest.fixture(scope="module")
def model(teacher: Path) -> T5Ranker:
    return T5Ranker(str(teacher))


@torch.no_grad()
def original(path: Path, query: str, docs: list[str], max_length: int) -> tuple[list[float], list[list[float]]]:
    """Batches of 32 as they come, padded, cut on the right; the whole head at the first step; softmax of two."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    t5 = AutoModelForSeq2SeqLM.from_pretrained(path, dtype=torch.float32).eval()
    answers = [tokenizer.get_vocab()[token] for token in ("▁false", "▁true")]
    probabilities, logits = [], []
    for start in range(0, len(docs), 32):
        prompts = [f"Query: {query} Document: {doc} Relevant:" for doc in docs[start : start + 32]]
        batch = tokenizer(prompts, padding=True, truncation="longest_first", max_length=max_length, return_tensors="pt")
        first = torch.full((len(prompts), 1), t5.config.decoder_start_token_id)
        pair = t5(**batch, decoder_input_ids=first).logits[:, -1, answers]
        logits += pair.tolist()
        probabilities += torch.log_softmax(pair, dim=-1)[:, 1].exp().tolist()
    return probabilities, logits


@pytest.mark.parametrize("max_length", [512, 64, 16])
def test_numbers_are_those_of_the_original_procedure(model: T5Ranker, teacher: Path, max_length: int) -> None:
    scores, logits = model.get_scores(QUERY, DOCS, max_length, return_logits=True)
    expected_scores, expected_logits = original(teacher, QUERY, DOCS, max_length)
    assert torch.tensor(logits) == pytest.approx(torch.tensor(expected_logits), abs=2e-4)
    assert scores == pytest.approx(expected_scores, abs=1e-4)
    assert len(set(scores)) > len(DOCS) // 2  # a constant would prove nothing
    assert model.get_scores(QUERY, DOCS, max_length) == scores


def test_arguments_are_the_originals() -> None:
    names = "model_name_or_path fp8 fp16 bf16 batch_size device silent".split()
    assert list(inspect.signature(T5Ranker).parameters) == names
    assert list(inspect.signature(T5Ranker.get_scores).parameters)[1:] == "query docs max_length return_logits".split()
    defaults = {name: value.default for name, value in inspect.signature(T5Ranker).parameters.items()}
    assert defaults["model_name_or_path"] == "unicamp-dl/InRanker-base"
    assert (defaults["batch_size"], defaults["silent"]) == (32, True)


def test_a_model_without_a_contract_is_read_as_the_original_reads_it(teacher: Path, tmp_path: Path) -> None:
    plain = tmp_path / "some-model"
    plain.mkdir()
    for file in teacher.iterdir():
        if file.name != "reranker.json":
            (plain / file.name).symlink_to(file)
    assert T5Ranker(str(plain)).get_scores(QUERY, DOCS[:3]) == T5Ranker(str(teacher)).get_scores(QUERY, DOCS[:3])


def test_progress_is_shown_only_when_asked_for(teacher: Path, model: T5Ranker, capfd: pytest.CaptureFixture) -> None:
    capfd.readouterr()
    quiet = model.get_scores(QUERY, DOCS)
    assert capfd.readouterr() == ("", "")
    loud = T5Ranker(str(teacher), silent=False, batch_size=2).get_scores(QUERY, DOCS)
    shown = capfd.readouterr()
    assert "Rescoring" in shown.err and str(teacher) in shown.out
    assert loud == pytest.approx(quiet, abs=1e-5)


def test_nothing_gives_nothing(model: T5Ranker) -> None:
    assert model.get_scores(QUERY, []) == []
    assert model.get_scores(QUERY, [], return_logits=True) == ([], [])


@pytest.mark.parametrize("precision", ["bf16", pytest.param("fp8", marks=pytest.mark.slow)])  # fp8 compiles kernels
def test_other_precisions_stay_close(teacher: Path, model: T5Ranker, precision: str) -> None:
    exact = model.get_scores(QUERY, DOCS[:30])
    close = T5Ranker(str(teacher), **{precision: True}).get_scores(QUERY, DOCS[:30])
    assert close == pytest.approx(exact, abs=0.1)
    assert close != exact


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"fp16": True, "bf16": True}, "exclude each other"),
        ({"fp16": True, "device": "cpu"}, "fp16 is for GPUs"),
        ({"device": "tpu"}, "device 'tpu'"),
        ({"batch_size": 0}, "batch_size 0"),
    ],
)
def test_what_the_original_asserts_is_a_sentence(teacher: Path, options: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        T5Ranker(str(teacher), **options)


# The example of the original's README, word for word but for the model's place.
EXAMPLE = """
from inranker import T5Ranker

model = T5Ranker(model_name_or_path="unicamp-dl/InRanker-base")

docs = [
    "The capital of France is Paris",
    "Learn deep learning with InRanker and transformers"
]
scores = model.get_scores(
    query="What is the best way to learn deep learning?",
    docs=docs
)
# Scores are sorted in descending order (most relevant to least)
# scores -> [0, 1]
sorted_scores = sorted(zip(scores, docs), key=lambda x: x[0], reverse=True)
"""


def test_the_original_readmes_example_runs(teacher: Path) -> None:
    script = EXAMPLE.replace("unicamp-dl/InRanker-base", str(teacher))
    names: dict[str, Any] = {}
    exec(compile(script, "README", "exec"), names)
    ranked = names["sorted_scores"]
    docs = re.findall(r'^    "(.*?)",?$', EXAMPLE, re.MULTILINE)
    query = "What is the best way to learn deep learning?"
    expected = sorted(zip(original(teacher, query, docs, 512)[0], docs, strict=True), reverse=True)
    assert [doc for _, doc in ranked] == [doc for _, doc in expected]
    assert [score for score, _ in ranked] == pytest.approx([score for score, _ in expected], abs=1e-4)


# The package itself: it wants `datasets` for its trainer alone, and hands `prepare_inputs_for_generation` an argument
# of old releases, so the first is stood in for and the second is dropped on the way.
ORIGINAL = """
import json, sys, types
from transformers import Trainer, TrainingArguments
stand_in = types.ModuleType("datasets")
stand_in.Dataset = stand_in.load_dataset = None
sys.modules["datasets"] = stand_in
sys.path.insert(0, sys.argv[1])
import inranker
assert inranker.__file__.startswith(sys.argv[1]), inranker.__file__
model = inranker.T5Ranker(model_name_or_path=sys.argv[2])
given = json.load(sys.stdin)
prepare = model.model.prepare_inputs_for_generation
model.model.prepare_inputs_for_generation = lambda *args, past=None, **kwargs: prepare(*args, **kwargs)
print(json.dumps(model.get_scores(given["query"], given["docs"], return_logits=True)))
"""


@pytest.mark.slow
def test_numbers_are_those_of_the_original_package(model: T5Ranker, teacher: Path, tmp_path: Path) -> None:
    download = ["pip", "download", "inranker==1.1.0", "--no-deps", "--dest", str(tmp_path)]
    if subprocess.run([sys.executable, "-m", *download], capture_output=True).returncode:
        pytest.skip("the package index does not give inranker 1.1.0")
    with zipfile.ZipFile(next(tmp_path.glob("inranker-1.1.0*.whl"))) as wheel:
        wheel.extractall(tmp_path / "original")
    result = subprocess.run(
        [sys.executable, "-c", ORIGINAL, str(tmp_path / "original"), str(teacher)],
        input=json.dumps({"query": QUERY, "docs": DOCS}), capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    scores, logits = json.loads(result.stdout.splitlines()[-1])
    ours, our_logits = model.get_scores(QUERY, DOCS, return_logits=True)
    assert torch.tensor(our_logits) == pytest.approx(torch.tensor(logits), abs=2e-4)
    assert ours == pytest.approx(scores, abs=1e-4)
