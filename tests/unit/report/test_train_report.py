"""The report of a training job and the card of its student, from a student that was really trained."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import ModelCard

from inranker.fingerprint import fingerprint
from inranker.report.card import card, snippet
from inranker.report.train import curves, report
from inranker.rerankers import load_reranker
from inranker.storage import Store
from inranker.training.agreement import AGREEMENT, SAMPLED
from inranker.training.config import TrainConfig
from tests.builders import pair_rows
from tests.unit.report.pages import Page

QUERY = "open the file"
PASSAGES = ["open read close file", "sort merge heap tree graph", "match"]


def test_the_sample_is_the_saved_students(trained: TrainConfig) -> None:
    sample = json.loads(Store(trained.output).read(AGREEMENT))
    assert sample["step"] == 30 and len(sample["student"]) == 60 <= SAMPLED
    rows = pair_rows(60)
    student = load_reranker(f"{trained.output}/student")
    encoded = student.encoder.encode([row["query"] for row in rows], [row["passage"] for row in rows])
    logits = student.logits(encoded)
    # Row r was taught (0.02 r, -0.02 r), so the teacher's logit says which row of the pairs it is.
    order = [round(teacher[0] / 0.02) for teacher in sample["teacher"]]
    assert sorted(order) == list(range(60))
    np.testing.assert_allclose(sample["student"], logits[order], atol=1e-4)
    assert sample["positive"] == [rows[row]["kind"] == "positive" for row in order]


def test_the_page_has_the_curves_and_the_scatter(trained: TrainConfig) -> None:
    page = Page(Path(report(trained)["report"]).read_text())
    for title in ("Loss", "Learning rate", "Pairs a second", "Student and teacher", "Chain of custody"):
        assert title in page.text
    assert not page.loads and "script" not in page.tags
    assert page.text_of_source.count('class="dot"') == 60
    assert fingerprint(json.loads(Store(trained.output).read("manifest.json"))["identity"]) in page.text


def test_curves_are_those_of_the_metrics() -> None:
    lines = [
        {"step": step, "loss": 2.0 / step, "delta": 0.0, "s": 0.0, "learning_rate": 1e-4, "pairs_per_second": 9.0}
        for step in range(1, 2001)
    ]
    lines.append({"step": 2000, "dev_nDCG@10": 0.5})
    text = curves(lines)[0]
    points = [part.split() for part in re.findall(r'<polyline class="path" points="([^"]*)"', text)]
    assert [len(part) for part in points] == [300, 1, 300, 300]  # loss alone of its terms, dev, rate, speed
    heights = [float(point.split(",")[1]) for point in points[0]]
    assert heights == sorted(heights)  # a falling loss goes down the page
    assert Page(text).tags.count("svg") == 4


def test_hard_labels_are_shown_by_kind(trained: TrainConfig) -> None:
    store = Store(trained.output)
    before = store.read(AGREEMENT)
    store.write(AGREEMENT, json.dumps({**json.loads(before), "teacher": None}).encode())
    text = Page(Path(report(trained)["report"]).read_text()).text
    store.write(AGREEMENT, before)
    assert "The student's margin by kind" in text and "positive · 6" in text and "negative · 54" in text


def test_the_card_is_one_the_hub_reads(trained: TrainConfig) -> None:
    read = ModelCard(Path(trained.output, "student", "README.md").read_text())
    assert read.data.pipeline_tag == "text-ranking" and read.data.library_name == "transformers"
    assert {"inranker", "t5"} <= set(read.data.tags) and read.data.base_model is None
    manifest = json.loads(Store(trained.output).read("manifest.json"))
    for held in (manifest["identity"]["start"]["weights_sha256"], manifest["inputs"]["labels"]["content_hash"]):
        assert held in read.text
    assert trained.output not in read.text  # where it lay says nothing to others
    assert "None were made while training" in read.text


def test_the_card_names_hub_bases_languages_licences_and_measures(trained: TrainConfig) -> None:
    contract = json.loads(Path(trained.output, "student", "reranker.json").read_text())
    collection = {"name": "beir/scifact", "split": "train", "licence": "CC BY", "content_hash": "abc", "argument": "x"}
    inputs = {
        "start": {"path": "google-t5/t5-small"},
        "labels": {"content_hash": "l", "teacher": {"path": "castorini/monot5-3b-msmarco-10k", "scorer": "fp"}},
        "pairs": {"content_hash": "p", "language": "en", "inputs": {"collection": collection}},
    }
    identity = {"loss": "mse", "dev": {"queries": 50, "split": "dev", "depth": 20}, "start": {"token_ids": [1, 2]}}
    text = card("a student", contract, identity, inputs, {"dev": 0.4321, "parameters": 10, "steps": 5, "loss": 0.1})
    read = ModelCard(text)
    assert read.data.base_model == "google-t5/t5-small" and read.data.language == ["en"]
    for held in ("0.4321", "CC BY", "beir/scifact", "castorini/monot5-3b-msmarco-10k", "| fp |", "Limits"):
        assert held in text


def test_the_card_names_every_teacher_of_combined_labels() -> None:
    contract = {"architecture": "encoder", "template": "", "false_token": "", "true_token": "", "eos": False}
    contract |= {"score": "margin", "prefix": "", "suffix": "", "max_length": 512}
    combined = [{"path": "big/one", "scorer": "f1"}, {"path": "big/two", "scorer": "f2"}, {"released": "x.tsv"}]
    inputs = {"labels": {"content_hash": "l", "teacher": {"combined": combined}}, "pairs": {"content_hash": "p"}}
    text = card("a student", contract, {"loss": "mse"}, inputs, {})
    assert "the logits of `big/one` and `big/two` and `x.tsv`" in text and "| f2 |" in text
    assert "on hard labels" in card("a student", contract, {"loss": "ce"}, {"pairs": {}}, {})


def test_the_cards_code_gives_the_students_scores(trained: TrainConfig) -> None:
    """Both blocks of the card are run as they stand, but for the precision, which a `Ranker` picks by the chip."""
    place = f"{trained.output}/student"
    blocks = re.findall(r"```python\n(.*?)```", Path(place, "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    found = []
    for block in blocks:
        names: dict[str, Any] = {"place": place, "query": QUERY, "passages": PASSAGES}
        exec(block.replace("Ranker(place)", "Ranker(place, precision='float32')"), names)
        found.append(np.asarray(names["scores"]))
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)
    assert found[0].std() > 0


def test_code_of_other_architectures_is_python() -> None:
    contract = {
        "template": "q: {query}{|}\n{|}d: {document}",
        "false_token": "no",
        "true_token": "yes",
        "eos": False,
        "score": "margin",
        "prefix": "<s>\n",
        "suffix": "",
        "max_length": 512,
    }
    for architecture in ("encoder", "causal"):
        text = snippet({**contract, "architecture": architecture}, {"start": {"token_ids": [3, 4]}})
        compile(text, architecture, "exec")
